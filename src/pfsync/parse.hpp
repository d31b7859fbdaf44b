// SPDX-License-Identifier: ISC
// Reading pfsync packets without copying: a packet is walked section by section, a section
// message by message; a message is a view into the packet.
//
//     Parser parser(payload, dialect);         // payload: from the pfsync header on
//     while (const Section* s = parser.next())
//         for (std::uint16_t n = 0; n < s->count; n++)
//             ... s->kind, read(s->layout, s->message(n), out) ...
//     if (parser.fault() != Fault::none) ...   // at parser.offset()
//
// check() walks the whole packet first, so that a packet is accepted completely or not at all.
//
// As the expected dialect, std::nullopt means any: the version byte decides. A peer's dialect
// determines what is sent to it; in version 5, all sizes of full states are read from every peer.
#pragma once

#include "pfsync/wire.hpp"
#include "state/flow.hpp"
#include "util/bytes.hpp"

#include <cstdint>
#include <optional>
#include <string_view>

namespace encsync::pfsync {

enum class Fault : std::uint8_t {
    none,
    short_header,    // fewer than 20 bytes
    bad_version,     // not the dialect expected
    bad_length,      // the length field is under 20 or beyond the packet
    short_subheader, // a section begins but its subheader does not fit
    zero_count,      // count 0
    zero_stride,     // message length 0
    short_message,   // known message, shorter than the dialect's: skipped by its length
    section_overrun, // count * length reaches beyond the packet
    // of a full state:
    bad_creatorid,   // 0
    bad_ifname,      // no NUL in its 16 bytes
    bad_peer_state,  // above 12
    bad_timeout,     // PFTM_MAX or above
    bad_direction,   // neither in nor out
    bad_family,      // no address family, or two that differ
    bad_bus_status,  // neither start nor end
    bad_icmp_type,   // above 255
    bad_protocol,    // two protocols that differ
    bad_name,        // a helper's name without NUL, or of characters that no name has
    bad_zone,        // of replies, not allowed with the zone of the original direction
    bad_expectation, // index beyond the count, or more than a flow may have
    // in version 5, which has no message length for skipping:
    bad_action, // no such message, so the rest cannot be read
    bad_eof,    // EOF is not at the end
};
inline constexpr int kFaults = 23;
std::string_view to_string(Fault fault); // "bad_length"

using Expected = std::optional<Dialect>; // none: any

struct Section {
    std::uint8_t action = 0;
    Kind kind = Kind::unknown;
    // The dialect with which to read() its messages: that of their size of states, or the expected
    // one.
    Dialect layout = kOwnDialect;
    std::uint16_t count = 0;
    // Bytes from one message to the next: in version 6 as given by the sender, in version 5 the
    // message's size, which is 0 for EOF.
    std::uint16_t stride = 0;
    Bytes body; // count * stride bytes

    Bytes message(std::uint16_t n) const { return body.subspan(std::size_t{n} * stride, stride); }
};

class Parser {
  public:
    // Checks the header; bytes beyond its length field are ignored.
    explicit Parser(Bytes payload, Expected expected = kOwnDialect);
    // The next section, or null at the end or at the first fault.
    const Section* next() {
        return traits(dialect_).message_lengths ? next_by_length() : next_by_action();
    }
    Fault fault() const { return fault_; }
    std::size_t offset() const { return offset_; } // of the section being read, or of the fault

    // From the version byte; 0 if the header is bad.
    std::uint8_t version() const { return version_; }
    // The expected dialect; if any is expected, the newest of the version.
    Dialect dialect() const { return dialect_; }

  private:
    const Section* next_by_length();
    const Section* next_by_action();
    const Section* fail(Fault fault) {
        fault_ = fault;
        return nullptr;
    }

