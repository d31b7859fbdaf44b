// SPDX-License-Identifier: ISC
// EXPECT, an encsync message: one expectation, with the id of its flow. All expectations of a flow
// follow its full state, which contains their number.
#pragma once

#include "pfsync/parse.hpp"
#include "state/expectation.hpp"

namespace encsync::pfsync {

struct ExpectMessage {
    state::StateId master;
    std::uint8_t index = 0, count = 1; // this one's number, of `count`
    state::Family family = state::Family::inet;
    state::Expectation expectation; // all but its master
};
Fault read(Bytes message, ExpectMessage& out);
// Writes at `m`, which has extension::expect::size zero bytes. The family is the master's.
void write_expect(std::uint8_t* m, state::StateId master, std::uint8_t index, std::uint8_t count,
                  const state::Expectation& expectation);

} // namespace encsync::pfsync
