// SPDX-License-Identifier: ISC
// The credentials of a peer, and ours towards it, but for keys of `encsync keys trust`: from the
// files that its conn names, or from the key store.
//
//     auto read = read_credentials(conn, store);     // the error names the file
#pragma once

#include "config/config.hpp"
#include "ipsec/plugin/peer.hpp"
#include "keys/age.hpp"
#include "keys/format.hpp"
#include "keys/store.hpp"

#include <optional>
#include <string>
#include <vector>

namespace encsync::daemon {

// A certificate, by its file, or as "the certificate for minnie in the key store".
struct Dated {
    std::string file;
    keys::Validity validity;
};

struct Credentials {
    ike::Authentication auth;
    // Of our certificates in the key store, the one before that in `auth`, which the peer may not
    // accept yet.
    std::optional<ike::Credential> older;
    std::vector<Dated> certificates; // all but `older`
};
// Without what is to be in the store, but is not.
Result<Credentials> read_credentials(const config::Conn& conn, const keys::Store& store);

// What is to be in the store for this conn, but is not, and what to do; empty: nothing is missing.
// To trust a key is to be done if nothing else admits the peer.
std::string what_is_missing(const config::Conn& conn, const ike::Authentication& auth);

// Of a certificate or an authority.
keys::CertificateUse use_of(ike::CredentialKind kind);

// Of a preshared key or a certificate.
ike::Shown shown_by(const ike::Credential& credential);

// Whether the peer accepts this key of ours without trusting the key itself: it uses a preshared
// key, or our certificate is for this key.
bool vouches(const ike::Authentication& auth, const keys::RawKey& key);

} // namespace encsync::daemon
