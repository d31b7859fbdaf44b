// SPDX-License-Identifier: ISC
// What each verb does after it has changed the keys: encsyncd is told, and the person.
#pragma once

#include "cli/verbs.hpp"
#include "keys/format.hpp"

#include <span>

namespace encsync::cli {

// Makes a running daemon reload the keys; `changed` describes the change in JSON. The exit status.
int reload_daemon(const Options& options, boost::json::object changed);

// Prints the keys that are trusted now, of which `fresh` were not before, then the same as above.
// more: further members of the JSON.
int report_trusted(const Options& options, std::span<const keys::PublicKey> trusted,
                   std::size_t fresh, boost::json::object more = {});

} // namespace encsync::cli
