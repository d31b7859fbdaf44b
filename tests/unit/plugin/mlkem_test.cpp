// SPDX-License-Identifier: ISC
// ML-KEM-768: known answers, both roles against OpenSSL itself, and everything that must be
// refused.
#include "ipsec/plugin/strongswan/mlkem.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <openssl/evp.h>
#include <string>

namespace encsync::plugin {
namespace {

using Octets = std::vector<std::uint8_t>;

Octets octets(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

// The vectors, by name.
std::map<std::string, Octets> known() {
    std::ifstream file(ENCSYNC_MLKEM_VECTORS);
    std::map<std::string, Octets> out;
    std::string name;
    for (std::string line; std::getline(file, line);) {
        if (line.starts_with('#'))
            continue;
        if (!line.starts_with(' ')) {
            name = line.substr(0, line.find(':'));
            line.erase(0, name.size() + 1);
        }
        const std::string digits = line.substr(std::min(line.find_first_not_of(' '), line.size()));
        for (std::size_t n = 0; n + 1 < digits.size(); n += 2)
            out[name].push_back(
                static_cast<std::uint8_t>(std::stoul(digits.substr(n, 2), nullptr, 16)));
    }
    return out;
}

std::string refusal(const Result<void>& result) {
    return result ? "accepted" : result.error().text;
}

class MlKem768 : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(MlKem::available());
        ours = *initiator.public_key();
    }
    // Both ends, whatever `change` does to what goes from the responder to the initiator.
    template<class Change>
    std::string exchange(Change change) {
        MlKem responder;
        EXPECT_TRUE(responder.set_public_key(ours));
        Octets ciphertext = octets(*responder.public_key());
        change(ciphertext);
        const auto taken = initiator.set_public_key(ciphertext);
        if (!taken)
            return taken.error().text;
        return octets(initiator.shared_secret()) == octets(responder.shared_secret()) ? "equal"
                                                                                      : "differ";
    }

    MlKem initiator;
    Bytes ours;
};

TEST_F(MlKem768, GivesTheKnownAnswers) {
    auto vectors = known();
    ASSERT_EQ(vectors["seed"].size(), MlKem::kSeed);
    MlKem kem(vectors["seed"]);
    const auto sent = kem.public_key();
    ASSERT_TRUE(sent) << sent.error().text;
    EXPECT_EQ(octets(*sent), vectors["public"]);
    EXPECT_TRUE(kem.shared_secret().empty());
    ASSERT_TRUE(kem.set_public_key(vectors["ciphertext"]));
    EXPECT_EQ(octets(kem.shared_secret()), vectors["secret"]);
}

// Implicit rejection: SHAKE256 of z, the second half of the seed, and the ciphertext.
TEST_F(MlKem768, GivesTheKnownAnswerToAnAlteredCiphertext) {
    auto vectors = known();
    MlKem kem(vectors["seed"]);
    ASSERT_TRUE(kem.public_key());
    Octets altered = vectors["ciphertext"], secret(MlKem::kSecret);
    altered[0] ^= 1;
    ASSERT_TRUE(kem.set_public_key(altered));
    EVP_MD_CTX* hash = EVP_MD_CTX_new();
    EXPECT_EQ(EVP_DigestInit_ex(hash, EVP_shake256(), nullptr), 1);
    EXPECT_EQ(EVP_DigestUpdate(hash, vectors["seed"].data() + 32, 32), 1);
    EXPECT_EQ(EVP_DigestUpdate(hash, altered.data(), altered.size()), 1);
    EXPECT_EQ(EVP_DigestFinalXOF(hash, secret.data(), secret.size()), 1);
    EVP_MD_CTX_free(hash);
    EXPECT_EQ(octets(kem.shared_secret()), secret);
    EXPECT_NE(secret, vectors["secret"]);
}

TEST_F(MlKem768, BothEndsHaveTheSameSecretAndNewOnesEachTime) {
    EXPECT_EQ(exchange([](Octets&) {}), "equal");
    MlKem second;
    EXPECT_NE(octets(*second.public_key()), octets(ours));
    EXPECT_EQ(initiator.shared_secret().size(), MlKem::kSecret);
}

// The responder is OpenSSL alone.
TEST_F(MlKem768, DecapsulatesWhatOpenSslEncapsulates) {
    EVP_PKEY* key =
        EVP_PKEY_new_raw_public_key_ex(nullptr, "ML-KEM-768", nullptr, ours.data(), ours.size());
    ASSERT_TRUE(key);
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr);
    Octets ciphertext(MlKem::kCiphertext), secret(MlKem::kSecret);
    std::size_t size = ciphertext.size(), secret_size = secret.size();
    ASSERT_EQ(EVP_PKEY_encapsulate_init(context, nullptr), 1);
    ASSERT_EQ(EVP_PKEY_encapsulate(context, ciphertext.data(), &size, secret.data(), &secret_size),
              1);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(key);
    ASSERT_TRUE(initiator.set_public_key(ciphertext));
    EXPECT_EQ(octets(initiator.shared_secret()), secret);
}

