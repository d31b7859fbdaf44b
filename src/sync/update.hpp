// SPDX-License-Identifier: ISC
// A peer's update of a flow that is known here, whatever message carried it.
#pragma once

#include "pfsync/dialect.hpp"
#include "pfsync/parse.hpp"
#include "state/index.hpp"

#include <cstdint>
#include <optional>

namespace encsync::sync {

struct Update {
    std::uint8_t src_state = 0, dst_state = 0;
    std::uint8_t flags = 0;
    std::optional<std::uint32_t> mark;     // if it has one
    const state::Tuple* reply = nullptr;   // if it has one
    const state::Extras* extras = nullptr; // likewise
    // Whether the peer owns the flow or has a copy, if it says so, and in which term.
    std::optional<bool> live;
    std::uint8_t term = 0;
    bool elsewhere = false; // a copy of a third node's

    Update() = default;
    Update(std::uint8_t src, std::uint8_t dst) : src_state(src), dst_state(dst) {}
    explicit Update(const pfsync::FullState& full)
        : src_state(full.flow.src_state), dst_state(full.flow.dst_state), flags(full.flow.flags),
          reply(&full.flow.reply), live(full.live), term(full.term), elsewhere(full.elsewhere) {
        if (!full.has_tail)
            return;
        mark = full.flow.mark;
        extras = &full.flow.extras;
    }
};

} // namespace encsync::sync
