// SPDX-License-Identifier: ISC
#include "keys/log.hpp"

#include "keys/lines.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kTitle = "encsync key log 1\n";
constexpr std::size_t kHash = 32;
constexpr std::array<std::string_view, kKeyEvents> kEvents{
    "found",    "init",     "rotate", "retire",    "trust", "forget",   "revoke",
    "failed",   "seal",     "unseal", "restore",   "ppk",   "ppk-gone", "psk",
    "psk-gone", "psk-next", "cert",   "cert-gone", "ca",    "ca-gone"};

// Whether it changes which identities, trusted keys and certificates there are.
bool changes_keys(KeyEvent event) {
    return event < KeyEvent::failed || event >= KeyEvent::cert;
}

std::string hash_of(std::string_view before, std::string_view text) {
    std::array<std::uint8_t, kHash> hash;
    crypto_generichash_state state;
    crypto_generichash_init(&state, nullptr, 0, hash.size());
    for (const std::string_view part : {before, text})
        crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(part.data()),
                                  part.size());
    crypto_generichash_final(&state, hash.data(), hash.size());
    return base64(hash);
}

std::string line_of(const LogEntry& entry) {
    return fmt::format("{} {} {} {}", to_text(entry.time), to_string(entry.event), entry.name,
                       entry.fingerprint);
}

Result<LogEntry> read_entry(std::string_view line) {
    const auto found = split<5>(line);
    if (!found)
        return Error{"expected a time, an event, a name, a fingerprint and a hash"};
    const auto& words = *found;
    LogEntry entry;
    auto time = parse_time(words[0]);
    if (!time)
        return time.error();
    entry.time = *time;
    const auto event = std::ranges::find(kEvents, words[1]);
    if (event == kEvents.end())
        return Error{fmt::format("no event is called '{}'", words[1])};
    entry.event = static_cast<KeyEvent>(event - kEvents.begin());
    if (auto ok = check_name(words[2]); !ok)
        return ok.error();
    entry.name = words[2];
    entry.fingerprint = words[3];
    entry.hash = words[4];
    return entry;
}

} // namespace

std::string_view to_string(KeyEvent event) {
    return kEvents[static_cast<std::size_t>(event)];
}

std::string_view log_title() {
    return kTitle;
}

std::string last_hash(const KeyLog& log) {
    return log.entries.empty() ? hash_of({}, kTitle) : log.entries.back().hash;
}

std::string write_entry(const std::string& before, LogEntry& entry) {
    const std::string line = line_of(entry);
    entry.hash = hash_of(before, line);
    return fmt::format("{} {}\n", line, entry.hash);
}

Result<KeyLog> read_log(std::string_view text) {
    KeyLog log;
    if (text.empty() || (text.size() < kTitle.size() && kTitle.starts_with(text)))
        return log;
    if (!text.starts_with(kTitle))
        return Error{fmt::format("line 1: expected '{}'", kTitle.substr(0, kTitle.size() - 1))};
    log.size = kTitle.size();
    for (std::size_t number = 2;; number++) {
        const std::size_t end = text.find('\n', log.size);
        if (end == text.npos)
            return log;
        auto entry = read_entry(text.substr(log.size, end - log.size));
        if (!entry)
            return Error{fmt::format("line {}: {}", number, entry.error().text)};
        if (entry->hash != hash_of(last_hash(log), line_of(*entry)))
            return Error{fmt::format("line {}: the hash does not match: this line was changed, or "
                                     "lines before it were changed, removed or put in",
                                     number)};
        log.entries.push_back(std::move(*entry));
        log.size = end + 1;
    }
}

LoggedKeys keys_of(const KeyLog& log) {
    LoggedKeys keys;
    const auto apply = [&](const LogEntry& entry, bool added) {
        if (added)
            keys.emplace(entry.name, entry.fingerprint);
        else
            keys.erase({entry.name, entry.fingerprint});
    };
    const auto adds = [](KeyEvent event) {
        return event != KeyEvent::retire && event != KeyEvent::forget &&
               event != KeyEvent::revoke && event != KeyEvent::cert_gone &&
               event != KeyEvent::ca_gone;
    };
    for (auto at = log.entries.begin(); at != log.entries.end(); ++at) {
        if (at->event != KeyEvent::failed) {
            if (changes_keys(at->event))
                apply(*at, adds(at->event));
            continue;
        }
        const auto same = [&](const LogEntry& other) {
            return other.name == at->name && other.fingerprint == at->fingerprint &&
                   other.event != KeyEvent::failed;
        };
        const auto undone = std::find_if(std::make_reverse_iterator(at), log.entries.rend(), same);
        if (undone != log.entries.rend() && changes_keys(undone->event))
            apply(*at, !adds(undone->event));
    }
    return keys;
}

} // namespace encsync::keys
