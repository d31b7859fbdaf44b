// SPDX-License-Identifier: GPL-2.0-or-later
//
// ML-KEM-768 (FIPS 203) as a key exchange of IKE, by OpenSSL. One object is one end of one exchange;
// the first call decides which:
//
//     initiator                                 responder
//     public_key()         1184 bytes ->        set_public_key(), encapsulates
//     set_public_key()  <- 1088 bytes           public_key(), the ciphertext
//     shared_secret()      32 bytes             shared_secret()
//
// A ciphertext that was altered is no error: decapsulation then gives another secret, which nobody
// else has (implicit rejection, FIPS 203 section 3.2), so authentication fails.
#pragma once

#include "util/bytes.hpp"
#include "util/result.hpp"
#include "util/wiped.hpp"

#include <memory>
#include <openssl/evp.h>
#include <vector>

namespace encsync::plugin {

class MlKem {
  public:
    static constexpr std::size_t kPublicKey = 1184, kCiphertext = 1088, kSecret = 32, kSeed = 64;

    // Whether OpenSSL has it.
    static bool available();

    // seed: of the key pair, d and z of FIPS 203, for tests with known answers; else it is random.
    explicit MlKem(Bytes seed = {}) : seed_(seed.begin(), seed.end()) {}

    // What to send to the other end.
    Result<Bytes> public_key();
    // What came from it. Wrong lengths and keys that are none are refused.
    Result<void> set_public_key(Bytes received);
    // Empty until both are done.
    Bytes shared_secret() const { return secret_; }

  private:
    Result<void> generate();
    Result<void> encapsulate(Bytes public_key);
    Result<void> decapsulate(Bytes ciphertext);

    struct Free {
        void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); } // wipes it
    };
    std::unique_ptr<EVP_PKEY, Free> key_; // of the initiator, until it is used
    std::vector<std::uint8_t> sent_;
    WipedBytes seed_, secret_;
};

} // namespace encsync::plugin
