// SPDX-License-Identifier: ISC
#include "cli/changed_keys.hpp"
#include "cli/key_place.hpp"
#include "cli/verbs.hpp"
#include "keys/files.hpp"
#include "keys/store.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::cli {

namespace {

constexpr ike::CredentialKind kind_of(keys::CertificateUse use) {
    return use == keys::CertificateUse::own ? ike::CredentialKind::certificate
                                            : ike::CredentialKind::ca;
}

std::string why_not_used(const config::Conn& conn, keys::CertificateUse use, Bytes der) {
    if (!conn.in_store(kind_of(use)))
        return fmt::format("conn {} does not have {}=store, so it is not used", conn.name,
                           use == keys::CertificateUse::own ? "leftcert" : "rightca");
    if (use == keys::CertificateUse::own && !keys::names(der, conn.leftid))
        return fmt::format("the leftid of conn {}, {}, is not among its alternative names, so the "
                           "peer will refuse it",
                           conn.name, conn.leftid);
    return {};
}

std::string what_follows(const std::string& peer, keys::CertificateUse use, std::size_t count) {
    if (count == 1)
        return {};
    if (use == keys::CertificateUse::authority)
        return fmt::format("A certificate of either authority lets {0} in, until 'encsync keys "
                           "cert retire --authority {0}'.\n",
                           peer);
    return fmt::format("encsyncd tries it each minute beside the tunnel, and keeps the one before "
                       "until {} has accepted this one or, if both are for the same key, until "
                       "that expires: see 'encsync keys status'.\n",
                       peer);
}

} // namespace

int keys_cert_import(const Options& options, const std::string& peer, const std::string& file,
                     keys::CertificateUse use, bool replace) {
    const auto der = keys::read_certificate(file);
    if (!der)
        return fail(der.error().text);
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    const auto before = store->certificates(peer);
    const bool known = before && *before &&
                       std::ranges::find((*before)->of(use), *der, &keys::HeldCertificate::der) !=
                           (*before)->of(use).end();
    const auto count = store->put_certificate(peer, use, *der, replace);
    if (!count)
        return fail(fmt::format("{}: {}", file, count.error().text));
    const std::string print = keys::certificate_fingerprint(*der);
    return report_credential(options, peer,
                             fmt::format("{}: {}, {}\n{}", keys::name_in_store(use, peer),
                                         known ? "it was there before" : "stored", print,
                                         known ? "" : what_follows(peer, use, *count)),
                             [&](const config::Conn* conn) {
                                 return conn == nullptr ? no_conn_of(peer)
                                                        : why_not_used(*conn, use, *der);
                             },
                             {{"fingerprint", print}});
}

int keys_cert_retire(const Options& options, const std::string& peer, keys::CertificateUse use,
                     bool next) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->retire_certificate(peer, use, next); !ok)
        return fail(ok.error().text);
    if (!options.json)
        fmt::print("{}: gone\n", keys::name_in_store(use, peer, !next));
    return reload_daemon(options, {{"peer", peer}});
}

int keys_cert_forget(const Options& options, const std::string& peer, keys::CertificateUse use) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->forget_certificates(peer, use); !ok)
        return fail(ok.error().text);
    if (!options.json)
        fmt::print("{}: erased\n", keys::name_in_store(use, peer));
    return reload_daemon(options, {{"peer", peer}});
}

} // namespace encsync::cli
