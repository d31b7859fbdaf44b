// SPDX-License-Identifier: ISC
// The differences between dialects, as data: other code asks for a trait, never for the operating
// system.
//
//     if (traits(session.dialect).bulk.endtime) ...      // pfsync/dialect.hpp
#pragma once

#include "pfsync/dialects/registry.hpp"
#include "pfsync/message.hpp"
#include "util/bytes.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace encsync::state {
struct Flow;
}

namespace encsync::pfsync {

enum class Fault : std::uint8_t; // parse.hpp
struct FullState;
struct StateOptions; // build.hpp

// How the dialect numbers the progress of a side if a Flow uses phases (state::tcp) but pf may not.
enum class Numbering : std::uint8_t {
    phases,      // as a Flow does
    seen,        // "seen" and "answered" (state::datagram)
    association, // as netinet/sctp.h does; with timeouts of its own
};

// A full state. Offsets and sizes in bytes. One template reads and one writes all layouts, with
// these numbers as constants. Each has a name of its own outside of unnamed namespaces: for layouts
// of the same name there, gcc 14 makes one function.
struct Layout {
    struct Name { // NUL-terminated within its bytes; size 0: none
        std::size_t at = 0, size = 0;
    };
    // ICMP queries have their id in one port and their type in the other, or their id in both.
    enum class Icmp : std::uint8_t { id_and_type, id_twice };

    std::size_t size = 0;
    // the first fields; everywhere in the same order up to `creatorid`
    std::size_t id = 0, ifname = 0, wire = 0, stack = 0, src = 0, dst = 0, rule = 0, anchor = 0,
                nat_rule = 0, creation = 0, expire = 0, creatorid = 0;
    // in a key; the same everywhere, but for the family
    std::size_t addr0 = 0, addr1 = 0, port0 = 0, port1 = 0;
    std::size_t key_af = 0; // 0: none in keys
    // One each for the wire and the stack side; the same offset twice if they share it.
    std::size_t wire_af = 0, stack_af = 0, wire_proto = 0, stack_proto = 0;
    std::size_t direction = 0, timeout = 0, state_flags = 0;
    bool wide_flags = false; // two bytes, or one
    std::array<std::size_t, 2> rtableids{};
    std::size_t rtableid_count = 0;
    std::array<Name, 4> names{}; // ifname among them
    std::size_t orig_ifname = 0; // 0: none
    Icmp icmp = Icmp::id_and_type;
    std::uint8_t af_inet6 = 0;
    std::uint8_t timeout_max = 0; // PFTM_MAX
    Numbering sctp = Numbering::phases, dccp = Numbering::phases;
    bool tail = false; // our tail may follow (extension.hpp)

    // What a Flow has no place for; only convert.hpp uses it. Offset 0, size 0: none.
    std::size_t rt_addr = 0, counters = 0; // counters: packets and bytes, of both directions
    std::size_t log = 0, sync_flags = 0, max_mss = 0, min_ttl = 0, set_tos = 0, set_prio = 0;
    std::size_t rt = 0, rt_af = 0; // without rt_af, a route has the family of the keys
    Name rt_ifname{}, tagname{};
    std::size_t qid = 0, pqid = 0, dnpipe = 0, dnrpipe = 0;
    std::size_t key_rdomain = 0; // in a key
};

// TDB, after the SPI and the address.
struct TdbLayout {
    std::size_t size, rpl;
    bool wide_rpl;                      // 64 bits, or 32
    std::size_t bytes, sproto, rdomain; // rdomain 0: none
};

// The messages by number, and the numbers by kind.
struct Actions {
    static constexpr std::uint8_t kNone = 0xff;
    std::array<Kind, 256> kinds{};
    std::array<std::uint8_t, kKinds> numbers{};
    std::array<std::uint16_t, kKinds> sizes{};

    constexpr explicit Actions(std::span<const Message> messages) {
        numbers.fill(kNone);
        for (const Message& m : messages) {
            kinds[m.number] = m.kind;
            if (m.kind == Kind::unknown || m.kind == Kind::error)
                continue;
            numbers[static_cast<std::size_t>(m.kind)] = m.number;
            sizes[static_cast<std::size_t>(m.kind)] = m.size;
        }
    }
};

// When an update's dst side counts as stale by sequence number although its state is not: only if
// the states of both sides are equal, or whenever ours has sent a SYN.
enum class DstStale : std::uint8_t { equal_states, since_syn_sent };

struct BulkTraits {
    std::chrono::seconds retry; // of a request without a reply
    bool endtime;               // BUS says how many seconds it has been running; otherwise 0
    bool empty_start;           // BUS start comes before the end even if there are no states
    bool restarts;              // a request restarts the running one
};

struct DialectTraits {
    std::string_view name;     // "freebsd-1400": the value of `wire`
    std::string_view system;   // "FreeBSD"
    std::string_view releases; // releases that use it by default
    std::uint8_t version;      // of the header
    // A subheader has the length of its messages: unknown ones are skipped, and of longer ones the
    // known part is read. Otherwise parsing stops at an unknown one, and EOF ends the packet.
    bool message_lengths;
    bool ipv6; // its system receives pfsync over IPv6

    std::span<const Message> messages; // those that it sends, or knows as errors
    Actions actions;
    Layout state;
    TdbLayout tdb;

    DstStale dst_stale;
    // If src is stale, an update's dst side is copied even if it is older than the receiver's own.
    bool copies_stale_dst;
    BulkTraits bulk;

    // For `state`. See pfsync::read() and write_state().
    Fault (*read_state)(Bytes message, FullState& out);
    void (*write_state)(std::uint8_t* m, const state::Flow& flow, const StateOptions& options);

    // Its system ignores our own messages and tails (extension.hpp).
    constexpr bool extensible() const { return message_lengths; }
};

} // namespace encsync::pfsync
