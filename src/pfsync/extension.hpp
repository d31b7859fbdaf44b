// SPDX-License-Identifier: ISC
// The messages that two encsync nodes exchange besides standard pfsync, in the same packets. A
// version 6 receiver skips unknown actions by their length, and reads only the known part of a
// longer message, so these do not disturb a pf peer. A peer that never sends HELLO is sent only
// HELLO. All fields big-endian.
//
// Reliability: every packet to a node that has sent HELLO begins with a SEQ section. The receiver
// accepts packets in ascending order only and drops late ones as if lost. An ACK has the highest
// number received and which of the ones below it were received. So the sender knows exactly what
// did not arrive, and sends the current contents of those states again, never an old packet.
//
// Digests: two nodes check that one's flows equal the other's copies, and find differences. About
// once a second, when nothing else is left to send, a node sends the sum over its own flows (ROOT).
// A peer that has received everything before it compares. If the sums differ twice in a row, it
// asks (ASK) for the sums of the 16 children of the root (SUMS), then of the children that differ,
// down to the leaves of the tree, whose flows are listed (LIST). With UPD_REQ it asks for each flow
// that is missing, differs or was not listed; the answer is UPD or ABSENT. For the sums and the
// tree see sync/digest.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace encsync::pfsync::extension {

inline constexpr std::uint8_t kHello = 0xe0, kSeq = 0xe1, kAck = 0xe2, kRoot = 0xe3, kAsk = 0xe4,
                              kSums = 0xe5, kList = 0xe6, kAbsent = 0xe7, kExpect = 0xe8,
                              kRelayRoot = 0xe9, kFetch = 0xea, kOrphan = 0xeb, kKeys = 0xec,
                              kKeyText = 0xed, kPpk = 0xee;
// Ours alone: a relay passes on no message of these numbers.
inline constexpr std::uint8_t kFirst = 0xe0, kLast = 0xef;

// HELLO: sent when the link comes up, every second, and in answer to a HELLO of a new session.
// Older nodes send and read only the first 44 bytes. After them: the nodes that the sender hears,
// except the receiver, and the receiver's keys that it trusts.
namespace hello {                         // 44 bytes, or 48, 20 for each node, 8 for each key
inline constexpr std::size_t size = 44;   //
inline constexpr std::size_t session = 0; // u64: random, new with each start of ours
inline constexpr std::size_t peer_session =
    8;                                       // u64: the last session of yours that I know, 0: none
inline constexpr std::size_t creatorid = 16; // u32
inline constexpr std::size_t version = 20;   // u16: of this extension: kVersion
inline constexpr std::size_t role = 22;      // u8: 0 auto, 1 active, 2 standby
inline constexpr std::size_t flags = 23;     // u8: below; rest 0
inline constexpr std::size_t states = 24;    // u64: states in my table
inline constexpr std::size_t live = 32;      // u64: of those, the ones that I own
inline constexpr std::size_t checked = 40;   // u32: seconds since I found your flows and my
                                             // copies of them to be equal; kNever
inline constexpr std::uint16_t kVersion = 1;
inline constexpr std::uint32_t kNever = 0xffffffff;
inline constexpr std::uint8_t kReady = 0x01;  // this node may be promoted
inline constexpr std::uint8_t kInStep = 0x02; // all of your bulk update has arrived
inline constexpr std::uint8_t kLost = 0x08;   // I restarted without my old table, and
                                              // am not in step yet: what I don't name may live
inline constexpr std::uint8_t kReadsReplyZone = 0x10; // I read more::reply_zone
inline constexpr std::uint8_t kTracking = 0x20;       // the next two are valid:
inline constexpr std::uint8_t kLoose = 0x40;          // nf_conntrack_tcp_loose is on here
inline constexpr std::uint8_t kLiberal = 0x80;        // nf_conntrack_tcp_be_liberal is on here
inline constexpr std::size_t count = 44;              // u8: nodes that follow
inline constexpr std::size_t keys = 45;               // u8: keys that follow them; 2 bytes 0
inline constexpr std::size_t nodes = 48;
namespace node {                            // 20 bytes
inline constexpr std::size_t size = 20;     //
inline constexpr std::size_t creatorid = 0; // u32
inline constexpr std::size_t role = 4;      // u8: as above
inline constexpr std::size_t flags = 5;     // u8: kOwns; rest 0
inline constexpr std::size_t name = 6;      // 14 bytes: its name here, truncated, padded with NULs
inline constexpr std::uint8_t kOwns = 0x01; // it owns flows
} // namespace node
// At most this many, the most important first, so that SEQ, HELLO and ACK fit into any packet.
inline constexpr std::size_t max_nodes = 12;
// A key is its print, u64: the first 8 bytes of the SHA-256 of the public key.
inline constexpr std::size_t key_size = 8, max_keys = 2;
} // namespace hello

// SEQ: number of this packet within my session, from 1.
namespace seq { // 16 bytes
inline constexpr std::size_t size = 16, number = 0, session = 8;
}

