// SPDX-License-Identifier: ISC
// Counters of the link for `encsync status` and `encsync sas`. All start with the process; peer
// counters outlive their SAs.
#pragma once

#include "ipsec/esp/sa.hpp"
#include "ipsec/link/path_mtu.hpp"
#include "util/counters.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace encsync::link {

// Datagrams that belong to no peer.
struct LinkStats {
    std::uint64_t ike_in = 0, ike_out = 0;
    std::uint64_t unknown_source = 0;      // queued before the socket's filter excluded it
    std::uint64_t unknown_spi = 0;         // ESP for an SA that we don't have (any more)
    std::uint64_t wrong_port = 0;          // ESP from another port of a peer's address
    std::uint64_t ike_flood = 0;           // IKE beyond what charon is to see
    std::uint64_t runt = 0;                // neither IKE nor ESP nor a keepalive: too short
    std::uint64_t keepalive = 0;           // RFC 3948 section 2.3
    std::uint64_t receive_error = 0;       // of the socket, or an ICMP error other than "too big"
    std::uint64_t ike_unknown_address = 0; // to send: not from a socket of ours, or not to a peer
    std::uint64_t ike_not_sent = 0;        // the socket refused; IKE will retransmit
};

inline constexpr std::array kLinkCounters = {
    counters::value<&LinkStats::ike_in>("", "ike_in", "datagrams", "IKE datagrams received"),
    counters::value<&LinkStats::ike_out>("", "ike_out", "datagrams", "IKE datagrams sent"),
    counters::value<&LinkStats::keepalive>("", "keepalive", "datagrams",
                                           "NAT keepalives (RFC 3948) received"),
    counters::value<&LinkStats::receive_error>("", "receive_error", "errors",
                                               "Errors of the sockets while receiving"),
    counters::value<&LinkStats::ike_unknown_address>(
        "", "ike_unknown_address", "datagrams",
        "IKE datagrams to send from no socket of ours, or to no peer"),
    counters::value<&LinkStats::ike_not_sent>("", "ike_not_sent", "datagrams",
                                              "IKE datagrams that the socket refused"),
    counters::value<&LinkStats::unknown_source>("refused", "unknown_source", "datagrams",
                                                "Datagrams from an address that is no peer's",
                                                false),
    counters::value<&LinkStats::unknown_spi>("refused", "unknown_spi", "packets",
                                             "ESP packets of an SA that is not here", false),
    counters::value<&LinkStats::wrong_port>("refused", "wrong_port", "packets",
                                            "ESP packets from another port than the peer's", false),
    counters::value<&LinkStats::ike_flood>(
        "refused", "ike_flood", "datagrams",
        "IKE datagrams in a peer's name beyond 1000 a second: of known IKE SAs, and of all others",
        false),
    counters::value<&LinkStats::runt>("refused", "runt", "datagrams",
                                      "Datagrams too short to be IKE, ESP or a keepalive", false),
};

struct PeerStats {
    std::uint64_t rx_packets = 0, rx_bytes = 0; // ESP packets accepted, their inner bytes
    std::uint64_t tx_packets = 0, tx_bytes = 0; // handed to the kernel
    std::uint64_t tx_calls = 0;                 // system calls for them
    // By esp::Verdict; ok and dummy stay 0 and are no refusals.
    std::array<std::uint64_t, esp::kVerdicts> refused{};
    std::uint64_t dummy = 0;
    // Packets that were committed but not sent, by reason.
    std::uint64_t no_sa = 0;              // the SA went away before they were sealed
    std::uint64_t sequence_exhausted = 0; //
    std::uint64_t seal_failed = 0;        //
    std::uint64_t too_big = 0;            // EMSGSIZE; `mtu` is lowered
    std::uint64_t unreachable = 0;        // EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, ENETDOWN
    std::uint64_t not_sent = 0;           // any other error: last_errno
    int last_errno = 0;
    std::uint64_t blocked = 0; // times the socket or the queue was full; nothing is lost
    std::uint16_t mtu = 0;     // current estimate for the path
    PathMtu::Source mtu_source = PathMtu::Source::configured;
    bool mtu_answers = false; // the peer answers probes, so this size is known to arrive
    std::uint64_t mtu_lowered = 0, mtu_raised = 0;
    std::uint64_t mtu_probes = 0;   // dummies sent to see what the path carries
    std::uint64_t icmp_refused = 0; // "too big" not about a packet of ours, or an invalid size

    std::uint64_t refused_total() const {
        std::uint64_t sum = 0;
        for (std::uint64_t n : refused)
            sum += n;
        return sum;
    }
};

inline constexpr std::array kPeerCounters = {
    counters::value<&PeerStats::rx_packets>("traffic", "rx_packets", "packets",
                                            "ESP packets accepted"),
    counters::value<&PeerStats::tx_packets>("traffic", "tx_packets", "packets", "ESP packets sent"),
    counters::value<&PeerStats::rx_bytes>("traffic", "rx_bytes", "bytes",
                                          "Inner bytes of the ESP packets accepted"),
    counters::value<&PeerStats::tx_bytes>("traffic", "tx_bytes", "bytes",
                                          "Inner bytes of the ESP packets sent"),
    counters::value<&PeerStats::tx_calls>("", "tx_calls", "system calls",
                                          "System calls that sent ESP packets"),
    counters::value<&PeerStats::dummy>("", "dummy", "packets", "ESP dummy packets received"),
    counters::value<&PeerStats::seal_failed>("", "seal_failed", "packets",
                                             "Packets that could not be encrypted"),
    counters::value<&PeerStats::blocked>("", "blocked", "times",
                                         "Times that the socket or the queue was full"),
    counters::by<&PeerStats::refused, esp::Verdict>("refused", "esp_refused", "packets",
                                                    "ESP packets refused", "reason",
                                                    counters::Shape::flat, false, 0, "esp_"),
    counters::value<&PeerStats::mtu_lowered>("path", "lowered", "times",
                                             "Times that the path's MTU was lowered"),
    counters::value<&PeerStats::mtu_raised>("path", "raised", "times",
                                            "Times that the path's MTU was raised"),
    counters::value<&PeerStats::mtu_probes>("path", "probes", "packets",
                                            "Probes of the path's MTU sent"),
    counters::value<&PeerStats::icmp_refused>(
        "path", "refused", "messages",
        "ICMP errors about a packet that is not ours or a size that is none"),
    counters::value<&PeerStats::no_sa>("not_sent", "no_sa", "packets",
                                       "Packets not sent: the SA went away"),
    counters::value<&PeerStats::sequence_exhausted>(
        "not_sent", "sequence_exhausted", "packets",
        "Packets not sent: the SA's sequence numbers are used up"),
    counters::value<&PeerStats::too_big>("not_sent", "too_big", "packets",
                                         "Packets not sent: larger than the path's MTU"),
    counters::value<&PeerStats::unreachable>("not_sent", "unreachable", "packets",
                                             "Packets not sent: the peer is unreachable"),
    counters::value<&PeerStats::not_sent>("not_sent", "other", "packets",
                                          "Packets not sent for any other error"),
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
    bool retiring = false;                // inbound: deleted, still receives for the grace period
    bool sending = false;                 // outbound: the newest of its peer
};

} // namespace encsync::link