// The initiator is OpenSSL alone.
TEST_F(MlKem768, EncapsulatesWhatOpenSslDecapsulates) {
    EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ML-KEM-768");
    ASSERT_TRUE(key);
    Octets theirs(MlKem::kPublicKey), secret(MlKem::kSecret);
    std::size_t size = theirs.size(), secret_size = secret.size();
    ASSERT_EQ(EVP_PKEY_get_raw_public_key(key, theirs.data(), &size), 1);
    MlKem responder;
    ASSERT_TRUE(responder.set_public_key(theirs));
    const Bytes ciphertext = *responder.public_key();
    ASSERT_EQ(ciphertext.size(), MlKem::kCiphertext);
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr);
    ASSERT_EQ(EVP_PKEY_decapsulate_init(context, nullptr), 1);
    ASSERT_EQ(EVP_PKEY_decapsulate(context, secret.data(), &secret_size, ciphertext.data(),
                                   ciphertext.size()),
              1);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(key);
    EXPECT_EQ(octets(responder.shared_secret()), secret);
}

TEST_F(MlKem768, RefusesPublicKeysByName) {
    const auto tried = [&](Octets key) {
        MlKem responder;
        std::string why = refusal(responder.set_public_key(key));
        EXPECT_EQ(responder.shared_secret().empty(), why != "accepted");
        return why;
    };
    Octets cut = octets(ours), longer = octets(ours), altered = octets(ours);
    cut.pop_back();
    longer.push_back(0);
    // A coefficient that is not below the modulus.
    altered[0] = altered[1] = 0xff;
    EXPECT_EQ(tried({}), "ML-KEM-768: the public key has 0 bytes, not 1184");
    EXPECT_EQ(tried(cut), "ML-KEM-768: the public key has 1183 bytes, not 1184");
    EXPECT_EQ(tried(longer), "ML-KEM-768: the public key has 1185 bytes, not 1184");
    EXPECT_EQ(tried(altered), "ML-KEM-768: the public key is none (FIPS 203 section 7.2)");
    EXPECT_EQ(tried(octets(ours)), "accepted");
}

// A key that is another valid one cannot be told from the right one, but the secrets differ.
TEST_F(MlKem768, AnAlteredPublicKeyGivesAnotherSecret) {
    Octets altered = octets(ours);
    altered.back() ^= 1; // the seed of the matrix
    MlKem responder;
    ASSERT_TRUE(responder.set_public_key(altered));
    ASSERT_TRUE(initiator.set_public_key(*responder.public_key()));
    EXPECT_NE(octets(initiator.shared_secret()), octets(responder.shared_secret()));
}

TEST_F(MlKem768, RefusesACutCiphertextByName) {
    EXPECT_EQ(exchange([](Octets& c) { c.pop_back(); }),
              "ML-KEM-768: the ciphertext has 1087 bytes, not 1088");
    EXPECT_TRUE(initiator.shared_secret().empty());
    EXPECT_EQ(exchange([](Octets& c) { c.push_back(0); }),
              "ML-KEM-768: the ciphertext has 1089 bytes, not 1088");
    EXPECT_EQ(exchange([](Octets& c) { c.clear(); }),
              "ML-KEM-768: the ciphertext has 0 bytes, not 1088");
    EXPECT_EQ(exchange([](Octets&) {}), "equal");
}

TEST_F(MlKem768, AnAlteredCiphertextGivesAnotherSecret) {
    EXPECT_EQ(exchange([](Octets& c) { c[500] ^= 1; }), "differ");
}

TEST_F(MlKem768, TakesOneMessageOnly) {
    MlKem responder;
    ASSERT_TRUE(responder.set_public_key(ours));
    EXPECT_EQ(refusal(responder.set_public_key(ours)),
              "ML-KEM-768: a second message of the other end");
}

} // namespace
} // namespace encsync::plugin
