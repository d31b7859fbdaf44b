// SPDX-License-Identifier: ISC
#include "keys/words.hpp"

#include "keys/word_list.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sodium.h>
#include <tuple>

namespace encsync::keys {

namespace {

constexpr std::size_t kHash = std::tuple_size_v<KeyHash>;
constexpr std::size_t kBits = 11; // that a word stands for
static_assert(std::size_t{1} << kBits == kWordListSize);
static_assert(kWords * kBits == (kHash + 1) * 8);

} // namespace

std::string hex_of(const KeyHash& hash) {
    return fmt::format("{:02x}", fmt::join(hash, ""));
}

std::array<std::string_view, kWords> words_of(const KeyHash& hash) {
    std::array<std::uint8_t, crypto_hash_sha256_BYTES> sum;
    crypto_hash_sha256(sum.data(), hash.data(), hash.size());
    // The last byte is never used, but read with the one before.
    std::array<std::uint8_t, kHash + 2> bytes{};
    *std::ranges::copy(hash, bytes.begin()).out = sum[0];
    std::array<std::string_view, kWords> words;
    for (std::size_t n = 0; n < kWords; n++) {
        // A word's bits are in three bytes at most.
        const std::size_t byte = n * kBits / 8, bit = n * kBits % 8;
        const std::uint32_t three = static_cast<std::uint32_t>(bytes[byte]) << 16 |
                                    static_cast<std::uint32_t>(bytes[byte + 1]) << 8 |
                                    static_cast<std::uint32_t>(bytes[byte + 2]);
        words[n] = kWordList[three >> (24 - kBits - bit) & (kWordListSize - 1)];
    }
    return words;
}

} // namespace encsync::keys
