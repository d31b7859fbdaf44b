// SPDX-License-Identifier: ISC
// Secret<N>: N bytes that must not leak. Guarded, locked memory of libsodium (sodium_malloc(3)):
// kept out of swap and core dumps if the system allows it, wiped on destruction. Can be moved, not
// copied.
//
//     Secret<32> seed = Secret<32>::random();
//     crypto_sign_seed_keypair(pk, sk.bytes().data(), seed.bytes().data());
//
// SecretBytes: likewise, of a size that is known only at run time.
//
// bytes() of a moved-from Secret is empty. If memory runs out the process ends, as with operator
// new.
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

class SecretBytes {
  public:
    explicit SecretBytes(std::size_t size) : size_(size) {
        if (sodium_init() < 0)
            std::abort();
        data_ = static_cast<std::uint8_t*>(sodium_malloc(size));
        if (!data_)
            std::abort();
    }
    SecretBytes(SecretBytes&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    SecretBytes& operator=(SecretBytes&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;
    ~SecretBytes() { sodium_free(data_); }

    MutableBytes bytes() { return {data_, size_}; }
    Bytes bytes() const { return {data_, size_}; }
    // What follows is wiped with the rest.
    void shrink(std::size_t size) { size_ = size; }

  private:
    std::uint8_t* data_ = nullptr;
    std::size_t size_;
};

// The seed of an Ed25519 key (RFC 8032, 5.1.5: the "private key").
using SecretSeed = Secret<32>;

} // namespace encsync::keys
