// SPDX-License-Identifier: ISC
// The credentials of a peer, and ours towards it, that are in files named by its conn, and the
// preshared key that the key store has instead.
//
//     auto files = read_files(conn, store);     // the error names the file
#pragma once

#include "config/config.hpp"
#include "ipsec/plugin/peer.hpp"
#include "keys/age.hpp"
#include "keys/format.hpp"
#include "keys/store.hpp"

#include <string>
#include <vector>

namespace encsync::daemon {

// Without a preshared key that is to be in the store, but is not.
Result<ike::Authentication> read_files(const config::Conn& conn, const keys::Store& store);

// What a peer lacks that has nothing that admits it, and what to do.
std::string what_is_missing(const config::Conn& conn);

// A certificate, by its file.
struct Dated {
    std::string file;
    keys::Validity validity;
};
// All that the conn names, of what was read for it; an error names the one that is no certificate.
Result<std::vector<Dated>> dates(const config::Conn& conn, const ike::Authentication& files);

// Of a preshared key or a certificate.
ike::Shown shown_by(const ike::Credential& credential);

// Whether the peer accepts this key of ours without trusting the key itself: it uses a preshared
// key, or our certificate is for this key.
bool vouches(const ike::Authentication& files, const keys::RawKey& key);

} // namespace encsync::daemon
