// SPDX-License-Identifier: ISC
// Fingerprints as words, against the test vectors of BIP-39 with 256 bits.
#include "keys/words.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

std::string spoken(const KeyHash& hash) {
    return fmt::format("{}", fmt::join(words_of(hash), " "));
}

KeyHash filled(std::uint8_t byte) {
    KeyHash hash;
    hash.fill(byte);
    return hash;
}

std::string repeated(const std::string& words, int times, const std::string& last) {
    std::string all;
    for (int n = 0; n < times; n++)
        all += words + " ";
    return all + last;
}

TEST(Words, AreThoseOfBip39) {
    EXPECT_EQ(spoken(filled(0)), repeated("abandon", 23, "art"));
    EXPECT_EQ(spoken(filled(0x7f)), repeated("legal winner thank year wave sausage worth useful", 2,
                                             "legal winner thank year wave sausage worth title"));
    EXPECT_EQ(spoken(filled(0x80)),
              repeated("letter advice cage absurd amount doctor acoustic avoid", 2,
                       "letter advice cage absurd amount doctor acoustic bless"));
    EXPECT_EQ(spoken(filled(0xff)), repeated("zoo", 23, "vote"));
    constexpr KeyHash kMixed{0x68, 0xa7, 0x9e, 0xac, 0xa2, 0x32, 0x48, 0x73, 0xea, 0xcc, 0x50,
                             0xcb, 0x9c, 0x6e, 0xca, 0x8c, 0xc6, 0x8e, 0xa5, 0xd9, 0x36, 0xf9,
                             0x87, 0x87, 0xc6, 0x0c, 0x7e, 0xbc, 0x74, 0xe6, 0xce, 0x7c};
    EXPECT_EQ(spoken(kMixed),
              "hamster diagram private dutch cause delay private meat slide toddler razor book "
              "happy fancy gospel tennis maple dilemma loan word shrug inflict delay length");
}

TEST(Words, OfEachOtherHashDiffer) {
    const KeyHash hash = key_hash({1, 2, 3});
    for (std::size_t bit = 0; bit < hash.size() * 8; bit++) {
        KeyHash other = hash;
        other[bit / 8] ^= static_cast<std::uint8_t>(0x80 >> bit % 8);
        const auto here = words_of(hash), there = words_of(other);
        EXPECT_NE(here[bit / 11], there[bit / 11]) << bit;
        EXPECT_NE(hex_of(hash), hex_of(other));
    }
}

TEST(Words, AreOfTheSameHashAsTheFingerprint) {
    EXPECT_EQ(hex_of(key_hash({})),
              "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
    EXPECT_EQ(fingerprint({}), "SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU");
}

} // namespace
} // namespace encsync::keys
