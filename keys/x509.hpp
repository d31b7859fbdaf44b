// SPDX-License-Identifier: ISC
// Certificates (X.509, RFC 5280), in DER: what encsync reads of one, and the file `x509.NAME` of a
// key store, with those that this node and a peer authenticate to each other with.
//
//     PeerCertificates held{"minnie"};
//     held.of(CertificateUse::authority).push_back({now, der});
//     std::string text = write_certificates(held);
//
//     encsync certificates 1
//     peer: minnie
//     created: 2026-01-31T12:00:00Z        when it was put there
//     certificate: (DER, base64)           of this node, for the peer
//     created: 2026-01-31T12:00:00Z
//     authority: (DER, base64)             of who certifies the peer
//     checksum: ...
//
// Of both kinds there is none, one, or two while the older one is being replaced; the newer one is
// the second. The parser accepts only the exact output of its writer, and does not look into a
// certificate.
#pragma once

#include "keys/format.hpp"
#include "util/bytes.hpp"
#include "util/result.hpp"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

inline constexpr std::size_t kMaxCertificate = 16384;         // bytes of DER
inline constexpr std::size_t kMaxCertificatesText = 96 << 10; // bytes of such a file
inline constexpr std::size_t kMaxCertified = 128;             // peers that have one
inline constexpr std::size_t kCertificatesPerUse = 2;

struct Validity { // RFC 5280, section 4.1.2.5
    UnixTime from = 0, until = 0;
};
Result<Validity> read_validity(Bytes certificate);

enum class CertificateUse : std::uint8_t {
    own,       // this node shows it to the peer
    authority, // the peer shows one that this authority has issued
};
inline constexpr std::array kCertificateUses = {CertificateUse::own, CertificateUse::authority};

// Refused: what is no certificate or is not valid now; of an authority, one that is none (RFC 5280,
// section 4.2.1.9); else, one that is for none of these keys of this node.
Result<void> check_certificate(CertificateUse use, Bytes certificate,
                               std::span<const PublicKey> own, UnixTime now);

// Whether that IKE id of type FQDN is among its alternative names.
bool names(Bytes certificate, const std::string& id);

// "SHA256:" and its base64, as of keys.
std::string certificate_fingerprint(Bytes certificate);
// Tells it from others: the SHA-256.
using CertificateId = std::array<std::uint8_t, 32>;
CertificateId certificate_id(Bytes certificate);

struct HeldCertificate {
    UnixTime created = 0; // when it was put there
    std::vector<std::uint8_t> der;
    bool operator==(const HeldCertificate&) const = default;
};

struct PeerCertificates {
    std::string peer; // its IKE id
    std::array<std::vector<HeldCertificate>, kCertificateUses.size()> held{};

    std::vector<HeldCertificate>& of(CertificateUse use) {
        return held[static_cast<std::size_t>(use)];
    }
    const std::vector<HeldCertificate>& of(CertificateUse use) const {
        return held[static_cast<std::size_t>(use)];
    }
    bool operator==(const PeerCertificates&) const = default;
};
std::string write_certificates(const PeerCertificates& held);
Result<PeerCertificates> read_certificates(std::string_view text);

// "the older certificate for minnie in the key store"
std::string name_in_store(CertificateUse use, const std::string& peer, bool older = false);
// "there is no ... for ...", and what to do.
std::string no_certificate(CertificateUse use, const std::string& peer);

} // namespace encsync::keys
