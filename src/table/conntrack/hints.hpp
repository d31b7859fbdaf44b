// SPDX-License-Identifier: ISC
// What the kernel's table probably holds: for each original tuple, a mark of its reply tuple.
//
// A hint only saves a query: with a matching hint, an entry is updated at once; without one it is
// created, and queried only if it exists. A wrong hint costs a second request. Kept up to date by
// our own requests and by the kernel's events.
#pragma once

#include "state/flow.hpp"

#include <array>
#include <cstdint>
#include <memory>

namespace encsync::table {

class Hints {
  public:
    Hints();

    void set(const state::Flow& flow);
    void forget(const state::Key& key);
    void forget_all();
    // It has the flow, with this reply tuple and in the same zones.
    bool holds(const state::Flow& flow) const;
    // Short name of a key, to compare with others.
    std::uint64_t hash(const state::Key& key) const;

  private:
    // 4 MiB of address space, of which only touched pages take memory.
    static constexpr std::size_t kSlots = std::size_t{1} << 20;
    struct Free {
        void operator()(std::uint32_t* p) const;
    };
    std::uint32_t mark(std::uint64_t key_hash, const state::Flow& flow) const;

    std::unique_ptr<std::uint32_t[], Free> slots_;
    std::array<unsigned char, 16> seed_{}; // so attackers cannot choose slots
};

} // namespace encsync::table
