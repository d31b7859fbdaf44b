// SPDX-License-Identifier: ISC
// Secret<N>: N bytes that must not leak. Guarded, locked memory of libsodium (sodium_malloc(3)):
// kept out of swap and core dumps where the system allows it, wiped when it dies. Moved, never
// copied.
//
//     Secret<32> seed = Secret<32>::random();
//     crypto_sign_seed_keypair(pk, sk.bytes().data(), seed.bytes().data());
//
// A moved-from Secret holds nothing: bytes() of it is empty. Without memory the process ends, as
// with operator new.
#pragma once

#include "util/bytes.hpp"

#include <cstddef>
#include <cstdlib>
#include <sodium.h>
#include <utility>

namespace encsync::keys {

template<std::size_t N>
class Secret {
  public:
    Secret() {
        if (sodium_init() < 0)
            std::abort();
        data_ = static_cast<std::uint8_t*>(sodium_malloc(N));
        if (!data_)
            std::abort();
        sodium_memzero(data_, N);
    }
    Secret(Secret&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    Secret& operator=(Secret&& other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { sodium_free(data_); } // wipes

    static Secret random() {
        Secret secret;
        randombytes_buf(secret.data_, N);
        return secret;
    }

    MutableBytes bytes() { return {data_, data_ ? N : 0}; }
    Bytes bytes() const { return {data_, data_ ? N : 0}; }

  private:
    std::uint8_t* data_ = nullptr;
};

// What an Ed25519 key is made from (RFC 8032, 5.1.5: the "private key").
using SecretSeed = Secret<32>;

} // namespace encsync::keys
