// SPDX-License-Identifier: ISC
// AES-256-GCM as IKE (RFC 5282) and ESP (RFC 4106) use it, seen by somebody who has a packet and
// something that may be its key, but not the salt that belongs to it.
//
//     Packet packet = ...;
//     Trial trial(key);                       // 32 bytes
//     if (auto salt = trial.opens(packet))
//         auto text = decrypt(key, *salt, packet);
//
// The ICV is GHASH(packet) xor E(salt, IV, 1). So a candidate is right if the ICV xor
// GHASH(packet), decrypted as one block, ends in IV and 1: that holds for a wrong one with a chance
// of 2^-96.
#pragma once

#include "util/bytes.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <openssl/aes.h>
#include <optional>
#include <vector>

namespace encsync::recording {

inline constexpr std::size_t kKey = 32, kSalt = 4, kIv = 8, kIcv = 16;
using Salt = std::array<std::uint8_t, kSalt>;
using Block = std::array<std::uint8_t, 16>;

struct Packet {
    std::vector<std::uint8_t> aad;
    std::array<std::uint8_t, kIv> iv;
    std::vector<std::uint8_t> text; // encrypted
    std::array<std::uint8_t, kIcv> icv;
};

class Trial {
  public:
    explicit Trial(const std::uint8_t* key);
    std::optional<Salt> opens(const Packet& packet) const;

  private:
    struct Half { // of a polynomial: as GCM numbers bits, the first one is the highest of `high`
        std::uint64_t high = 0, low = 0;
    };

    void multiply(Half& by) const;
    void hash(Half& sum, Bytes data) const;

    AES_KEY encrypting_, decrypting_;
    std::array<Half, 16> multiples_; // of the hash key, by four bits
};

// None: it does not authenticate.
std::optional<std::vector<std::uint8_t>> decrypt(const std::uint8_t* key, const Salt& salt,
                                                 const Packet& packet);

// All round keys of AES-256 (FIPS 197), of which the key itself is the first 32 bytes.
std::array<std::uint8_t, 240> key_schedule(const std::uint8_t* key);

} // namespace encsync::recording
