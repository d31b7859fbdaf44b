// SPDX-License-Identifier: ISC
#include "keys/seal.hpp"

#include "keys/base64.hpp"
#include "keys/store_names.hpp"

#include <fmt/format.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kSealTitle = "encsync seal 1";
constexpr std::string_view kSealedTitle = "encsync sealed file 1";

// What is authenticated with the encrypted line below it.
std::string header(const Seal& seal) {
    return fmt::format("{}\nstore: {}\n{}", kSealTitle, base64(seal.store),
                       write_derivation(seal.derivation));
}

std::string header(const SealedFile& file) {
    std::string text =
        fmt::format("{}\nfile: {}\nstore: {}\n", kSealedTitle, file.file, base64(file.store));
    if (file.identity)
        text += fmt::format("name: {}\ncreated: {}\npublic: {}\n", file.identity->name,
                            to_text(file.identity->created), base64(file.identity->key));
    return text + fmt::format("nonce: {}\n", base64(file.nonce));
}

std::string with_checksum(const std::string& text) {
    return text + checksum_line(text);
}

} // namespace

StoreId id_of(const StoreKey& key) {
    constexpr std::string_view kPurpose = "encsync store key";
    StoreId id;
    crypto_generichash(id.data(), id.size(), as_bytes(kPurpose).data(), kPurpose.size(),
                       key.bytes().data(), key.bytes().size());
    return id;
}

// ---- the seal ------------------------------------------------------------------------------

Result<Seal> make_seal(const StoreKey& key, const Passphrase& passphrase, KdfCost cost) {
    Seal seal{id_of(key), Derivation::random(cost), {}};
    auto wrapping = derive(passphrase, seal.derivation);
    if (!wrapping)
        return wrapping.error();
    const auto box = encrypt(*wrapping, seal.derivation.nonce, header(seal), key.bytes());
    std::copy(box.begin(), box.end(), seal.key.begin());
    return seal;
}

Result<StoreKey> open_seal(const Seal& seal, const Passphrase& passphrase) {
    auto wrapping = derive(passphrase, seal.derivation);
    if (!wrapping)
        return wrapping.error();
    StoreKey key;
    if (!decrypt(*wrapping, seal.derivation.nonce, header(seal), seal.key, key.bytes()))
        return Error{"the passphrase is wrong, or somebody has changed this file"};
    if (id_of(key) != seal.store)
        return Error{"its key is not that of this store"};
    return key;
}

std::string write_seal(const Seal& seal) {
    return with_checksum(header(seal) + fmt::format("key: {}\n", base64(seal.key)));
}

Result<Seal> read_seal(std::string_view text) {
    if (text.size() > kMaxSealedText)
        return Error{fmt::format("longer than {} bytes", kMaxSealedText)};
    Lines lines(text);
    Seal seal;
    if (auto ok = lines.title(kSealTitle); !ok)
        return ok.error();
    if (auto ok = lines.base64_field("store", seal.store); !ok)
        return ok.error();
    auto derivation = read_derivation(lines);
    if (!derivation)
        return derivation.error();
    seal.derivation = *derivation;
    if (auto ok = lines.base64_field("key", seal.key); !ok)
        return ok.error();
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return seal;
}

// ---- sealed files --------------------------------------------------------------------------

bool is_sealed(std::string_view text) {
    return text.starts_with(kSealedTitle.substr(0, kSealedTitle.rfind(' ') + 1));
}

SealedFile seal_file(const StoreKey& key, std::string name, std::optional<PublicKey> identity,
                     const SecretText& content) {
    SealedFile file{std::move(name), id_of(key), std::move(identity), random_nonce(), {}};
    file.sealed = encrypt(key, file.nonce, header(file), content.bytes());
    return file;
}

Result<SecretText> open_file(const SealedFile& file, const StoreKey& key) {
    if (file.store != id_of(key))
        return Error{"was sealed with the key of another store"};
    SecretText text;
    const std::size_t size = file.sealed.size() - kTag;
    if (!decrypt(key, file.nonce, header(file), file.sealed, text.room().first(size)))
        return Error{"was changed after it was sealed"};
    text.set_size(size);
    return text;
}

std::string write_sealed(const SealedFile& file) {
    return with_checksum(header(file) + fmt::format("sealed: {}\n", base64(file.sealed)));
}

Result<SealedFile> read_sealed(std::string_view text) {
    if (text.size() > kMaxSealedText)
        return Error{fmt::format("longer than {} bytes", kMaxSealedText)};
    Lines lines(text);
    SealedFile file;
    if (auto ok = lines.title(kSealedTitle); !ok)
        return ok.error();
    auto name = lines.field("file");
    if (!name)
        return name.error();
    // That of a peer's preshared keys is its name, and something before it.
    const auto prefix = std::ranges::find_if(
        kSecretPrefixes, [&](std::string_view each) { return name->starts_with(each); });
    if (auto ok = check_name(name->substr(prefix == kSecretPrefixes.end() ? 0 : prefix->size()));
        !ok)
        return lines.error(ok.error().text);
    file.file = *name;
    if (auto ok = lines.base64_field("store", file.store); !ok)
        return ok.error();
    if (text.substr(lines.position()).starts_with("name: ")) {
        PublicKey identity;
        if (auto ok = read_name_and_time(lines, identity); !ok)
            return ok.error();
        if (auto ok = lines.base64_field("public", identity.key); !ok)
            return ok.error();
        file.identity = std::move(identity);
    }
    if (auto ok = lines.base64_field("nonce", file.nonce); !ok)
        return ok.error();
    auto sealed = lines.base64_field("sealed", kMaxSecretText + kTag);
    if (!sealed)
        return sealed.error();
    if (sealed->size() < kTag)
        return lines.error("too short to be sealed");
    file.sealed = std::move(*sealed);
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return file;
}

} // namespace encsync::keys
