// SPDX-License-Identifier: ISC
#include "keys/passphrase.hpp"

#include "keys/base64.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kAlgorithm = "argon2id";

// Takes the number at the begin of the text off it; as its writer writes it, without a zero first.
bool take_number(std::string_view& text, std::uint64_t& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    if (error != std::errc() || text.front() == '0')
        return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool read_cost(std::string_view text, KdfCost& into) {
    if (!text.starts_with(kAlgorithm))
        return false;
    text.remove_prefix(kAlgorithm.size());
    for (std::uint64_t* number : {&into.passes, &into.memory}) {
        if (!text.starts_with(' '))
            return false;
        text.remove_prefix(1);
        if (!take_number(text, *number))
            return false;
    }
    return text.empty();
}

} // namespace

Passphrase::Passphrase(Bytes text) : size_(std::min(text.size(), kMaxPassphrase)) {
    std::copy_n(text.begin(), size_, buffer_.bytes().begin());
}

bool Passphrase::operator==(const Passphrase& other) const {
    return size_ == other.size_ && sodium_memcmp(bytes().data(), other.bytes().data(), size_) == 0;
}

Result<void> check_new(const Passphrase& passphrase) {
    if (passphrase.bytes().size() < kMinNewPassphrase)
        return Error{fmt::format("a passphrase has {} bytes at least", kMinNewPassphrase)};
    return {};
}

Nonce random_nonce() {
    Nonce nonce;
    randombytes_buf(nonce.data(), nonce.size());
    return nonce;
}

Derivation Derivation::random(KdfCost cost) {
    Derivation derivation{cost, {}, random_nonce()};
    randombytes_buf(derivation.salt.data(), derivation.salt.size());
    return derivation;
}

std::string write_derivation(const Derivation& derivation) {
    return fmt::format("kdf: {} {} {}\nsalt: {}\nnonce: {}\n", kAlgorithm, derivation.cost.passes,
                       derivation.cost.memory, base64(derivation.salt), base64(derivation.nonce));
}

Result<Derivation> read_derivation(Lines& lines) {
    Derivation derivation;
    KdfCost& cost = derivation.cost;
    auto text = lines.field("kdf");
    if (!text)
        return text.error();
    if (!read_cost(*text, cost))
        return lines.error(fmt::format("expected '{}' and two numbers", kAlgorithm));
    if (cost.passes > kMaxKdfCost.passes || cost.memory > kMaxKdfCost.memory)
        return lines.error(fmt::format("more than {} passes or {} MiB: not written by encsync",
                                       kMaxKdfCost.passes, kMaxKdfCost.memory >> 20));
    if (cost.passes < kMinKdfCost.passes || cost.memory < kMinKdfCost.memory)
        return lines.error("less memory than Argon2id can do with: not written by encsync");
    if (auto ok = lines.base64_field("salt", derivation.salt); !ok)
        return ok.error();
    if (auto ok = lines.base64_field("nonce", derivation.nonce); !ok)
        return ok.error();
    return derivation;
}

Result<BoxKey> derive(const Passphrase& passphrase, const Derivation& derivation) {
    BoxKey key;
    if (crypto_pwhash(key.bytes().data(), key.bytes().size(),
                      reinterpret_cast<const char*>(passphrase.bytes().data()),
                      passphrase.bytes().size(), derivation.salt.data(), derivation.cost.passes,
                      static_cast<std::size_t>(derivation.cost.memory),
                      crypto_pwhash_ALG_ARGON2ID13) != 0)
        return Error{fmt::format("Argon2id needs {} MiB of memory, which are not there",
                                 derivation.cost.memory >> 20)};
    return key;
}

std::vector<std::uint8_t> encrypt(const BoxKey& key, const Nonce& nonce, std::string_view header,
                                  Bytes content) {
    std::vector<std::uint8_t> box(content.size() + kTag);
    crypto_aead_xchacha20poly1305_ietf_encrypt(box.data(), nullptr, content.data(), content.size(),
                                               as_bytes(header).data(), header.size(), nullptr,
                                               nonce.data(), key.bytes().data());
    return box;
}

bool decrypt(const BoxKey& key, const Nonce& nonce, std::string_view header, Bytes box,
             MutableBytes into) {
    return box.size() >= kTag && into.size() == box.size() - kTag &&
           crypto_aead_xchacha20poly1305_ietf_decrypt(
               into.data(), nullptr, nullptr, box.data(), box.size(), as_bytes(header).data(),
               header.size(), nonce.data(), key.bytes().data()) == 0;
}

} // namespace encsync::keys
