// SPDX-License-Identifier: ISC
// The log of all that has happened to the keys of a store: a text that only grows, a line for each
// event, each with a hash over itself and all lines before it.
//
//     encsync key log 1
//     2026-01-31T12:00:00Z init mickey SHA256:(fingerprint) (hash: 32 bytes, base64)
//     2026-01-31T12:05:00Z trust minnie SHA256:(fingerprint) (hash)
//
// The hash is BLAKE2b-256 of the hash of the line before and the line without its own; the first
// one's predecessor is the hash of the title. A line that was changed, removed or put in does not
// match. Who may write the file can write all of it anew, and then only a hash that was noted
// elsewhere tells: `encsync keys log --verify HASH`, and encsyncd writes the last one to its own
// log.
//
//     auto log = read_log(text);                       // the error names the line
//     text += write_entry(last_hash(*log), entry);
#pragma once

#include "keys/format.hpp"
#include "util/result.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace encsync::keys {

inline constexpr std::size_t kMaxLogText = std::size_t{16} << 20; // bytes: some 100,000 events

// What is done with one key; each is written before it is done.
enum class KeyEvent : std::uint8_t {
    found,  // there when the log began: a store of an older version
    init,   // the first identity
    rotate, // the next identity
    retire, // the older identity went, and the next one signs
    trust,
    forget,
    revoke, // a peer's key, for good
    failed, // the last one was not done after all
    seal,   // its secret is sealed from now on (keys/seal.hpp); the key stays as it is
    unseal,
    restore,  // this store came out of a backup
    ppk,      // a preshared key with that peer (keys/ppk.hpp) is there, named by its id
    ppk_gone, // it was erased
    psk, // a preshared key of IKE with that peer (keys/psk.hpp) is there, instead of any before
    psk_gone, // it was erased
    psk_next, // the next one is there, too
    cert,     // a certificate for that peer (keys/x509.hpp), or the next one
    cert_gone,
    ca, // the peer's authority, or the next one
    ca_gone,
};
inline constexpr std::size_t kKeyEvents = 20;
// In the place of a fingerprint for the events of a psk: nothing is shown of such a key.
inline constexpr const char* kPskPrint = "PSK";
// Likewise of certificates, if their file could not be read.
inline constexpr const char* kUnreadablePrint = "unreadable";
std::string_view to_string(KeyEvent event);

struct LogEntry {
    UnixTime time = 0;
    KeyEvent event{};
    std::string name;        // of the node whose key it is
    std::string fingerprint; // as fingerprint() of keys/format.hpp; of a PPK, to_text() of its id;
                             // kPskPrint; of a certificate, its own
    std::string hash;        // base64
    bool operator==(const LogEntry&) const = default;
};

struct KeyLog {
    std::vector<LogEntry> entries;
    // Up to the end of the last whole line. What follows is what a crash left of another.
    std::size_t size = 0;
};
// An empty text is a log without entries.
Result<KeyLog> read_log(std::string_view text);

// Of the last entry, or of the title.
std::string last_hash(const KeyLog& log);

// The title, which begins the text.
std::string_view log_title();
// The line, and its hash, which is also put into the entry.
std::string write_entry(const std::string& before, LogEntry& entry);

// The keys and certificates that are there according to the log: name and fingerprint, sorted.
using LoggedKeys = std::set<std::pair<std::string, std::string>>;
LoggedKeys keys_of(const KeyLog& log);

} // namespace encsync::keys
