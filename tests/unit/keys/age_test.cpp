// SPDX-License-Identifier: ISC
// What is said of certificates and identities that grow old, and when.
#include "keys/age.hpp"

#include <gtest/gtest.h>
#include <memory>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <vector>

namespace encsync::keys {
namespace {

constexpr UnixTime kDay = 86400;
const UnixTime kNow = *parse_time("2026-06-15T12:00:00Z");

std::vector<std::uint8_t> certificate(UnixTime from, UnixTime until) {
    const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), X509_free);
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
        EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_TIME_set(X509_getm_notBefore(made.get()), from);
    ASN1_TIME_set(X509_getm_notAfter(made.get()), until);
    X509_set_pubkey(made.get(), key.get());
    X509_sign(made.get(), key.get(), nullptr);
    std::uint8_t* der = nullptr;
    const int size = i2d_X509(made.get(), &der);
    EXPECT_GT(size, 0);
    std::vector<std::uint8_t> out(der, der + size);
    OPENSSL_free(der);
    return out;
}

TEST(Age, ReadsTheValidityOfACertificate) {
    // Before 2050 it is UTCTime, from then on GeneralizedTime.
    for (const char* until : {"2026-07-01T00:00:00Z", "2049-12-31T23:59:59Z",
                              "2050-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}) {
        const auto der = certificate(kNow, *parse_time(until));
        const auto validity = read_validity(der);
        ASSERT_TRUE(validity) << validity.error().text;
        EXPECT_EQ(validity->from, kNow);
        EXPECT_EQ(to_text(validity->until), until);
        for (std::size_t size = 0; size < der.size(); size++)
            EXPECT_FALSE(read_validity(Bytes(der).first(size))) << size;
    }
    EXPECT_EQ(read_validity({}).error().text, "is no X.509 certificate");
}

TEST(Age, ComplainsOfCertificatesInTime) {
    const auto said = [](UnixTime from, UnixTime until) {
        return complaint("a.pem", {from, until}, kNow);
    };
    EXPECT_EQ(said(kNow - kDay, kNow + 30 * kDay), "");
    EXPECT_EQ(said(kNow, kNow + 400 * kDay), "");
    EXPECT_EQ(said(kNow - kDay, kNow + 30 * kDay - 1),
              "a.pem expires in 29 days, at 2026-07-15T11:59:59Z");
    EXPECT_EQ(said(kNow - kDay, kNow + kDay), "a.pem expires in 1 day, at 2026-06-16T12:00:00Z");
    EXPECT_EQ(said(kNow - kDay, kNow), "a.pem expires in less than a day, at 2026-06-15T12:00:00Z");
    EXPECT_EQ(said(kNow - 9 * kDay, kNow - 2 * kDay),
              "a.pem expired 2 days ago, at 2026-06-13T12:00:00Z");
    EXPECT_EQ(said(kNow + 1, kNow + 400 * kDay),
              "a.pem is not valid before 2026-06-15T12:00:01Z, and it is 2026-06-15T12:00:00Z now");
    EXPECT_TRUE(is_valid({kNow, kNow}, kNow));
    EXPECT_FALSE(is_valid({kNow + 1, kNow + 2}, kNow));
    EXPECT_FALSE(is_valid({kNow - 2, kNow - 1}, kNow));
}

TEST(Age, ComplainsOfARotationThatDoesNotEnd) {
    const auto said = [](UnixTime age, std::chrono::days rotate) {
        return overdue(kNow - age, rotate, kNow);
    };
    EXPECT_EQ(said(10000 * kDay, std::chrono::days(0)), ""); // never rotated
    EXPECT_EQ(said(90 * kDay, std::chrono::days(90)), "");
    EXPECT_EQ(said(99 * kDay - 1, std::chrono::days(90)), "");
    EXPECT_EQ(said(99 * kDay, std::chrono::days(90)),
              "this node's identity is 99 days old, and should have been replaced after 90 days; "
              "'encsync keys status' shows who has not accepted another");
    EXPECT_EQ(said(7 * kDay, std::chrono::days(1)), ""); // who was away comes back
    EXPECT_NE(said(8 * kDay, std::chrono::days(1)), "");
    EXPECT_EQ(said(-kDay, std::chrono::days(1)), ""); // a clock in the past
}

} // namespace
} // namespace encsync::keys
