// SPDX-License-Identifier: ISC
#include "net/prefix.hpp"

#include <charconv>
#include <fmt/format.h>

namespace encsync::net {

Prefix Prefix::masked() const {
    Prefix out = *this;
    for (unsigned bit = length; bit < address_width(network.family); bit++)
        out.network.bytes[bit / 8] &= static_cast<std::uint8_t>(~(0x80U >> bit % 8));
    return out;
}

std::optional<Prefix> parse_prefix(std::string_view text) {
    const std::size_t slash = text.find('/');
    const auto network = parse_address(text.substr(0, slash));
    if (!network)
        return std::nullopt;
    unsigned length = address_width(network->family);
    if (slash != text.npos) {
        const char *first = text.data() + slash + 1, *last = text.data() + text.size();
        const auto [end, error] = std::from_chars(first, last, length);
        if (error != std::errc() || end != last || length > address_width(network->family))
            return std::nullopt;
    }
    return Prefix{*network, static_cast<std::uint8_t>(length)};
}

std::string to_string(const Prefix& prefix) {
    return fmt::format("{}/{}", to_string(prefix.network), prefix.length);
}

} // namespace encsync::net
