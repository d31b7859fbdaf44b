// SPDX-License-Identifier: ISC
#include "net/protocol.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace encsync::net {

namespace {

using Word = std::pair<std::uint8_t, std::string_view>;
constexpr std::array kWords{Word{IPPROTO_TCP, "tcp"},   Word{IPPROTO_UDP, "udp"},
                            Word{IPPROTO_ICMP, "icmp"}, Word{IPPROTO_ICMPV6, "icmp6"},
                            Word{IPPROTO_SCTP, "sctp"}, Word{IPPROTO_GRE, "gre"}};

} // namespace

std::string_view protocol_word(std::uint8_t proto) {
    const auto at = std::ranges::find(kWords, proto, &Word::first);
    return at == kWords.end() ? std::string_view() : at->second;
}

std::optional<std::uint8_t> protocol_of(std::string_view word) {
    const auto at = std::ranges::find(kWords, word, &Word::second);
    return at == kWords.end() ? std::nullopt : std::optional(at->first);
}

std::string protocol_name(std::uint8_t proto) {
    const std::string_view word = protocol_word(proto);
    return word.empty() ? std::to_string(proto) : std::string(word);
}

} // namespace encsync::net