    Bytes payload_; // up to its length field
    std::size_t offset_ = 0, next_ = 0;
    Dialect dialect_;
    bool any_; // dialect
    Fault fault_ = Fault::none;
    std::uint8_t version_ = 0;
    bool ended_ = false; // EOF seen
    Section section_;
};

// The size of this action's message; 0 if the dialect does not know it, no longer uses it, or it
// has no body. In version 6, only the known part of a longer message is read; a shorter one is
// skipped.
std::size_t message_size(std::uint8_t action, Dialect dialect = kOwnDialect);

// Structure only: the header and every section of the packet. Messages that are unknown or too
// short for their action are not a fault of a version 6 packet (pfsync(4): skipped by their
// length). An unknown action of a version 5 packet is not a fault either: as in FreeBSD, what came
// before it counts, and Parser stops at it with bad_action.
Fault check(Bytes payload, Expected expected = kOwnDialect);

// The dialect that this packet shows the sender to use. None for a version 5 packet without a full
// state, or a packet that check() refuses.
std::optional<Dialect> detect(Bytes payload);

// Peer blocks, kept because they must be sent back to pf peers unchanged.
struct PeerBlock {
    Bytes bytes; // 32
    std::uint8_t state() const { return bytes[common::peer::state]; }
    std::uint32_t seqlo() const { return load_be<std::uint32_t>(&bytes[common::peer::seqlo]); }
    std::uint32_t seqhi() const { return load_be<std::uint32_t>(&bytes[common::peer::seqhi]); }
    // By how much pf moves this side's sequence numbers (modulate state, synproxy state).
    std::uint32_t seqdiff() const { return load_be<std::uint32_t>(&bytes[common::peer::seqdiff]); }
};

// A message of INS, UPD or DEL as a flow. Fills everything that is on the wire. In version 6 mark,
// zone, timeout and status come from the tail if the message is long enough to have one, so pass at
// most state_size() bytes from a peer without the extension. After a fault `out` is undefined.
// Views point into the message. The flow's states are flow_state() of the blocks'
// (pfsync/progress.hpp).
//
// What a Flow cannot represent is refused (af-to: two families) or ignored (rules, queues, tags,
// route-to). An ICMP state of the layouts 1301 and 1400 whose two ports are equal has its id in
// both and no type, as in these releases; it is treated as an echo.
struct FullState {
    state::Flow flow;
    PeerBlock src, dst;
    bool wants_ack = false;
    bool has_tail = false;
    bool live = true;       // without a tail the sender owns every state
    std::uint8_t term = 0;  // of the tail
    bool elsewhere = false; // of the tail: a third node's flow
    // EXPECT messages that follow: all expectations of this flow.
    std::uint8_t expectations = 0;
    // "all": of a state that is bound to no interface.
    std::string_view ifname{};
    std::uint8_t timeout = 0; // index, below the dialect's PFTM_MAX
    bool outgoing = false;    // pf created it for an outgoing packet, not an incoming one
};
Fault read(Dialect layout, Bytes message, FullState& out);
Fault read(Bytes message, FullState& out); // of kOwnDialect

// Without knowing the flow, the blocks' states cannot be translated: flow_state() does that.
struct CompressedUpdate {
    state::StateId id;
    PeerBlock src, dst;
    std::uint8_t timeout = 0;
};
Fault read(Dialect dialect, Bytes message, CompressedUpdate& out);
Fault read(Bytes message, CompressedUpdate& out); // of kOwnDialect

// UPD_REQ, DEL_C, INS_ACK. A message too short to hold one gives creatorid 0, which is invalid.
state::StateId read_id(Bytes message);

struct Clear {
    std::string_view ifname; // up to its first NUL; "" = all
    std::uint32_t creatorid = 0;
};
Fault read(Bytes message, Clear& out);

// An IPsec SA's replay counters. encsync keeps its own and ignores those of peers; only for
// display.
struct Tdb {
    std::uint32_t spi = 0;
    net::Address dst;
    std::uint64_t rpl = 0;
    std::uint64_t bytes = 0;
    std::uint8_t sproto = 0;   // IP protocol: 50 ESP, 51 AH
    std::uint16_t rdomain = 0; // version 6
    bool operator==(const Tdb&) const = default;
};
Fault read(Dialect dialect, Bytes message, Tdb& out);
Fault read(Bytes message, Tdb& out); // of kOwnDialect

struct BulkStatus {
    std::uint32_t creatorid = 0;
    std::uint32_t endtime = 0;
    bool end = false; // else start
};
Fault read(Bytes message, BulkStatus& out);

} // namespace encsync::pfsync
