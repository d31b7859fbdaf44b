// SPDX-License-Identifier: ISC
#include "daemon/credentials.hpp"

#include "keys/files.hpp"

#include <fmt/format.h>
#include <sodium.h>

namespace encsync::daemon {

using ike::CredentialKind;

Result<ike::Authentication> read_files(const config::Conn& conn, const keys::Store& store) {
    ike::Authentication files;
    if (conn.by_stored_psk()) {
        auto psks = store.psks(conn.rightid);
        if (!psks)
            return psks.error();
        if (*psks)
            for (const keys::Psk& psk : (*psks)->keys)
                files.add(CredentialKind::psk, psk.key.bytes());
    }
    for (const ike::CredentialTraits& kind : ike::kCredentials) {
        const std::string& path = conn.file(kind.kind);
        if (path.empty())
            continue;
        switch (kind.form) {
        case ike::FileForm::preshared: {
            auto key = keys::read_preshared(path);
            if (!key)
                return key.error();
            files.add(kind.kind, *key);
            break;
        }
        case ike::FileForm::certificate: {
            auto certificate = keys::read_certificate(path);
            if (!certificate)
                return certificate.error();
            files.add(kind.kind, *certificate);
            break;
        }
        case ike::FileForm::none:
            break;
        }
    }
    return files;
}

std::string what_is_missing(const config::Conn& conn) {
    if (conn.authby == config::Authby::psk)
        return keys::no_psk(conn.rightid);
    return fmt::format("no key of '{}' is trusted; run encsync pair on both, or bring its public "
                       "key and run encsync keys trust",
                       conn.rightid);
}

Result<std::vector<Dated>> dates(const config::Conn& conn, const ike::Authentication& files) {
    std::vector<Dated> out;
    for (const ike::Credential& each : files.credentials) {
        if (ike::traits(each.kind).form != ike::FileForm::certificate)
            continue;
        const auto validity = keys::read_validity(each.data);
        if (!validity)
            return Error{fmt::format("{}: {}", conn.file(each.kind), validity.error().text)};
        out.push_back({conn.file(each.kind), *validity});
    }
    return out;
}

ike::Shown shown_by(const ike::Credential& credential) {
    ike::Shown id;
    crypto_hash_sha256(id.data(), credential.data.data(), credential.data.size());
    return id;
}

bool vouches(const ike::Authentication& files, const keys::RawKey& key) {
    if (files.count(CredentialKind::psk) != 0)
        return true;
    const ike::Credential* certificate = files.find(CredentialKind::certificate);
    return certificate != nullptr && keys::certifies(certificate->data, key);
}

} // namespace encsync::daemon
