// SPDX-License-Identifier: ISC
// What all parts of the engine share: the time, the options, the flows, the table, the counters,
// and how far this node has come since it started. Data only; it decides nothing and calls no part.
#pragma once

#include "sync/counters.hpp"
#include "sync/flow_store.hpp"
#include "sync/options.hpp"
#include "sync/pf_states.hpp"
#include "sync/time.hpp"
#include "table/table.hpp"

#include <cstdint>
#include <limits>
#include <utility>

namespace encsync::sync {

struct Context {
    Context(Options o, table::Table& t)
        : options(std::move(o)), table(t), flows(options.index_seed) {}

    Options options; // `role` is the present one
    table::Table& table;
    FlowStore flows;
    const FlowIndex& index = flows.index();
    PfStates pf_states;
    Counters counters;

    Instant now;
    std::uint32_t seconds = 0; // the same in whole seconds: the clock of records

    // Entries that the table may still get from peers (Engine::set_room).
    std::int64_t room = std::numeric_limits<std::int64_t>::max();

    // ---- since the start -------------------------------------------------------------------
    bool table_known = false; // the first dump is through
    bool dumping = false;
    bool ever_in_step = false; // with any peer
    bool served_alone = false; // for join_wait no peer was within reach

    const Record& record(state::Slot slot) const { return index.record(slot); }
    state::Flow flow(state::Slot slot) const { return index.flow(slot, seconds); }
};

} // namespace encsync::sync
