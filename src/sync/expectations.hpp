// SPDX-License-Identifier: ISC
// Which flows have expectations, and which. A flow's expectations belong to the flow: who owns it
// owns them, they are sent after its full state, and removed with it.
//
//     if (book.add(slot, expectation, expires)) announce(slot, true);
//     for (const auto& entry : book.of(slot)) ...
#pragma once

#include "state/expectation.hpp"
#include "state/index.hpp"

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace encsync::sync {

class ExpectationBook {
  public:
    // Of all masters together: beyond, a peer could fill memory with them.
    static constexpr std::size_t kMax = 8192;

    struct Entry {
        state::Expectation expectation;
        std::uint32_t expires = 0; // second of the engine's clock
        // Another node's, to which a connection came here: it must not let in a second one. Its
        // owner, which does not know, goes on naming it.
        bool used = false;
    };

    const std::vector<Entry>& of(state::Slot master) const;
    std::size_t size() const { return size_; }

    enum class Added : std::uint8_t { fresh, same, full };
    // `fresh`: there was none of that name, or it differs.
    Added add(state::Slot master, const state::Expectation& expectation, std::uint32_t expires);
    bool remove(state::Slot master, const state::Expectation& expectation);
    void use(state::Slot master, const state::Expectation& expectation);
    void drop_used(state::Slot master);   // it is ours now, and we name what there is
    void forget_uses(state::Slot master); // its entry is made anew
    bool forget(state::Slot master);      // with all that it expects; false if that was nothing
    // Those that have timed out without an event.
    void expire(state::Slot master, std::uint32_t now);

    // The owner sends all of a master's, one after the other: begin(count), then each. When the
    // last has arrived and none was lost, those that were not named are returned, and forgotten.
    std::vector<state::Expectation> begin(state::Slot master, std::uint8_t count);
    std::vector<state::Expectation> listed(state::Slot master, std::uint8_t index,
                                           std::uint8_t count,
                                           const state::Expectation& expectation);

  private:
    struct Arriving {
        std::uint8_t count = 0;
        std::vector<state::Expectation> named;
    };
    std::vector<state::Expectation> end(state::Slot master);
    template<class Predicate>
    bool erase(state::Slot master, Predicate predicate);

    std::unordered_map<state::Slot, std::vector<Entry>> entries_; // none that is empty
    std::unordered_map<state::Slot, Arriving> arriving_;
    std::size_t size_ = 0;
};

// An expectation as it stands with that flow as its master.
state::Expectation of_master(const state::Index& index, state::Expectation expectation,
                             state::Slot master);

} // namespace encsync::sync
