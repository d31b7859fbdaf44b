// SPDX-License-Identifier: ISC
// The fields of a full state message that a relay reads and changes, in place, by the layout of its
// dialect. Everything else in the message stays as the firewall wrote it.
//
//     if (full_state::valid(layout, message)) { auto id = full_state::id(layout, message); ... }
#pragma once

#include "pfsync/dialect.hpp"
#include "state/flow.hpp"
#include "util/bytes.hpp"

#include <cstdint>
#include <string_view>

namespace encsync::relay::full_state {

// All below may be called only if this holds: long enough, and with a creatorid.
bool valid(pfsync::Dialect layout, Bytes message);

state::StateId id(pfsync::Dialect layout, Bytes message);
std::uint8_t proto(pfsync::Dialect layout, Bytes message);
// "all": of a state that is bound to no interface.
std::string_view ifname(pfsync::Dialect layout, Bytes message);
// The sender waits for INS_ACK.
bool wants_ack(pfsync::Dialect layout, Bytes message);
std::uint32_t expires_in(pfsync::Dialect layout, Bytes message); // seconds
// Which flow it is: both keys, direction and interface, in 64 bits.
std::uint64_t flow_hash(pfsync::Dialect layout, Bytes message);
// What two gateways must agree on, in 64 bits: name, sequence numbers and progress of both sides.
// The same for a state in each dialect.
std::uint64_t check(pfsync::Dialect layout, Bytes message);

// Takes over what an UPD_C of that dialect tells: both sides, and the timeout's index.
void apply(pfsync::Dialect layout, MutableBytes message, pfsync::Dialect dialect, Bytes update_c);
// Makes it `seconds` older, with `left` seconds to live.
void set_times(pfsync::Dialect layout, MutableBytes message, std::uint32_t seconds,
               std::uint32_t left);

} // namespace encsync::relay::full_state