// ACK: of the packets of your session. Bit n of the bitmap (byte n / 8, low bit first) is packet
// highest - 1 - n. A message has 4 to 128 bytes of bitmap, a multiple of 4, as its length says;
// packets further back were either acknowledged before or are lost.
namespace ack { // 20 to 144 bytes
inline constexpr std::size_t highest = 0, session = 8, bitmap = 16, max_bitmap = 128;
}

// What INS and UPD carry after the 264 bytes of the standard state.
namespace tail {                                  // 12 bytes
inline constexpr std::size_t size = 12, mark = 0, // u32
    timeout = 4,                                  // u32: seconds left, as the sender's table counts
    zone = 8,                                     // u16: of the original direction
    flags = 10,                                   // u8: kLive, and the term above it
    status = 11; // u8: state::kSeenReply, state::kAssured, state::kSloppy, and kElsewhere
inline constexpr std::uint8_t kLive = 0x01; // the sender owns the flow; not a copy
// In `status`: a copy of a flow of a third node, which the sender hears. Otherwise the owner of a
// copy is the receiver, or there is none.
inline constexpr std::uint8_t kElsewhere = 0x80;
// How often the owner has changed, modulo 128: if two nodes claim the flow, the later term wins.
inline constexpr unsigned kTermShift = 1;
inline constexpr std::uint8_t kTermMask = 0x7f;
} // namespace tail

// Follows the tail, for flows that have any of it (state::Extras) or expectations.
namespace more { // 64 bytes
inline constexpr std::size_t size = 64;
inline constexpr std::size_t labels = 0;    // 16 bytes: label n is bit n % 8 of byte n / 8
inline constexpr std::size_t helper = 16;   // 16 bytes: name, padded with NULs
inline constexpr std::size_t lifetime = 32; // u32: timeout after a packet, in seconds; 0: default
inline constexpr std::size_t expectations = 36; // u8: EXPECT messages that follow
inline constexpr std::size_t flags = 37;        // u8: below; rest 0
inline constexpr std::size_t reply_zone = 38;   // u16: only to nodes that read it (hello::flags)
// reply_zone is valid: the zone is for one direction only, so it or the tail's is 0.
inline constexpr std::uint8_t kReplyZone = 0x01;
// 2 of 12 bytes, of the original direction and of replies: state::SeqAdjust.
inline constexpr std::size_t seq_adjust = 40;
namespace adjust { // 12 bytes
inline constexpr std::size_t size = 12, position = 0 /* u32 */, before = 4 /* u32 */,
                             after = 8; // u32
}
} // namespace more

// EXPECT: one expectation of the flow with that id, after the flow's full state. Expectations of
// the flow that are not sent there no longer exist.
namespace expect { // 120 bytes
inline constexpr std::size_t size = 120;
inline constexpr std::size_t id = 0, creatorid = 8;  // of the master
inline constexpr std::size_t index = 12, count = 13; // u8: this one, from 0, of so many
inline constexpr std::size_t proto = 14;
inline constexpr std::size_t flags = 15;        // u8: below, and those of state::Expectation
inline constexpr std::size_t policy_class = 16; // u8: of the helper
inline constexpr std::size_t af = 17;           // u8: 2 or 24, as in full states
inline constexpr std::size_t nat_port = 18;     // u16
inline constexpr std::size_t timeout = 20;      // u32: seconds left
inline constexpr std::size_t src = 24, dst = 40, mask = 56, nat_address = 72; // 16 bytes each
inline constexpr std::size_t sport = 88, dport = 90, mask_port = 92;          // u16; 2 bytes 0
inline constexpr std::size_t function = 96; // 24 bytes: name, padded with NULs
inline constexpr std::uint8_t kNat = 0x40, kNatReply = 0x80;
} // namespace expect

// Follows the 12 bytes of DEL_C if the flow's owner has ever changed: a node that claims the flow
// in an earlier term accepts the removal.
namespace removal {                              // 4 bytes
inline constexpr std::size_t size = 4, term = 0; // u8; rest 0
}

// ROOT: the sum over my own flows that you may be told, after everything sent up to here. `since`:
// everything sent in packets before this one has arrived, or was sent again since.
namespace root {                                                        // 24 bytes
inline constexpr std::size_t size = 24, since = 0, sum = 8, count = 16; // u64 each
}

// ASK: for the sums below a node of the tree, or for the flows of a leaf.
namespace ask {                                  // 4 bytes
inline constexpr std::size_t size = 4, node = 0; // u32
}

// SUMS: of the 16 children of a node, in order.
namespace sums { // 136 bytes
inline constexpr std::size_t size = 136, node = 0 /* u32 */, children = 8 /* u64 each */;
}

