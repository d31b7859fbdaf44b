// SPDX-License-Identifier: ISC
// The two sides of a pairing, always the same ones: mickey connects, minnie listens.
#pragma once

#include "keys/pairing.hpp"

#include <algorithm>
#include <cstdlib>
#include <sodium.h>

namespace encsync::keys::test {

using Message = std::vector<std::uint8_t>;

inline Identity fixed_identity(std::string name, std::uint8_t seed) {
    if (sodium_init() < 0)
        std::abort();
    Identity identity;
    identity.name = std::move(name);
    identity.created = 1767225600; // 2026-01-01T00:00:00Z
    std::ranges::fill(identity.seed.bytes(), seed);
    Secret<crypto_sign_SECRETKEYBYTES> secret;
    crypto_sign_seed_keypair(identity.key.data(), secret.bytes().data(),
                             identity.seed.bytes().data());
    return identity;
}

struct Side {
    Identity identity;
    Pairing pairing;

    Side(
        Pairing::Role role, Identity own, std::string peer, std::uint8_t nonce,
        Pairing::Check check = [](const PublicFile&) { return Result<void>(); })
        : identity(std::move(own)),
          pairing(role, write_public(identity), std::move(peer), std::move(check), filled(nonce)) {}

    static Pairing::Nonce filled(std::uint8_t byte) {
        Pairing::Nonce nonce;
        nonce.fill(byte);
        return nonce;
    }
};

inline Side mickey(std::uint8_t nonce = 1) {
    return {Pairing::Role::connector, fixed_identity("mickey", 11), "minnie", nonce};
}
inline Side minnie(std::uint8_t nonce = 2) {
    return {Pairing::Role::listener, fixed_identity("minnie", 22), "mickey", nonce};
}

// Passes on what the sides say, until neither says more. The first error, or nothing.
inline Result<void> talk(Pairing& a, Pairing& b) {
    for (;;) {
        const Message from_a = a.take(), from_b = b.take();
        if (from_a.empty() && from_b.empty())
            return {};
        if (auto ok = b.receive(from_a); !ok)
            return ok;
        if (auto ok = a.receive(from_b); !ok)
            return ok;
    }
}

} // namespace encsync::keys::test
