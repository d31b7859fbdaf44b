// SPDX-License-Identifier: ISC
// What a peer may prove itself with, and we to it, as far as files hold it that its conn names.
//
//     auto files = read_files(conn);     // the error names the file
#pragma once

#include "config/config.hpp"
#include "ipsec/plugin/peer.hpp"
#include "keys/format.hpp"

#include <array>
#include <cstdint>

namespace encsync::daemon {

Result<ike::Authentication> read_files(const config::Conn& conn);

// Tells what was read from files once from what was read before.
using FilesDigest = std::array<std::uint8_t, 32>;
FilesDigest digest(const ike::Authentication& files);

// Whether the peer takes us with this key of ours without trusting the key itself: it asks for no
// key, or for one that our certificate is for.
bool vouches(const ike::Authentication& files, const keys::RawKey& key);

} // namespace encsync::daemon
