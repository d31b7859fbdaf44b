// SPDX-License-Identifier: ISC
// Credentials of other peers: preshared keys, certificates, keys in PEM.
#include "keys/files.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace encsync::keys {
namespace {

// RFC 8410, section 10.1.
constexpr const char* kPem = "-----BEGIN PUBLIC KEY-----\n"
                             "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
                             "-----END PUBLIC KEY-----\n";

class Files : public testing::Test {
  protected:
    void SetUp() override {
        char name[] = "/tmp/encsync-files-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        dir_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }

    std::string write(const std::string& content, mode_t mode = 0600) {
        std::string path = dir_ / "file";
        std::ofstream(path, std::ios::trunc) << content;
        EXPECT_EQ(::chmod(path.c_str(), mode), 0);
        return path;
    }
    std::string preshared(const std::string& content, mode_t mode = 0600) {
        const std::string path = write(content, mode);
        const auto read = read_preshared(path);
        return read ? std::string(read->begin(), read->end())
                    : read.error().text.substr(path.size());
    }
    std::string certificate(const std::string& content) {
        const std::string path = write(content, 0644);
        const auto read = read_certificate(path);
        return read ? std::string(read->begin(), read->end())
                    : read.error().text.substr(path.size());
    }
    std::filesystem::path dir_;
};

TEST_F(Files, PresharedKeys) {
    const std::string key(16, 'k');
    EXPECT_EQ(preshared(key), key);
    EXPECT_EQ(preshared(key + "\n"), key);
    EXPECT_EQ(preshared(key + "\r\n"), key);
    EXPECT_EQ(preshared(key + " \n"), key + " ");
    EXPECT_EQ(preshared(std::string(1024, 'k') + "\r\n"), std::string(1024, 'k'));

    EXPECT_EQ(preshared(std::string(15, 'k') + "\n"), ": a preshared key has 16 bytes at least");
    EXPECT_EQ(preshared(std::string(1025, 'k')), ": a preshared key has 1024 bytes at most");
    EXPECT_EQ(preshared(key + std::string(1, '\0')), ": a NUL byte in a preshared key");
    EXPECT_EQ(preshared(key, 0640), ": mode 0640 lets others in; it must be 0600");
    const std::string link = dir_ / "link";
    std::filesystem::create_symlink(write(key), link);
    EXPECT_EQ(read_preshared(link).error().text, link + ": is a symbolic link");
    EXPECT_EQ(read_preshared(dir_).error().text, dir_.string() + ": not a regular file");
    EXPECT_EQ(read_preshared("/nonexistent").error().text,
              "/nonexistent: No such file or directory");
}

TEST_F(Files, Certificates) {
    // "0123": begins like DER.
    EXPECT_EQ(certificate("0123"), "0123");
    EXPECT_EQ(certificate("# mine\n-----BEGIN CERTIFICATE-----\nMDEy\nMw==\n"
                          "-----END CERTIFICATE-----\nmore\n"),
              "0123");
    EXPECT_EQ(certificate(""), ": no CERTIFICATE in it");
    EXPECT_EQ(certificate(kPem), ": no CERTIFICATE in it");
    EXPECT_EQ(certificate("-----BEGIN CERTIFICATE-----\nMDEyMw=="), ": no CERTIFICATE in it");
    EXPECT_EQ(certificate("-----BEGIN CERTIFICATE-----\nM*==\n-----END CERTIFICATE-----"),
              ": its CERTIFICATE is damaged");
    EXPECT_EQ(certificate("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"),
              ": its certificate is damaged");
    EXPECT_EQ(certificate(std::string(16385, '0')), ": too long for a certificate");
    EXPECT_EQ(certificate(std::string(70000, '0')), ": too long for a certificate");
}

TEST(Pem, IsThatOfRfc8410) {
    const auto key = from_pem(kPem);
    ASSERT_TRUE(key);
    EXPECT_EQ((*key)[0], 0x19);
    EXPECT_EQ((*key)[31], 0xe1);
    EXPECT_EQ(to_pem(*key), kPem);
}

TEST(Certificate, IsForTheKeyInIt) {
    const auto key = from_pem(kPem);
    ASSERT_TRUE(key);
    std::vector<std::uint8_t> certificate{0x30, 0x40,                          // the part of a
                                          0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,  // certificate that
                                          0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}; // matters here
    certificate.insert(certificate.end(), key->begin(), key->end());
    certificate.push_back(0x04);
    EXPECT_TRUE(certifies(certificate, *key));
    RawKey other = *key;
    other[31] ^= 1;
    EXPECT_FALSE(certifies(certificate, other));
    EXPECT_FALSE(certifies(Bytes(certificate).first(certificate.size() - 2), *key)); // truncated
    EXPECT_FALSE(certifies({}, *key));
}

TEST(Pem, OfOtherKindsIsRefused) {
    const auto why = [](std::string_view text) {
        const auto key = from_pem(text);
        return key ? "taken" : key.error().text;
    };
    EXPECT_EQ(why(""), "no PUBLIC KEY in it");
    std::string other(kPem);
    other.replace(other.find("VwAy"), 4, "VuAy"); // X25519
    EXPECT_EQ(why(other), "its PUBLIC KEY is not one of Ed25519");
    std::string cut(kPem);
    cut.erase(cut.find("Gb9E"), 4);
    EXPECT_EQ(why(cut), "its PUBLIC KEY is not one of Ed25519");
}

} // namespace
} // namespace encsync::keys
