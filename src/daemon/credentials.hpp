// SPDX-License-Identifier: ISC
// The credentials of a peer, and ours towards it, that are in files named by its conn.
//
//     auto files = read_files(conn);     // the error names the file
#pragma once

#include "config/config.hpp"
#include "ipsec/plugin/peer.hpp"
#include "keys/age.hpp"
#include "keys/format.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace encsync::daemon {

Result<ike::Authentication> read_files(const config::Conn& conn);

// A certificate, by its file.
struct Dated {
    std::string file;
    keys::Validity validity;
};
// All that the conn names, of what was read for it; an error names the one that is no certificate.
Result<std::vector<Dated>> dates(const config::Conn& conn, const ike::Authentication& files);

// Shows whether the contents of the files have changed.
using FilesDigest = std::array<std::uint8_t, 32>;
FilesDigest digest(const ike::Authentication& files);

// Whether the peer accepts this key of ours without trusting the key itself: it uses a preshared
// key, or our certificate is for this key.
bool vouches(const ike::Authentication& files, const keys::RawKey& key);

} // namespace encsync::daemon
