// Reading pfsync packets without copying: a packet is walked section by section, a section
// message by message; a message is a view into the packet.
//
//     Parser parser(payload);                  // payload: from the pfsync header on
//     while (const Section* s = parser.next())
//         for (std::uint16_t n = 0; n < s->count; n++)
//             ... s->message(n) ...
//     if (parser.fault() != Fault::none) ...   // say why, at parser.offset()
//
// check() walks the whole packet first, so that a packet is taken whole or not at all.
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
    short_subheader, // a section begins but its subheader doesn't fit
    zero_count,      // count 0
    zero_stride,     // message length 0
    short_message,   // a known message shorter than the dialect's: skipped by its length
    section_overrun, // count * length reaches beyond the packet
    // of a full state:
    bad_creatorid,  // 0
    bad_ifname,     // no NUL in its 16 bytes
    bad_peer_state, // above 12
    bad_timeout,    // PFTM_MAX or above
    bad_direction,  // neither in nor out
    bad_family,     // no address family, or two that differ
    bad_bus_status, // neither start nor end
    bad_icmp_type,  // above 255
};
inline constexpr int kFaults = 17;
std::string_view to_string(Fault fault); // "bad_length"

struct Section {
    std::uint8_t action = 0;
    std::uint16_t count = 0;
    std::uint16_t stride = 0; // bytes from one message to the next, as the sender says
    Bytes body;               // count * stride bytes

    Bytes message(std::uint16_t n) const { return body.subspan(std::size_t{n} * stride, stride); }
};

class Parser {
  public:
    // Checks the header; bytes behind its length field are not looked at.
    explicit Parser(Bytes payload);
    // The next section, or null at the end or at the first fault.
    const Section* next();
    Fault fault() const { return fault_; }
    std::size_t offset() const { return offset_; } // of the section being read, or of the fault

  private:
    Bytes payload_; // up to its length field
    std::size_t offset_ = 0, next_ = 0;
    Fault fault_ = Fault::none;
    Section section_;
};

// The size of this action's message, 0 if the dialect doesn't know it or no longer uses it. A
// longer message is read as its known front, a shorter one is skipped.
std::size_t message_size(std::uint8_t action);

// Structure only: the header and every section of the packet. Messages that are unknown or too
// short for their action are no fault of the packet (pfsync(4): skipped by their length).
Fault check(Bytes payload);

// Peer blocks, kept for pf peers, which want them back as they sent them.
struct PeerBlock {
    Bytes bytes; // 32
    std::uint8_t state() const { return bytes[openbsd::peer::state]; }
    std::uint32_t seqlo() const { return load_be<std::uint32_t>(&bytes[openbsd::peer::seqlo]); }
};

// A message of INS, UPD or DEL as a flow. Fills everything the wire has; mark, zone, timeout and
// status come from the tail if the message is long enough to carry one, so hand in no more than
// kStateSize bytes of a peer that doesn't speak the extension. On a fault `out` is undefined.
// Views point into the message.
struct FullState {
    state::Flow flow;
    PeerBlock src, dst;
    bool wants_ack = false;
    bool has_tail = false;
    bool live = true; // without a tail every state is the sender's own
};
Fault read(Bytes message, FullState& out);

struct CompressedUpdate {
    state::StateId id;
    PeerBlock src, dst;
    std::uint8_t timeout = 0;
};
Fault read(Bytes message, CompressedUpdate& out);

// UPD_REQ, DEL_C, INS_ACK. A message too short to hold one gives creatorid 0, which is invalid.
state::StateId read_id(Bytes message);

struct Clear {
    std::string_view ifname; // up to its first NUL; "" = all
    std::uint32_t creatorid = 0;
};
Fault read(Bytes message, Clear& out);

// An IPsec SA's replay counters. encsync keeps its own and takes nobody's; this is for looking.
struct Tdb {
    std::uint32_t spi = 0;
    state::Family family = state::Family::inet;
    state::Address dst;
    std::uint64_t rpl = 0;
    std::uint64_t bytes = 0;
    std::uint8_t sproto = 0; // IP protocol: 50 ESP, 51 AH
    std::uint16_t rdomain = 0;
    bool operator==(const Tdb&) const = default;
};
Fault read(Bytes message, Tdb& out);

struct BulkStatus {
    std::uint32_t creatorid = 0;
    std::uint32_t endtime = 0;
    bool end = false; // else start
};
Fault read(Bytes message, BulkStatus& out);

} // namespace encsync::pfsync
