// SPDX-License-Identifier: ISC
// EXPECT, a message of ours: one expectation of a flow, named as that flow is. All of a flow's
// follow its full state, which says how many they are.
#pragma once

#include "pfsync/parse.hpp"
#include "state/expectation.hpp"

namespace encsync::pfsync {

struct ExpectMessage {
    state::StateId master;
    std::uint8_t index = 0, count = 1; // this one of so many
    state::Family family = state::Family::inet;
    state::Expectation expectation; // all but its master
};
Fault read(Bytes message, ExpectMessage& out);
// At `m`, extension::expect::size bytes of zeros. The family is the master's.
void write_expect(std::uint8_t* m, state::StateId master, std::uint8_t index, std::uint8_t count,
                  const state::Expectation& expectation);

} // namespace encsync::pfsync
