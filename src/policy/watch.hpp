// SPDX-License-Identifier: ISC
// Notices that somebody changes a table of nftables, as it happens: nf_tables' events (nft
// monitor).
//
//     auto watch = Watch::open("encsync");
//     whenever watch->fd() is readable: if (watch->take()) ruleset.verify();
//
// Our own changes are events, too. It is in addition to looking regularly: events may be lost.
#pragma once

#include "util/result.hpp"

#include <memory>
#include <string>

struct mnl_socket;

namespace encsync::policy {

class Watch {
  public:
    // table: its name, in whatever family. Errors: no permission, or a kernel without nf_tables.
    static Result<Watch> open(std::string table);

    int fd() const; // it stays this object's
    // Reads all events that wait. True: one was about the table, or some were lost.
    bool take();

  private:
    struct Close {
        void operator()(mnl_socket* s) const;
    };
    std::unique_ptr<mnl_socket, Close> socket_;
    std::string table_;
};

} // namespace encsync::policy
