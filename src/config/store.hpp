// SPDX-License-Identifier: ISC
// Stores the value of an option in its member of Setup or Conn: the type of the member selects the
// reader (values.hpp). Only options.cpp needs this.
//
//     Option{..., store<&Setup::sweep>}                // std::chrono::seconds: a duration
//     Option{..., store_file<CredentialKind::psk>}     // the path of that credential's file
#pragma once

#include "config/options.hpp"

#include <chrono>
#include <type_traits>

namespace encsync::config {

// T is Setup, or a base of Conn or Conn itself.
template<class T>
T* section_of(Target target) {
    if constexpr (std::is_same_v<T, Setup>)
        return target.setup;
    else
        return target.conn;
}

inline Verdict read_text(const Option& option, std::string_view text, std::string& out) {
    switch (option.type) {
    case ValueType::word: {
        int value = 0;
        Verdict problem = read_word(text, option.words, value);
        if (!problem)
            out = text;
        return problem;
    }
    case ValueType::name:
        return read_name(text, out);
    case ValueType::interface:
        return read_interface(text, out);
    case ValueType::path:
        return read_path(text, out);
    case ValueType::user:
        return read_user(text, out);
    case ValueType::ike_proposal:
        return read_ike_proposal(text, out);
    case ValueType::esp_proposal:
        return read_esp_proposal(text, out);
    default:
        return Problem{"no reader for this option", 0, {}};
    }
}

template<class Section, class T>
Verdict store_in(T Section::*member, const Option& option, std::string_view text, Target target) {
    T& out = section_of<Section>(target)->*member;
    if constexpr (std::is_same_v<T, std::chrono::seconds> ||
                  std::is_same_v<T, std::chrono::milliseconds>) {
        return read_duration(text, option.limits, out);
    } else if constexpr (std::is_same_v<T, Address>) {
        return option.type == ValueType::right ? read_right(text, out) : read_address(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<Address>>) {
        return read_addresses(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<net::Mac>>) {
        return read_macs(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<net::Prefix>>) {
        return read_prefixes(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<state::NoSyncRule>>) {
        return read_nosync(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<std::uint32_t>>) {
        return read_creatorids(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<InterfacePair>>) {
        return read_interface_map(text, out);
    } else if constexpr (std::is_same_v<T, net::Listen>) {
        return read_listen(text, out);
    } else if constexpr (std::is_same_v<T, std::string>) {
        return read_text(option, text, out);
    } else if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
        int value = 0;
        Verdict problem = read_word(text, option.words, value);
        if (!problem)
            out = static_cast<T>(value);
        return problem;
    } else {
        std::uint32_t value = 0;
        Verdict problem = read_number(text, option.limits, value);
        if (!problem)
            out = static_cast<T>(value);
        return problem;
    }
}

template<auto kMember>
Verdict store(const Option& option, std::string_view text, Target target) {
    return store_in(kMember, option, text, target);
}

template<ike::CredentialKind kKind>
Verdict store_file(const Option& option, std::string_view text, Target target) {
    std::string& out = target.conn->file(kKind);
    return option.type == ValueType::path_or_store ? read_path_or_store(text, out)
                                                   : read_path(text, out);
}

} // namespace encsync::config
