// SPDX-License-Identifier: ISC
#include "keys/unlock.hpp"

#include "keys/files.hpp"

#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

namespace encsync::keys {

Result<const StoreKey*> Unlock::key(const Seal& seal) {
    if (key_ && id_of(*key_) == seal.store)
        return &*key_;
    auto passphrase = source_();
    if (!passphrase)
        return passphrase.error();
    if (!*passphrase)
        return Error{fmt::format("the store is sealed, and no passphrase was given: encsync asks "
                                 "for it on a terminal or takes --passphrase-file; encsyncd needs "
                                 "keypassphrase= or the systemd credential {}",
                                 kPassphraseCredential)};
    auto key = open_seal(seal, **passphrase);
    if (!key)
        return key.error();
    key_ = std::move(*key);
    return &*key_;
}

Result<std::optional<Passphrase>> unattended_passphrase(const std::string& file) {
    std::string path = file;
    if (path.empty()) {
        const char* directory = std::getenv("CREDENTIALS_DIRECTORY");
        if (directory == nullptr)
            return std::optional<Passphrase>();
        path = fmt::format("{}/{}", directory, kPassphraseCredential);
        if (::access(path.c_str(), F_OK) != 0)
            return std::optional<Passphrase>();
    }
    auto passphrase = read_passphrase(path);
    if (!passphrase)
        return passphrase.error();
    return std::optional(std::move(*passphrase));
}

} // namespace encsync::keys
