// SPDX-License-Identifier: ISC
// The one table of options. Parsing, checking, docs/configuration.md and encsync.conf(5) are all
// derived from it; to add an option, add a row here and a member in config.hpp.
//
//     if (const Option* option = find_option(SectionKind::conn, "lifetime"))
//         verdict = option->store(*option, "1h", {nullptr, &conn});
#pragma once

#include "config/grammar.hpp"
#include "config/values.hpp"
#include "pfsync/dialect.hpp"

namespace encsync::config {

// The type of a value, for the documentation and for options that are kept as text.
enum class ValueType {
    word,
    number,
    duration,
    fine_duration, // in milliseconds, if need be
    address,
    right, // an address, or %multicast
    addresses,
    macs,
    prefixes,
    nosync,
    creatorids,
    interface_map,
    name,
    interface,
    path,
    path_or_store, // kStored
    listen,
    user,
    ike_proposal,
    esp_proposal,
};

// The section that is being filled; one of the two.
struct Target {
    Setup* setup = nullptr;
    Conn* conn = nullptr;
};

// For an option that names the file of a credential.
struct CredentialFile {
    ike::CredentialKind kind;
    Authby authby; // the only one with which it may be given
};

struct Option {
    std::string_view name;
    SectionKind section;
    ValueType type;
    // The default as it is written in the file; empty if it depends on something else, which
    // default_text then explains.
    std::string_view default_value;
    std::string_view default_text;
    std::string_view example; // value
    std::string_view doc;     // one paragraph; `backquotes` mark literal text
    Verdict (*store)(const Option& option, std::string_view text, Target target);
    Limits limits{};               // of numbers and durations
    std::span<const Word> words{}; // of words
    std::string_view alias{};      // another name for it
    std::optional<CredentialFile> credential{};
};

std::span<const Option> options();
// By name or alias; nullptr: none of this section.
const Option* find_option(SectionKind section, std::string_view name);
std::vector<std::string_view> option_names(SectionKind section);

// The pf dialect for a value of `wire`; none for `encsync` and `auto`.
std::optional<pfsync::Dialect> dialect_of(Wire wire);

// "pubkey"
std::string_view word_of(Authby authby);

// "duration, 2s to 1d": for the documentation.
std::string describe_type(const Option& option);

// The message for a keyword of strongSwan's ipsec.conf or of pfsync(4) that encsync lacks; empty if
// neither has it.
std::string foreign_keyword(std::string_view name);

} // namespace encsync::config
