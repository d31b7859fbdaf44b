// SPDX-License-Identifier: ISC
// What each verb does after it has changed the keys: encsyncd is told, and the person.
#pragma once

#include "cli/verbs.hpp"
#include "config/config.hpp"
#include "keys/format.hpp"

#include <functional>
#include <span>
#include <string>

namespace encsync::cli {

// Makes a running daemon reload the keys. False: none runs.
Result<bool> reload_daemon(const Options& options);
// The same, and says so; `changed` describes the change in JSON. The exit status.
int reload_daemon(const Options& options, boost::json::object changed);

// Prints what has become of a preshared key or certificate with a peer and, on stderr, why it is
// not used. Then the same as above. why_not: says that of the peer's conn, null if it has none;
// empty: it is used.
int report_credential(const Options& options, const std::string& peer, const std::string& text,
                      const std::function<std::string(const config::Conn* conn)>& why_not,
                      boost::json::object changed);
// Of a credential of a peer without a conn.
std::string no_conn_of(const std::string& peer);

// Prints the keys that are trusted now, of which `fresh` were not before, then the same as above.
// more: further members of the JSON.
int report_trusted(const Options& options, std::span<const keys::PublicKey> trusted,
                   std::size_t fresh, boost::json::object more = {});

} // namespace encsync::cli
