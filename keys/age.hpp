// SPDX-License-Identifier: ISC
// What grows old: certificates, which expire, and this node's identity, if it is to be replaced by
// age. Each complaint is one sentence for an administrator; empty: there is none.
//
//     auto validity = read_validity(certificate);
//     std::string text = complaint("/etc/encsync/ca.pem", *validity, unix_now());
//     // "/etc/encsync/ca.pem expires in 11 days, at 2026-12-10T12:00:00Z"
#pragma once

#include "keys/format.hpp"
#include "keys/x509.hpp"

#include <chrono>
#include <string>

namespace encsync::keys {

// So long before a certificate expires, it is time to renew it.
inline constexpr std::chrono::days kExpiryNotice{30};

// what: the certificate, for the text.
std::string complaint(const std::string& what, const Validity& validity, UnixTime now);
// Whether it is more than a complaint: the certificate is not valid now.
bool is_valid(const Validity& validity, UnixTime now);

// An identity made at that time and rotated when it is so old (0: never) is overdue: some peer has
// not accepted the next one for days.
std::string overdue(UnixTime created, std::chrono::seconds rotate, UnixTime now);

} // namespace encsync::keys
