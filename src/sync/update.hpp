// SPDX-License-Identifier: ISC
// What a peer says of a flow that is known here, whichever message it stood in.
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
    std::optional<std::uint32_t> mark;     // when it said one
    const state::Tuple* reply = nullptr;   // when it said one
    const state::Extras* extras = nullptr; // likewise
    // Whether it calls the flow its own or a copy, when it said so, and in which term.
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
