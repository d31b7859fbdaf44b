// SPDX-License-Identifier: ISC
#include "keys/secret_files.hpp"

#include "keys/store_names.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <string_view>

namespace encsync::keys {

namespace {

static_assert(kMaxSealedText > kMaxSecretText);

Error in_file(const Directory& directory, const char* name, const Error& error) {
    return Error{fmt::format("{}: {}", directory.path_of(name), error.text)};
}

// A file as it is: plain, which is a secret, or sealed.
class Raw {
  public:
    static Result<std::optional<Raw>> read(const Directory& directory, const char* name) {
        Raw raw;
        auto size = directory.read(name, raw.buffer_.bytes());
        if (!size)
            return size.error();
        if (!*size)
            return std::optional<Raw>();
        raw.size_ = **size;
        if (!is_sealed(raw.view()) && raw.size_ > kMaxSecretText)
            return in_file(directory, name,
                           Error{fmt::format("longer than {} bytes", kMaxSecretText)});
        return std::optional(std::move(raw));
    }

    std::string_view view() const { return as_text(buffer_.bytes().first(size_)); }
    SecretText text() const {
        SecretText text;
        text.append(view());
        return text;
    }

  private:
    Secret<kMaxSealedText + 1> buffer_;
    std::size_t size_ = 0;
};

// None: the store is not sealed.
Result<std::optional<Seal>> read_seal_of(const Directory& directory) {
    std::array<std::uint8_t, kMaxSealedText + 1> buffer{};
    auto size = directory.read(kSeal, buffer);
    if (!size)
        return size.error();
    if (!*size)
        return std::optional<Seal>();
    auto seal = read_seal(as_text(Bytes(buffer).first(**size)));
    if (!seal)
        return in_file(directory, kSeal, seal.error());
    return std::optional(*seal);
}

Result<SealedFile> read_sealed_of(const Directory& directory, const char* name, const Raw& raw) {
    auto file = read_sealed(raw.view());
    if (!file)
        return in_file(directory, name, file.error());
    if (file->file != name)
        return in_file(
            directory, name,
            Error{fmt::format("is the file {}, and somebody has put it here", file->file)});
    return file;
}

// Of files that are not there: none.
Result<std::optional<bool>> is_sealed_of(const Directory& directory, const char* name) {
    auto raw = Raw::read(directory, name);
    if (!raw)
        return raw.error();
    return *raw ? std::optional(is_sealed((*raw)->view())) : std::nullopt;
}

bool is_identity(const char* name) {
    return std::string_view(name) == kIdentity || std::string_view(name) == kNextIdentity;
}

// All that there may be.
Result<std::vector<std::string>> secret_files(const Directory& directory) {
    std::vector<std::string> all(kSecretFiles.begin(), kSecretFiles.end());
    for (const std::string_view prefix : kSecretPrefixes) {
        auto names = directory.names(prefix);
        if (!names)
            return names.error();
        std::ranges::move(*names, std::back_inserter(all));
    }
    return all;
}

Result<void> write_sealed_to(const Directory& directory, const char* name, const SecretText& text,
                             const StoreKey& key) {
    std::optional<PublicKey> shown;
    if (is_identity(name)) {
        auto identity = read_secret(text.view());
        if (!identity)
            return in_file(directory, name, identity.error());
        shown = *identity;
    }
    return directory.write(name, as_bytes(write_sealed(seal_file(key, name, shown, text))));
}

} // namespace

const char* to_string(Sealing sealing) {
    constexpr std::array kNames = {"plain", "partly sealed", "sealed"};
    return kNames[static_cast<std::size_t>(sealing)];
}

Result<StoreKey> SecretFiles::store_key(const Directory& directory, const Seal& seal) const {
    Unlock nothing([] { return Result(std::optional<Passphrase>()); });
    auto key = (unlock_ ? *unlock_ : nothing).key(seal);
    if (!key)
        return in_file(directory, kSeal, key.error());
    StoreKey copy;
    std::ranges::copy((*key)->bytes(), copy.bytes().begin());
    return copy;
}

Result<std::optional<SecretText>> SecretFiles::read(const Directory& directory,
                                                    const char* name) const {
    for (bool again = false;; again = true) {
        auto raw = Raw::read(directory, name);
        if (!raw)
            return raw.error();
        if (!*raw)
            return std::optional<SecretText>();
        if (!is_sealed((*raw)->view()))
            return std::optional((*raw)->text());
        auto file = read_sealed_of(directory, name, **raw);
        if (!file)
            return file.error();
        auto seal = read_seal_of(directory);
        if (!seal)
            return seal.error();
        // It may have been unsealed since we read it.
        if (!*seal && !again)
            continue;
        if (!*seal)
            return in_file(directory, name,
                           Error{fmt::format("is sealed, but the file {} is not there", kSeal)});
        auto key = store_key(directory, **seal);
        if (!key)
            return key.error();
        auto text = open_file(*file, *key);
        if (!text)
            return in_file(directory, name, text.error());
        return std::optional(std::move(*text));
    }
}

Result<std::optional<PublicKey>> SecretFiles::read_public(const Directory& directory,
                                                          const char* name) const {
    auto raw = Raw::read(directory, name);
    if (!raw)
        return raw.error();
    if (!*raw)
        return std::optional<PublicKey>();
    if (!is_sealed((*raw)->view())) {
        auto identity = read_secret((*raw)->view());
        if (!identity)
            return in_file(directory, name, identity.error());
        return std::optional<PublicKey>(*identity);
    }
    auto file = read_sealed_of(directory, name, **raw);
    if (!file)
        return file.error();
    if (!file->identity)
        return in_file(directory, name, Error{"is no identity"});
    return std::optional(*file->identity);
}

Result<void> SecretFiles::write(const Directory& directory, const char* name,
                                const SecretText& text) const {
    auto seal = read_seal_of(directory);
    if (!seal)
        return seal.error();
    if (!*seal)
        return directory.write(name, text.bytes());
    auto key = store_key(directory, **seal);
    if (!key)
        return key.error();
    return write_sealed_to(directory, name, text, *key);
}

Result<void> SecretFiles::advance(const Directory& directory) const {
    auto sealed = is_sealed_of(directory, kNextIdentity);
    if (!sealed)
        return sealed.error();
    if (*sealed != true)
        return directory.rename(kNextIdentity, kIdentity);
    // A sealed file belongs to its name. Between the two steps the key is there twice, which its
    // readers know of.
    auto text = read(directory, kNextIdentity);
    if (!text)
        return text.error();
    if (auto ok = write(directory, kIdentity, **text); !ok)
        return ok;
    return directory.remove(kNextIdentity);
}

// ---- sealing -------------------------------------------------------------------------------

Result<Sealing> SecretFiles::sealing(const Directory& directory) const {
    auto seal = directory.has(kSeal);
    if (!seal)
        return seal.error();
    bool all = *seal;
    bool any = *seal;
    auto names = secret_files(directory);
    if (!names)
        return names.error();
    for (const std::string& each : *names) {
        const char* name = each.c_str();
        auto sealed = is_sealed_of(directory, name);
        if (!sealed)
            return sealed.error();
        all = all && *sealed != false;
        any = any || *sealed == true;
    }
    return all ? Sealing::sealed : any ? Sealing::partly : Sealing::plain;
}

Result<void> SecretFiles::check_passphrase(const Directory& directory,
                                           const Passphrase& passphrase) const {
    auto seal = read_seal_of(directory);
    if (!seal)
        return seal.error();
    if (!*seal)
        return {};
    if (auto key = open_seal(**seal, passphrase); !key)
        return in_file(directory, kSeal, key.error());
    return {};
}

Result<void> SecretFiles::seal(const Directory& directory, const Passphrase& passphrase,
                               KdfCost cost) const {
    auto seal = read_seal_of(directory);
    if (!seal)
        return seal.error();
    auto key = *seal ? open_seal(**seal, passphrase) : Result<StoreKey>(StoreKey::random());
    if (!key)
        return in_file(directory, kSeal, key.error());
    if (!*seal) {
        auto made = make_seal(*key, passphrase, cost);
        if (!made)
            return made.error();
        if (auto ok = directory.write(kSeal, as_bytes(write_seal(*made))); !ok)
            return ok;
    }
    auto names = secret_files(directory);
    if (!names)
        return names.error();
    for (const std::string& each : *names) {
        const char* name = each.c_str();
        auto raw = Raw::read(directory, name);
        if (!raw)
            return raw.error();
        if (!*raw || is_sealed((*raw)->view()))
            continue;
        if (auto ok = write_sealed_to(directory, name, (*raw)->text(), *key); !ok)
            return ok;
    }
    if (unlock_)
        unlock_->keep(std::move(*key));
    return {};
}

Result<void> SecretFiles::unseal(const Directory& directory) const {
    auto names = secret_files(directory);
    if (!names)
        return names.error();
    for (const std::string& each : *names) {
        const char* name = each.c_str();
        auto sealed = is_sealed_of(directory, name);
        if (!sealed)
            return sealed.error();
        if (*sealed != true)
            continue;
        auto text = read(directory, name);
        if (!text)
            return text.error();
        if (auto ok = directory.write(name, (*text)->bytes()); !ok)
            return ok;
    }
    return directory.remove(kSeal);
}

Result<void> SecretFiles::change_passphrase(const Directory& directory, const Passphrase& fresh,
                                            KdfCost cost) const {
    auto seal = read_seal_of(directory);
    if (!seal)
        return seal.error();
    if (!*seal)
        return Error{"the store is not sealed; 'encsync keys seal' seals it"};
    auto key = store_key(directory, **seal);
    if (!key)
        return key.error();
    auto made = make_seal(*key, fresh, cost);
    if (!made)
        return made.error();
    return directory.write(kSeal, as_bytes(write_seal(*made)));
}

} // namespace encsync::keys
