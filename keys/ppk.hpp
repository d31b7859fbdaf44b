// SPDX-License-Identifier: ISC
// Post-quantum preshared keys (PPK, RFC 8784): their text formats, and how two nodes make the next
// one of the last.
//
//     PpkRing ring = *read_ppks(text);            // of one peer: one key, or two while it changes
//     Ppk next = next_ppk(&ring.keys[0], mix);    // the same on both nodes
//
// The file `ppk.NAME` of a key store:
//
//     encsync preshared keys 1
//     peer: minnie
//     offer: 1                                     (which of the following this node offers)
//     confirmed: yes                               (IKE has used one with the peer; else no line)
//     ppk: 7 2026-01-31T12:00:00Z tunnel (the secret: 32 bytes, base64)
//     ppk: 8 ...                                   (if there are two; the older one is first)
//     checksum: ...
//
// that is: epoch, when it was made, and how. A file that carries one to the other node:
//
//     encsync carried preshared key 1
//     for: mickey minnie                           (sorted)
//     ppk: 1 2026-01-31T12:00:00Z hand (the secret)
//     checksum: ...
//
// Every parser accepts only the exact output of its writer.
#pragma once

#include "keys/format.hpp"

#include <optional>
#include <span>

namespace encsync::keys {

inline constexpr std::size_t kPpksPerPeer = 2;

// Names a secret without showing anything of it: BLAKE2b-128 of it. Both nodes, and IKE, use it.
using PpkId = std::array<std::uint8_t, 16>;
using PpkRandom = std::array<std::uint8_t, 32>; // what one node adds to the next secret

enum class PpkOrigin : std::uint8_t {
    tunnel, // all that it was made of went through tunnels
    hand,   // somebody has carried it
    mixed,  // made in a tunnel, of one that somebody has carried
};
std::string_view to_string(PpkOrigin origin);

struct Ppk {
    std::uint32_t epoch = 0; // from 1
    UnixTime created = 0;
    PpkOrigin origin = PpkOrigin::tunnel;
    SecretSeed secret;
};
PpkId id_of(const Ppk& ppk);
// "PPK:" and the id in hex.
std::string to_text(const PpkId& id);

// What a node has in common with one peer. IKE accepts all of it.
struct PpkRing {
    std::string peer;
    std::vector<Ppk> keys; // the older one first; none: there is no such file
    std::size_t offer = 0; // which of them IKE offers, as it must know the peer to have it
    // IKE has used one of these, or of those of which they were made, with the peer: so the peer
    // has not been without since, and whoever is, is somebody else or has lost it.
    bool confirmed = false;

    const Ppk* find(const PpkId& id) const;
    const Ppk* offered() const { return keys.empty() ? nullptr : &keys[offer]; }
};
SecretText write_ppks(const PpkRing& ring);
Result<PpkRing> read_ppks(std::string_view text);

struct CarriedPpk {
    std::array<std::string, 2> names; // sorted
    Ppk ppk;
};
SecretText write_carried(const CarriedPpk& carried);
Result<CarriedPpk> read_carried(std::string_view text);

// What the next secret is made of, the same on both nodes whatever the order of the two.
struct PpkMix {
    std::uint32_t epoch = 0; // of the next
    struct Share {
        std::string name;
        PpkRandom random{};
    };
    std::array<Share, 2> shares;
};
// BLAKE2b-256, keyed with the last secret, over a title, the epoch, and both names and randoms.
// base: null if the two have none in common.
Ppk next_ppk(const Ppk* base, const PpkMix& mix, UnixTime now);
// A random one, to be carried.
Ppk make_ppk(std::uint32_t epoch, UnixTime now);

} // namespace encsync::keys
