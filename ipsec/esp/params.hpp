// SPDX-License-Identifier: ISC
// The parameters of an ESP security association, as IKE delivers them.
#pragma once

#include "net/address.hpp"
#include "util/peer_id.hpp"
#include "util/wiped.hpp"

#include <cstddef>
#include <cstdint>

namespace encsync::esp {

// AEADs of RFC 4106 and RFC 7634. Key sizes are without the salt.
enum class Cipher : std::uint8_t {
    aes128gcm16 = 1,
    aes256gcm16 = 2,
    chacha20poly1305 = 3,
};
constexpr std::size_t key_size(Cipher cipher) {
    return cipher == Cipher::aes128gcm16 ? 16 : 32;
}
inline constexpr std::size_t kSaltSize = 4;
inline constexpr std::size_t kMaxKeymat = 32 + kSaltSize; // key then salt, as IKE derives it

enum class Direction : std::uint8_t { inbound = 1, outbound = 2 };

struct SaParams {
    std::uint32_t spi = 0; // host order; inbound: ours, outbound: the peer's
    PeerId peer = kNoPeer;
    Direction direction = Direction::inbound;
    Cipher cipher = Cipher::aes256gcm16;
    bool esn = false;
    // Transport mode: the payload of protocol 240 is encrypted without an inner IP header.
    bool transport = false;
    std::uint16_t replay_window = 4096; // packets; inbound only
    // The traffic selectors, protocol 240 implied: the addresses of inner packets, in the direction
    // of this SA.
    net::Address inner_src, inner_dst;
    WipedArray<kMaxKeymat> keymat; // secret
    std::uint8_t keymat_size = 0;
};

} // namespace encsync::esp
