// SPDX-License-Identifier: ISC
// Certificates made by the test that needs them.
#pragma once

#include "keys/x509.hpp"

#include <gtest/gtest.h>
#include <memory>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string>

namespace encsync::keys {

struct Wanted {
    UnixTime from = 0, until = 0;
    const RawKey* key = nullptr; // null: some key
    bool authority = false;
    const char* name = nullptr; // an alternative one; null: none
};

// In DER, signed by a key that nobody keeps.
inline std::vector<std::uint8_t> make_certificate(const Wanted& wanted) {
    using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
    const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), X509_free);
    const Key signer(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
    const Key key(wanted.key == nullptr
                      ? nullptr
                      : EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, wanted.key->data(),
                                                    wanted.key->size()),
                  EVP_PKEY_free);
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_TIME_set(X509_getm_notBefore(made.get()), wanted.from);
    ASN1_TIME_set(X509_getm_notAfter(made.get()), wanted.until);
    X509_set_pubkey(made.get(), key ? key.get() : signer.get());
    const auto extend = [&](int what, const std::string& value) {
        X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value.c_str());
        X509_add_ext(made.get(), extension, -1);
        X509_EXTENSION_free(extension);
    };
    if (wanted.authority)
        extend(NID_basic_constraints, "critical,CA:TRUE");
    if (wanted.name != nullptr)
        extend(NID_subject_alt_name, std::string("DNS:") + wanted.name);
    X509_sign(made.get(), signer.get(), nullptr);
    std::uint8_t* der = nullptr;
    const int size = i2d_X509(made.get(), &der);
    EXPECT_GT(size, 0);
    std::vector<std::uint8_t> out(der, der + size);
    OPENSSL_free(der);
    return out;
}

} // namespace encsync::keys
