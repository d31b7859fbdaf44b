// SPDX-License-Identifier: ISC
// The generation of the kernel's nf_tables rules in this network namespace: a number that changes
// with every change to the rules, by any program.
#pragma once

#include "util/result.hpp"

#include <cstdint>
#include <memory>

struct mnl_socket;

namespace encsync::policy {

class Generation {
  public:
    // The error names what is missing: permission, or nf_tables.
    static Result<Generation> open();
    Result<std::uint32_t> read();

  private:
    struct Close {
        void operator()(mnl_socket* s) const;
    };
    std::unique_ptr<mnl_socket, Close> socket_;
    std::uint32_t seq_ = 0;
};

} // namespace encsync::policy
