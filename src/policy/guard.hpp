// SPDX-License-Identifier: ISC
// Checks each inner packet that the tunnel delivers.
//
//     auto [verdict, payload] = check(inner, {sa.inner_src, sa.inner_dst});
//     counters.add(verdict);
//     if (verdict == Verdict::accept) engine.on_packet(peer, payload);
//
// ESP has authenticated the sender of the packet. This checks that it fits the SA: one complete
// pfsync packet between the two addresses of the SA. The engine checks whether the sender may send
// its contents.
#pragma once

#include "net/address.hpp"
#include "pfsync/parse.hpp"
#include "util/bytes.hpp"
#include "util/counters.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace encsync::policy {

// In the order of the tests, cheapest first. Each refusal has one reason.
enum class Verdict : std::uint8_t {
    accept,
    short_packet,      // too short for an IP header
    bad_ip_version,    // neither 4 nor 6
    ip_options,        // IPv4 options, IPv6 extension headers: pfsync has none
    bad_ip_length,     // header length under 5 words, or total length not that of the packet
    fragment,          // pfsync sets DF
    not_pfsync,        // not protocol 240
    wrong_source,      // not the address of the SA, or of a speaker on the cable
    wrong_destination, // likewise
    bad_ttl,           // not 255
    // The pfsync packet, from pfsync::Fault:
    pfsync_short_header,
    pfsync_bad_version,
    pfsync_bad_length,
    pfsync_short_subheader,
    pfsync_zero_count,
    pfsync_zero_stride,
    pfsync_section_overrun,
    pfsync_other,
};
inline constexpr int kVerdicts = 18;
const char* to_string(Verdict verdict); // "wrong_source"

// What inner packets of the inbound SA, or packets of a cable, must carry.
struct Selectors {
    std::vector<net::Address> sources; // one of these: several only on a cable
    net::Address destination;
};

struct Checked {
    Verdict verdict = Verdict::short_packet;
    Bytes payload; // from the pfsync header on, within the packet; empty unless accepted
};

// `inner`: the whole packet from its IP header. `dialect`: what the peer may speak; none: any.
Checked check(Bytes inner, const Selectors& selectors,
              pfsync::Expected dialect = pfsync::kOwnDialect);

// For users: what was wrong with a packet refused with this verdict. "it speaks pfsync version 5
// (freebsd-1400), and version 6 was expected (wire=encsync or openbsd)" `used_dialect`: the dialect
// seen in the peer's packets; only those with full states show it.
std::string explain(Verdict verdict, Bytes inner, const Selectors& selectors,
                    pfsync::Expected dialect, std::optional<pfsync::Dialect>& used_dialect);

struct GuardCounters {
    std::array<std::uint64_t, kVerdicts> verdicts{};

    void add(Verdict verdict) { verdicts[static_cast<std::size_t>(verdict)]++; }
};
inline constexpr std::array kGuardCounters = {
    counters::by<&GuardCounters::verdicts, Verdict>("refused", "guard_refused", "packets",
                                                    "Decrypted packets that were refused", "reason",
                                                    counters::Shape::flat, false, 1),
};

} // namespace encsync::policy
