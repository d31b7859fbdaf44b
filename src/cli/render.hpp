// SPDX-License-Identifier: ISC
// Formats the answers of encsyncd and the key store as text. Pure functions from the JSON of the
// control socket (or of `encsync ... --json`) to lines, each with its line end.
//
//     std::fputs(cli::render_status(*client.call({{"command", "status"}})).c_str(), stdout);
//
// A field that is missing or of another type, from a daemon of another version, becomes "-".
// Control characters become '?', so that they cannot affect the terminal.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace encsync::cli {

std::string render_status(const boost::json::value& status);
std::string render_peers(const boost::json::value& peers);
std::string render_flushed(const boost::json::value& answer);
std::string render_sas(const boost::json::value& sas);
std::string render_policy(const boost::json::value& policy);
// A stream: the header, then one line per item.
std::string states_header();
std::string render_state(const boost::json::value& state);

// {name, keydir, creatorid, identities:[{fingerprint, created, age, signs}]}
std::string render_identities(const boost::json::value& keys);
// [{name, fingerprint, created, since, age}]
std::string render_trusted(const boost::json::value& keys);
// [{name, fingerprint, hex, words:[...]}], to be read aloud; the name may be missing.
std::string render_words(const boost::json::value& keys);
// {entries:[{time, event, name, fingerprint, hash}]}
std::string render_key_status(const boost::json::value& status);
std::string render_key_log(const boost::json::value& log);

// Columns as wide as their widest cell, two blanks apart, no blanks at the line's end.
std::string table(const std::vector<std::vector<std::string>>& rows);

std::string count(std::uint64_t number);    // "1,234,567"
std::string size(std::uint64_t bytes);      // "999 B", "1.2 KiB", "3.4 GiB"
std::string duration(std::uint64_t second); // "59s", "2m5s", "3h12m", "4d2h"
std::string clean(std::string_view text);

} // namespace encsync::cli
