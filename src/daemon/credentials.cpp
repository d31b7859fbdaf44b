// SPDX-License-Identifier: ISC
#include "daemon/credentials.hpp"

#include "keys/files.hpp"

#include <fmt/format.h>
#include <sodium.h>

namespace encsync::daemon {

using ike::CredentialKind;

namespace {

// Of one file or place in the store.
Result<void> add_certificate(const std::string& name, CredentialKind kind, Bytes der,
                             Credentials& into) {
    const auto validity = keys::read_validity(der);
    if (!validity)
        return Error{fmt::format("{}: {}", name, validity.error().text)};
    if (kind == CredentialKind::certificate)
        if (const ike::Credential* before = into.auth.find(kind)) {
            into.older = *before;
            into.auth.remove(kind);       // charon has one at a time
            into.certificates.pop_back(); // its successor is there
        }
    into.certificates.push_back({name, *validity});
    into.auth.add(kind, der);
    return {};
}

Result<void> add_file(const std::string& path, const ike::CredentialTraits& kind,
                      Credentials& into) {
    if (kind.form == ike::FileForm::preshared) {
        auto key = keys::read_preshared(path);
        if (!key)
            return key.error();
        into.auth.add(kind.kind, *key);
        return {};
    }
    auto certificate = keys::read_certificate(path);
    return certificate ? add_certificate(path, kind.kind, *certificate, into) : certificate.error();
}

Result<void> add_stored_psks(const config::Conn& conn, const keys::Store& store,
                             Credentials& into) {
    auto psks = store.psks(conn.rightid);
    if (!psks)
        return psks.error();
    if (*psks)
        for (const keys::Psk& psk : (*psks)->keys)
            into.auth.add(CredentialKind::psk, psk.key.bytes());
    return {};
}

Result<void> add_stored_certificates(const config::Conn& conn, CredentialKind kind,
                                     const keys::Store& store, Credentials& into) {
    auto held = store.certificates(conn.rightid);
    if (!held)
        return held.error();
    if (!*held)
        return {};
    const auto use = use_of(kind);
    const std::vector<keys::HeldCertificate>& all = (*held)->of(use);
    for (const keys::HeldCertificate& one : all) {
        const std::string name = keys::name_in_store(use, conn.rightid, &one != &all.back());
        if (auto added = add_certificate(name, kind, one.der, into); !added)
            return added;
    }
    return {};
}

} // namespace

keys::CertificateUse use_of(CredentialKind kind) {
    return kind == CredentialKind::certificate ? keys::CertificateUse::own
                                               : keys::CertificateUse::authority;
}

Result<Credentials> read_credentials(const config::Conn& conn, const keys::Store& store) {
    Credentials out;
    for (const ike::CredentialTraits& kind : ike::kCredentials) {
        Result<void> added;
        if (conn.in_store(kind.kind))
            added = kind.form == ike::FileForm::preshared
                        ? add_stored_psks(conn, store, out)
                        : add_stored_certificates(conn, kind.kind, store, out);
        else if (const std::string& path = conn.file(kind.kind); !path.empty())
            added = add_file(path, kind, out);
        if (!added)
            return added.error();
    }
    return out;
}

std::string what_is_missing(const config::Conn& conn, const ike::Authentication& auth) {
    for (const ike::CredentialTraits& kind : ike::kCredentials)
        if (conn.in_store(kind.kind) && auth.count(kind.kind) == 0)
            return kind.form == ike::FileForm::preshared
                       ? keys::no_psk(conn.rightid)
                       : keys::no_certificate(use_of(kind.kind), conn.rightid);
    if (auth.admits())
        return {};
    return fmt::format("no key of '{}' is trusted; run encsync pair on both, or bring its public "
                       "key and run encsync keys trust",
                       conn.rightid);
}

ike::Shown shown_by(const ike::Credential& credential) {
    ike::Shown id;
    crypto_hash_sha256(id.data(), credential.data.data(), credential.data.size());
    return id;
}

bool vouches(const ike::Authentication& auth, const keys::RawKey& key) {
    if (auth.count(CredentialKind::psk) != 0)
        return true;
    const ike::Credential* certificate = auth.find(CredentialKind::certificate);
    return certificate != nullptr && keys::certifies(certificate->data, key);
}

} // namespace encsync::daemon
