// SPDX-License-Identifier: ISC
// The certificates in a store. Each operation writes one file.
#include "keys/store.hpp"
#include "keys/store_names.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

KeyEvent added(CertificateUse use) {
    return use == CertificateUse::own ? KeyEvent::cert : KeyEvent::ca;
}

KeyEvent gone(CertificateUse use) {
    return use == CertificateUse::own ? KeyEvent::cert_gone : KeyEvent::ca_gone;
}

// Refuses if there is none of that use.
Result<PeerCertificates> with_some(Result<std::optional<PeerCertificates>> held, CertificateUse use,
                                   const std::string& peer) {
    if (!held)
        return held.error();
    if (!*held || (*held)->of(use).empty())
        return Error{no_certificate(use, peer)};
    return std::move(**held);
}

} // namespace

PeerFiles Store::certificate_files() const {
    return {directory_, kX509Prefix, kMaxCertificatesText};
}

Result<std::optional<PeerCertificates>> Store::certificates(const std::string& peer) const {
    return certificate_files().read(peer, read_certificates);
}

Result<std::vector<PeerCertificates>> Store::certificates() const {
    return certificate_files().read_all(read_certificates);
}

std::vector<Store::Event> Store::gone_of(const PeerCertificates& held, CertificateUse use) {
    std::vector<Event> events;
    for (const HeldCertificate& one : held.of(use))
        events.push_back({gone(use), held.peer, certificate_fingerprint(one.der)});
    return events;
}

Result<void> Store::put_certificates(const PeerCertificates& held, const std::vector<Event>& events,
                                     UnixTime now) const {
    const bool empty = std::ranges::all_of(held.held, [](const auto& all) { return all.empty(); });
    return log_and(now, events, [&] {
        return empty ? certificate_files().erase(held.peer)
                     : certificate_files().write(held.peer, write_certificates(held));
    });
}

Result<std::size_t> Store::put_certificate(const std::string& peer, CertificateUse use, Bytes der,
                                           bool replace, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    if (auto ok = check_certificate(use, der, *own, now); !ok)
        return ok.error();
    auto before = certificates(peer);
    if (!before)
        return before.error();
    auto count = certificate_files().count();
    if (!count)
        return count.error();
    if (!*before && *count >= kMaxCertified)
        return Error{
            fmt::format("there are certificates for {} peers already, which is the limit", *count)};
    PeerCertificates after = *before ? std::move(**before) : PeerCertificates{peer};
    std::vector<HeldCertificate>& all = after.of(use);
    HeldCertificate fresh{now, {der.begin(), der.end()}};
    const auto there = std::ranges::find(all, fresh.der, &HeldCertificate::der);
    const bool known = there != all.end();
    for (const CertificateUse other : kCertificateUses) // the log has the fingerprint alone
        if (other != use && std::ranges::find(after.of(other), fresh.der, &HeldCertificate::der) !=
                                after.of(other).end())
            return Error{"is there for the other use"};
    if (known && (!replace || all.size() == 1))
        return all.size();
    if (!replace && all.size() == kCertificatesPerUse)
        return Error{fmt::format("there are two already, and nobody knows which of them {0} needs: "
                                 "'encsync keys cert retire{1} {0}' drops the older one, with "
                                 "--next the other",
                                 peer, use == CertificateUse::own ? "" : " --authority")};
    if (known) { // it stays, so it is not gone
        fresh.created = there->created;
        all.erase(there);
    }
    std::vector<Event> events;
    if (replace) {
        events = gone_of(after, use);
        all.clear();
    }
    if (!known)
        events.push_back({added(use), peer, certificate_fingerprint(der)});
    all.push_back(std::move(fresh));
    auto written = put_certificates(after, events, now);
    return written ? Result(all.size()) : written.error();
}

Result<void> Store::retire_certificate(const std::string& peer, CertificateUse use, bool next,
                                       const CertificateId* shown, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto held = with_some(certificates(peer), use, peer);
    if (!held)
        return held.error();
    std::vector<HeldCertificate>& all = held->of(use);
    if (all.size() != kCertificatesPerUse)
        return Error{fmt::format("there is only one {} for {}",
                                 use == CertificateUse::own ? "certificate" : "authority", peer)};
    if (shown != nullptr && certificate_id(all.back().der) != *shown)
        return Error{fmt::format("{} has accepted another certificate than the next one", peer)};
    const auto goes = next ? all.end() - 1 : all.begin();
    const std::vector<Event> events{{gone(use), peer, certificate_fingerprint(goes->der)}};
    all.erase(goes);
    return put_certificates(*held, events, now);
}

Result<void> Store::forget_certificates(const std::string& peer, CertificateUse use, UnixTime now) {
    auto lock = directory_.lock();
    if (!lock)
        return lock.error();
    auto held = with_some(certificates(peer), use, peer);
    if (!held)
        return held.error();
    const std::vector<Event> events = gone_of(*held, use);
    held->of(use).clear();
    return put_certificates(*held, events, now);
}

} // namespace encsync::keys
