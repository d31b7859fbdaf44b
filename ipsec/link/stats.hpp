// SPDX-License-Identifier: ISC
// What the link counts, as plain numbers for `encsync status` and `encsync sas`. All count up
// from the start of the process; peer counters outlive the SAs they came from.
#pragma once

#include "ipsec/esp/sa.hpp"
#include "ipsec/link/path_mtu.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace encsync::link {

// Datagrams that concern no peer.
struct LinkStats {
    std::uint64_t ike_in = 0, ike_out = 0;
    std::uint64_t unknown_source = 0;      // was queued before the socket's filter knew better
    std::uint64_t unknown_spi = 0;         // ESP for an SA that we don't have (any more)
    std::uint64_t runt = 0;                // neither IKE nor ESP nor a keepalive: too short
    std::uint64_t keepalive = 0;           // RFC 3948 section 2.3
    std::uint64_t receive_error = 0;       // the socket's, or an ICMP error about no size
    std::uint64_t ike_unknown_address = 0; // to send from no socket of ours, or to no peer
    std::uint64_t ike_not_sent = 0;        // the socket refused; IKE sends it again
};

struct PeerStats {
    std::uint64_t rx_packets = 0, rx_bytes = 0; // ESP packets accepted, their inner bytes
    std::uint64_t tx_packets = 0, tx_bytes = 0; // handed to the kernel
    std::uint64_t tx_calls = 0;                 // system calls that took
    // By esp::Verdict; ok and dummy stay 0 and are no refusals.
    std::array<std::uint64_t, esp::kVerdicts> refused{};
    std::uint64_t dummy = 0;
    // Packets that were committed and did not leave, by reason.
    std::uint64_t no_sa = 0;              // the SA went away before they were sealed
    std::uint64_t sequence_exhausted = 0; //
    std::uint64_t seal_failed = 0;        //
    std::uint64_t too_big = 0;            // EMSGSIZE; `mtu` is lowered
    std::uint64_t unreachable = 0;        // EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, ENETDOWN
    std::uint64_t not_sent = 0;           // any other error: last_errno
    int last_errno = 0;
    std::uint64_t blocked = 0; // times the socket or the queue was full; nothing is lost by it
    std::uint16_t mtu = 0;     // of the path, as now believed
    PathMtu::Source mtu_source = PathMtu::Source::configured;
    bool mtu_answers = false; // the peer answers probes, so what is sent is known to arrive
    std::uint64_t mtu_lowered = 0, mtu_raised = 0;
    std::uint64_t mtu_probes = 0;   // dummies sent to see what the path carries
    std::uint64_t icmp_refused = 0; // "too big" about no packet of ours, or a size that is none

    std::uint64_t refused_total() const {
        std::uint64_t sum = 0;
        for (std::uint64_t n : refused)
            sum += n;
        return sum;
    }
};

// One line of `encsync sas`.
struct SaInfo {
    PeerId peer = kNoPeer;
    esp::Direction direction = esp::Direction::inbound;
    std::uint32_t spi = 0;
    esp::Cipher cipher = esp::Cipher::aes256gcm16;
    bool esn = false;
    bool transport = false;               // mode; else tunnel
    std::uint64_t age = 0;                // seconds
    std::uint64_t packets = 0, bytes = 0; // inner bytes
    std::uint64_t replayed = 0;           // inbound: seen before, or left of the window
    std::uint64_t failed = 0;             // inbound: all other refusals
    bool retiring = false;                // inbound: deleted, receives for a grace yet
    bool sending = false;                 // outbound: the newest of its peer
};

} // namespace encsync::link
