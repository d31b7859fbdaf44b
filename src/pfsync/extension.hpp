// What two encsync nodes say to each other beside standard pfsync, in the same packets.
// A version 6 receiver skips actions it does not know by their length, and reads a longer
// message as its known front; so a pf peer that hears these is not disturbed, and one that
// never says hello is never sent anything but hello. All fields big-endian.
//
// Reliability: every packet to a node that said hello begins with a SEQ section. The receiver
// takes packets in ascending order only; one that comes late is dropped as if lost. An ACK names
// the highest number taken and which of the ones below it were. So a sender knows at once and
// for certain what did not arrive, and says the present truth about those states again: what is
// repeated is never an old packet.
#pragma once

#include <cstddef>
#include <cstdint>

namespace encsync::pfsync::extension {

inline constexpr std::uint8_t kHello = 0xe0, kSeq = 0xe1, kAck = 0xe2;

// HELLO: when the link comes up, every second, and in answer to a hello of a new session.
namespace hello { // 32 bytes
inline constexpr std::size_t size = 32, session = 0, // u64: random, new with each start of ours
    heard = 8,     // u64: the session last heard from you, 0 = none yet
    creatorid = 16, // u32
    version = 20,  // u16: of this extension, 1
    role = 22,     // u8: 0 auto, 1 active, 2 standby
    flags = 23,    // u8: kReady, kInStep
    states = 24;   // u64: states in my table
inline constexpr std::uint8_t kReady = 0x01;  // I may be promoted
inline constexpr std::uint8_t kInStep = 0x02; // all you told me in bulk has arrived
}

// SEQ: number of this packet within my session, from 1.
namespace seq { // 8 bytes
inline constexpr std::size_t size = 8, number = 0;
}

// ACK: of your session's packets. Bit n of the bitmap (n = byte * 8 + bit, low bit first) is
// packet highest - 1 - n.
namespace ack { // 144 bytes
inline constexpr std::size_t size = 144, highest = 0, session = 8, bitmap = 16,
                             bitmap_size = 128;
}

// What INS and UPD carry behind the 264 bytes of the standard state.
namespace tail { // 12 bytes
inline constexpr std::size_t size = 12, mark = 0, // u32
    timeout = 4, // u32: seconds left, as the sender's table counts
    zone = 8,    // u16
    flags = 10,  // u8: kLive; rest 0
    status = 11; // u8: state::kSeenReply, state::kAssured
inline constexpr std::uint8_t kLive = 0x01; // the flow is the sender's own, not a copy
}

} // namespace encsync::pfsync::extension
