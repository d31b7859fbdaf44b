// SPDX-License-Identifier: ISC
#include "keys/x509.hpp"

#include "keys/age.hpp"
#include "keys/files.hpp"
#include "keys/lines.hpp"

#include <algorithm>
#include <ctime>
#include <fmt/format.h>
#include <memory>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <optional>
#include <sodium.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kTitle = "encsync certificates 1";
constexpr std::array<std::string_view, kCertificateUses.size()> kFields = {"certificate",
                                                                           "authority"};

using Parsed = std::unique_ptr<X509, decltype(&X509_free)>;

// Null: it is none, or something follows it.
Parsed parse(Bytes certificate) {
    const unsigned char* at = certificate.data();
    Parsed parsed(d2i_X509(nullptr, &at, static_cast<long>(certificate.size())), X509_free);
    if (at != certificate.data() + certificate.size())
        parsed.reset();
    return parsed;
}

bool read_time(const ASN1_TIME* from, UnixTime& into) {
    std::tm parts{};
    if (from == nullptr || ASN1_TIME_to_tm(from, &parts) != 1)
        return false;
    into = ::timegm(&parts);
    return true;
}

std::string_view field_of(CertificateUse use) {
    return kFields[static_cast<std::size_t>(use)];
}

Result<HeldCertificate> read_held(Lines& lines, CertificateUse use) {
    HeldCertificate one;
    auto created = read_created(lines);
    if (!created)
        return created.error();
    one.created = *created;
    auto der = lines.base64_field(field_of(use), kMaxCertificate);
    if (!der)
        return der.error();
    one.der = std::move(*der);
    return one;
}

// Which kind the next two lines are about; none: they are about something else.
std::optional<CertificateUse> next_use(std::string_view rest) {
    if (!rest.starts_with("created: "))
        return std::nullopt;
    rest.remove_prefix(std::min(rest.size(), rest.find('\n')));
    for (const CertificateUse use : kCertificateUses)
        if (rest.starts_with(fmt::format("\n{}: ", field_of(use))))
            return use;
    return std::nullopt;
}

} // namespace

Result<Validity> read_validity(Bytes certificate) {
    const Parsed parsed = parse(certificate);
    Validity out;
    if (!parsed || !read_time(X509_get0_notBefore(parsed.get()), out.from) ||
        !read_time(X509_get0_notAfter(parsed.get()), out.until))
        return Error{"is no X.509 certificate"};
    return out;
}

Result<void> check_certificate(CertificateUse use, Bytes certificate,
                               std::span<const PublicKey> own, UnixTime now) {
    if (certificate.size() > kMaxCertificate)
        return Error{fmt::format("a certificate has {} bytes at most", kMaxCertificate)};
    const auto validity = read_validity(certificate);
    if (!validity)
        return validity.error();
    if (!is_valid(*validity, now))
        return Error{complaint("it", *validity, now)};
    if (use == CertificateUse::authority) {
        if (X509_check_ca(parse(certificate).get()) != 1) // charon takes no other
            return Error{"is not the certificate of an authority: its basic constraints do not say "
                         "CA, or its key usage does not let it certify"};
    } else if (std::ranges::none_of(
                   own, [&](const PublicKey& key) { return certifies(certificate, key.key); })) {
        return Error{"is not for this node's key; certify the one that 'encsync keys export "
                     "--pem' prints"};
    }
    return {};
}

bool names(Bytes certificate, const std::string& id) {
    const Parsed parsed = parse(certificate);
    return parsed &&
           X509_check_host(parsed.get(), id.data(), id.size(),
                           X509_CHECK_FLAG_NO_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                           nullptr) == 1;
}

CertificateId certificate_id(Bytes certificate) {
    CertificateId id;
    crypto_hash_sha256(id.data(), certificate.data(), certificate.size());
    return id;
}

std::string certificate_fingerprint(Bytes certificate) {
    return "SHA256:" +
           base64(certificate_id(certificate), sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

std::string write_certificates(const PeerCertificates& held) {
    std::string text = fmt::format("{}\npeer: {}\n", kTitle, held.peer);
    for (const CertificateUse use : kCertificateUses)
        for (const HeldCertificate& one : held.of(use))
            text += fmt::format("created: {}\n{}: {}\n", to_text(one.created), field_of(use),
                                base64(one.der));
    return text + checksum_line(text);
}

Result<PeerCertificates> read_certificates(std::string_view text) {
    if (text.size() > kMaxCertificatesText)
        return Error{fmt::format("longer than {} bytes", kMaxCertificatesText)};
    Lines lines(text);
    if (auto ok = lines.title(kTitle); !ok)
        return ok.error();
    auto peer = read_peer(lines);
    if (!peer)
        return peer.error();
    PeerCertificates held{std::move(*peer)};
    CertificateUse last = CertificateUse::own;
    while (const auto use = next_use(text.substr(lines.position()))) {
        auto one = read_held(lines, *use);
        if (!one)
            return one.error();
        std::vector<HeldCertificate>& all = held.of(*use);
        if (*use < last)
            return lines.error("in the wrong order");
        if (all.size() == kCertificatesPerUse)
            return lines.error(fmt::format("more than {} of this kind", kCertificatesPerUse));
        if (!all.empty() && all.front().der == one->der)
            return lines.error("the same certificate twice");
        all.push_back(std::move(*one));
        last = *use;
    }
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    if (std::ranges::all_of(held.held, [](const auto& all) { return all.empty(); }))
        return Error{"no certificate is in it"};
    return held;
}

std::string name_in_store(CertificateUse use, const std::string& peer, bool older) {
    return fmt::format("the {}{} for {} in the key store", older ? "older " : "", field_of(use),
                       peer);
}

std::string no_certificate(CertificateUse use, const std::string& peer) {
    if (use == CertificateUse::authority)
        return fmt::format("there is no authority for '{0}' in the key store; 'encsync keys cert "
                           "import --authority {0} FILE' puts its certificate there",
                           peer);
    return fmt::format("there is no certificate for '{0}' in the key store; 'encsync keys cert "
                       "import {0} FILE' puts one there",
                       peer);
}

} // namespace encsync::keys