// LIST: flows of a leaf, in one or more parts, which come in order.
namespace list { // 8 bytes, and 16 for each flow
inline constexpr std::size_t size = 8, leaf = 0 /* u32 */, part = 4 /* u16, from 0 */,
                             flags = 6 /* u8 */;
inline constexpr std::uint8_t kLast = 0x01;
namespace flow {
inline constexpr std::size_t size = 16, id = 0 /* u64 */, creatorid = 8 /* u32 */,
                             check = 12; // u32: the low half of what it adds to the sum
}
} // namespace list

// ABSENT: the answer to an UPD_REQ for a state that I don't have, or don't send to you. If you
// regard me as its owner and have received everything before (`since` as in ROOT), it has ended.
namespace absent { // 20 bytes
inline constexpr std::size_t size = 20, id = 0 /* u64 */, creatorid = 8 /* u32 */,
                             since = 12; // u64
}

// ---- between two gateways (table=relay) ----------------------------------------------------
//
// They pass on standard messages, and send these in packets of version 6 whatever the dialect of
// the rest. RELAY_ROOT is the sum over the states whose latest message came from the sender's own
// firewalls; ASK, SUMS and LIST find what differs, and FETCH asks for one state: the answer is UPD,
// DEL_C if it is known to have ended, or ABSENT if the sender says nothing about it.

// RELAY_ROOT: of all that was sent before it. Another session: the sender has forgotten what it
// had.
namespace relay_root {                                                    // 24 bytes
inline constexpr std::size_t size = 24, session = 0, sum = 8, count = 16; // u64 each
}

// What a gateway says on its cables, so that another one there notices: INS_ACK of its session as
// the id. pf ignores that of a state which it does not have, and none has this creatorid.
inline constexpr std::uint32_t kGatewayName = 0;

// FETCH: a state that is missing, differs or was not listed. If it has ended here, the other
// gateway may take that over.
namespace fetch { // 16 bytes
inline constexpr std::size_t size = 16, id = 0 /* u64 */, creatorid = 8 /* u32 */,
                             ended = 12; // u32: so many seconds ago; kNotEnded
inline constexpr std::uint32_t kNotEnded = 0xffffffff;
} // namespace fetch

// ORPHAN: in a bulk update, a state that came from none of the sender's firewalls: an UPD in the
// dialect of the rest, padded to 4 bytes.
namespace orphan { // 4 bytes, and the UPD
inline constexpr std::size_t size = 4, action = 0 /* u8: of the UPD; 3 bytes 0 */;
}

// ---- about the nodes' keys -----------------------------------------------------------------
//
// In packets of their own, which are of version 6, and have no SEQ: each node sends what it has
// until the others say that they have it (keysync/key_sync.hpp).

// KEYS: my keys, those of yours that I trust, and which keys are revoked. A key is its print, as in
// HELLO; unused places are 0.
namespace keys {                                   // 52 bytes
inline constexpr std::size_t size = 52, most = 2;  //
inline constexpr std::size_t own = 0, trusted = 2; // u8 each: how many; after trusted 1 byte 0
inline constexpr std::size_t flags = 1;            // u8: below; rest 0
inline constexpr std::size_t own_keys = 4;         // u64 each: the one that signs first
inline constexpr std::size_t trusted_keys = 20;    // u64 each
inline constexpr std::size_t revoked = 36;         // 16 bytes: BLAKE2b of the revoked keys
inline constexpr std::uint8_t kReadsPpk = 0x01;    // I read PPK, and make keys with you
} // namespace keys

// KEY_TEXT: a text of keys/format.hpp or keys/revocation.hpp, padded with zeroes to 4 bytes.
namespace key_text { // 4 bytes at least
inline constexpr std::size_t size = 4, length = 0 /* u16 */, text = 2;
inline constexpr std::size_t most = 1024; // bytes of text
} // namespace key_text

// PPK: the preshared keys that I have with you, and my part in making the next one
// (keysync/ppk_sync.hpp). Only to nodes that read it. Unused places are 0.
namespace ppk { // 144 bytes
inline constexpr std::size_t size = 144, most = 2;
inline constexpr std::size_t session = 0, number = 8; // u64: ascends within a random session
inline constexpr std::size_t held = 16, offer = 17;   // u8: how many keys; which of them IKE offers
inline constexpr std::size_t flags = 18;              // u8: below; 1 byte 0
inline constexpr std::size_t epochs = 20;             // u32 each
inline constexpr std::size_t ids = 28;                // 16 bytes each: BLAKE2b of the key
inline constexpr std::size_t epoch = 60;              // u32: of the next key
inline constexpr std::size_t base = 64;               // 16 bytes: of which key it is made
inline constexpr std::size_t random = 80;             // 32 bytes: my share of it
inline constexpr std::size_t answers = 112;           // 32 bytes: your share that this answers
inline constexpr std::uint8_t kWants = 0x01;          // the next one, now
inline constexpr std::uint8_t kOffers = 0x02;         // the step has my share
inline constexpr std::uint8_t kAnswers = 0x04;        // likewise, and I have the key
inline constexpr std::uint8_t kCarried = 0x08; // my last key was carried; you have it not yet
} // namespace ppk

} // namespace encsync::pfsync::extension
