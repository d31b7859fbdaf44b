// SPDX-License-Identifier: ISC
// The functions of single blocks are deprecated in OpenSSL 3, and there are no others that are as
// fast: hundreds of thousands of keys are tried.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/lab/recording/aead.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <openssl/evp.h>

namespace encsync::recording {
namespace {

constexpr std::uint64_t kPolynomial = 0xe1ULL << 56;

// What four bits that are shifted out at the end add at the beginning.
constexpr auto kReduction = [] {
    std::array<std::uint64_t, 16> all{};
    for (std::uint64_t bits = 0; bits < 16; bits++) {
        std::uint64_t high = 0, low = bits;
        for (int n = 0; n < 4; n++) {
            const bool out = (low & 1) != 0;
            low = low >> 1 | high << 63;
            high = high >> 1 ^ (out ? kPolynomial : 0);
        }
        all[bits] = high;
    }
    return all;
}();

} // namespace

Trial::Trial(const std::uint8_t* key) {
    AES_set_encrypt_key(key, 8 * kKey, &encrypting_);
    AES_set_decrypt_key(key, 8 * kKey, &decrypting_);
    Block zero{}, hash_key;
    AES_encrypt(zero.data(), hash_key.data(), &encrypting_);
    Half power{load_be<std::uint64_t>(&hash_key[0]), load_be<std::uint64_t>(&hash_key[8])};
    for (std::size_t bit = 8; bit != 0; bit >>= 1) { // the highest bit is the lowest power
        multiples_[bit] = power;
        const bool out = (power.low & 1) != 0;
        power.low = power.low >> 1 | power.high << 63;
        power.high = power.high >> 1 ^ (out ? kPolynomial : 0);
    }
    for (std::size_t bit = 2; bit != 16; bit <<= 1)
        for (std::size_t rest = 1; rest < bit; rest++)
            multiples_[bit + rest] = {multiples_[bit].high ^ multiples_[rest].high,
                                      multiples_[bit].low ^ multiples_[rest].low};
}

void Trial::multiply(Half& by) const {
    Half product;
    const auto step = [&](std::uint64_t bits) {
        const std::uint64_t out = product.low & 15;
        product.low = product.low >> 4 | product.high << 60;
        product.high = product.high >> 4 ^ kReduction[out];
        product.high ^= multiples_[bits].high;
        product.low ^= multiples_[bits].low;
    };
    for (std::uint64_t half : {by.low, by.high})
        for (int n = 0; n < 16; n++, half >>= 4)
            step(half & 15);
    by = product;
}

void Trial::hash(Half& sum, Bytes data) const {
    for (; !data.empty(); data = data.subspan(std::min<std::size_t>(data.size(), 16))) {
        Block block{};
        std::memcpy(block.data(), data.data(), std::min(data.size(), block.size()));
        sum.high ^= load_be<std::uint64_t>(&block[0]);
        sum.low ^= load_be<std::uint64_t>(&block[8]);
        multiply(sum);
    }
}

std::optional<Salt> Trial::opens(const Packet& packet) const {
    Half sum;
    hash(sum, packet.aad);
    hash(sum, packet.text);
    sum.high ^= 8 * packet.aad.size();
    sum.low ^= 8 * packet.text.size();
    multiply(sum);
    Block block, counter;
    store_be(&block[0], sum.high ^ load_be<std::uint64_t>(&packet.icv[0]));
    store_be(&block[8], sum.low ^ load_be<std::uint64_t>(&packet.icv[8]));
    AES_decrypt(block.data(), counter.data(), &decrypting_);
    if (!std::equal(packet.iv.begin(), packet.iv.end(), counter.begin() + kSalt) ||
        load_be<std::uint32_t>(&counter[kSalt + kIv]) != 1)
        return std::nullopt;
    return Salt{counter[0], counter[1], counter[2], counter[3]};
}

std::optional<std::vector<std::uint8_t>> decrypt(const std::uint8_t* key, const Salt& salt,
                                                 const Packet& packet) {
    const std::unique_ptr<EVP_CIPHER_CTX, void (*)(EVP_CIPHER_CTX*)> context(EVP_CIPHER_CTX_new(),
                                                                             EVP_CIPHER_CTX_free);
    std::array<std::uint8_t, kSalt + kIv> nonce;
    std::ranges::copy(salt, nonce.begin());
    std::ranges::copy(packet.iv, nonce.begin() + kSalt);
    auto icv = packet.icv;
    std::vector<std::uint8_t> out(packet.text.size() + 16);
    int size = 0, rest = 0;
    EVP_CIPHER_CTX* c = context.get();
    if (EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), nullptr, key, nonce.data()) != 1 ||
        EVP_DecryptUpdate(c, nullptr, &size, packet.aad.data(),
                          static_cast<int>(packet.aad.size())) != 1 ||
        EVP_DecryptUpdate(c, out.data(), &size, packet.text.data(),
                          static_cast<int>(packet.text.size())) != 1 ||
        EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, kIcv, icv.data()) != 1 ||
        EVP_DecryptFinal_ex(c, out.data() + size, &rest) != 1)
        return std::nullopt;
    out.resize(static_cast<std::size_t>(size + rest));
    return out;
}

std::array<std::uint8_t, 240> key_schedule(const std::uint8_t* key) {
    AES_KEY schedule;
    AES_set_encrypt_key(key, 8 * kKey, &schedule);
    std::array<std::uint8_t, 240> bytes;
    std::memcpy(bytes.data(), schedule.rd_key, bytes.size());
    if (!std::equal(key, key + 4, bytes.begin())) // words in the order of the processor
        for (std::size_t at = 0; at < bytes.size(); at += 4)
            std::reverse(bytes.begin() + static_cast<long>(at),
                         bytes.begin() + static_cast<long>(at) + 4);
    return bytes;
}

} // namespace encsync::recording
