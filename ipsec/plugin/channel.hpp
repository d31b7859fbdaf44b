// SPDX-License-Identifier: ISC
// The channel between encsyncd and the plugin inside charon: typed messages over one
// SOCK_SEQPACKET socketpair, one message a packet, both ends built from this file.
//
//     Result<WipedBytes> packet = encode(Ping{.cookie = 7});
//     Result<Message> message = decode(*packet);
//
// decode() refuses everything that is not exactly one well-formed message, with a reason. Neither
// end trusts the other's lengths. All numbers are in network order. Packets and the secrets in
// messages are overwritten when they are destroyed.
#pragma once

#include "ipsec/esp/params.hpp"
#include "ipsec/plugin/peer.hpp"
#include "util/bytes.hpp"
#include "util/result.hpp"
#include "util/wiped.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace encsync::channel {

inline constexpr std::size_t kMaxMessage = 65536 + 128;
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kMaxDatagram = 65507; // the largest UDP payload over IPv4
inline constexpr std::size_t kMaxText = 1024;      // of one string
inline constexpr std::size_t kMaxSeeds = 2;        // an identity, and the one to come

using ike::Ed25519Public;
using ike::Shown;
using Ed25519Seed = WipedArray<32>; // secret

// ---- encsyncd to plugin --------------------------------------------------------------------

// First message on the channel, and again after keys changed: our identity. We sign with the first;
// with two (an identity being rotated) the second is the next one (Peer::next_key).
struct Identity {
    std::string name; // IKE id of type FQDN
    std::vector<Ed25519Seed> seeds;
};

// A peer, new or changed. Existing SAs of a changed peer are kept unless addresses or ids differ.
struct Peer : ike::Peer {
    PeerId id = kNoPeer;
    net::Endpoint left, right;            // outer addresses and UDP ports (500) of IKE_SA_INIT
    std::uint16_t natport = 4500;         // where both continue with IKE and ESP in UDP (RFC 3948)
    net::Address inner_left, inner_right; // traffic selectors, protocol 240
    ike::Authentication auth;
    bool transport_mode = false;
    bool initiate = true;  // auto=start; else wait for the peer
    bool next_key = false; // sign with the next identity, if there is one
};
struct RemovePeer {
    PeerId id = kNoPeer;
};
// A UDP payload of IKE (without the non-ESP marker), received.
struct IkeIn {
    net::Endpoint from, to;
    std::vector<std::uint8_t> datagram;
};
// Bring the peer's SAs up if they are not.
struct Initiate {
    PeerId id = kNoPeer;
};
// Negotiate new CHILD and IKE SAs now, each with a key exchange of its own, and delete the old.
// reauthenticate: as a reauthentication (make before break).
struct Rekey {
    PeerId id = kNoPeer;
    bool reauthenticate = false;
};
// Soft limit reached by packets or bytes: rekey this CHILD_SA.
struct Expire {
    std::uint32_t spi = 0; // of ours, inbound
};
struct Shutdown {}; // delete all SAs, send DELETE to the peers, exit
// Answered by Pong from one of charon's worker threads: shows that charon does not hang.
struct Ping {
    std::uint32_t cookie = 0;
};

// ---- plugin to encsyncd --------------------------------------------------------------------

struct Hello { // first message: charon is up
    std::uint32_t version = kVersion;
    std::string charon_version;
};
struct IkeOut {
    net::Endpoint from, to;
    std::vector<std::uint8_t> datagram;
};
using AddSa = esp::SaParams;
struct DeleteSa {
    std::uint32_t spi = 0;
    esp::Direction direction = esp::Direction::inbound;
    PeerId peer = kNoPeer;
};
enum class PeerEventKind : std::uint8_t {
    connecting = 1,
    up = 2,           // IKE and CHILD SA established
    down = 3,         // the last CHILD_SA is deleted; text: why, unless we closed it
    rekeyed = 4,      // a further CHILD_SA, used for sending from now on
    auth_failed = 5,  // text: why (unknown key, wrong id, ...)
    no_proposal = 6,  // text: our proposals and theirs, if known
    unreachable = 7,  // no answer; tried again with back-off
    peer_deleted = 8, // the peer closed the SA: down follows
    flooded = 9,      // somebody begins negotiations from its address and does not finish them
};
struct PeerEvent {
    PeerId peer = kNoPeer; // kNoPeer: an unknown peer; text names it
    PeerEventKind kind = PeerEventKind::connecting;
    std::string text;                 // one line for a person; may be empty
    std::string ike_spi_i, ike_spi_r; // hex; with up and rekeyed
    // With these: the key that authenticated it. Empty: not a raw public key.
    std::vector<Ed25519Public> key{}; // one at most
    // Likewise: the id of the post-quantum preshared key that the IKE_SA uses, in hex. Empty: none.
    std::string ppk{};
    // Likewise: the key exchanges that made the IKE SA's keys, as in a proposal:
    // "curve25519-ke1_mlkem768".
    std::string key_exchanges{};
    // Likewise: what authenticated us.
    std::vector<Shown> shown{}; // one at most
};
struct LogLine {
    std::uint8_t level = 6; // syslog
    std::string text;
};

struct Pong {
    std::uint32_t cookie = 0; // the Ping's
};

using Message = std::variant<Identity, Peer, RemovePeer, IkeIn, Initiate, Rekey, Expire, Shutdown,
                             Hello, IkeOut, AddSa, DeleteSa, PeerEvent, LogLine, Ping, Pong>;

// Returns exactly the packet to send. A message that decode() would refuse (a string too long, a
// value out of range) is already refused here, with the same reason.
Result<WipedBytes> encode(const Message& message);
// The reason names the field: "peer.psk: truncated", "unknown message type 99".
Result<Message> decode(Bytes packet);

} // namespace encsync::channel
