// SPDX-License-Identifier: ISC
// The pfsync dialect of a peer, and the meaning of message numbers in it.
//
//     const Meaning m = meaning(Dialect::freebsd1400, 13);   // Kind::insert, of layout 1400
//     packet.add(Kind::insert);                               // build.hpp: the number and size
//     if (traits(dialect).ipv6) ...                           // dialects/traits.hpp: the rest
//
// Code that uses kinds need not know dialects: parse.hpp and build.hpp do.
#pragma once

#include "pfsync/dialects/traits.hpp"

#include <optional>
#include <string_view>

namespace encsync::pfsync {

struct Meaning {
    Kind kind = Kind::unknown;
    // For kinds that carry a full state: the dialect of its layout, which may differ from the
    // sender's.
    Dialect layout = kOwnDialect;
    bool operator==(const Meaning&) const = default;
};

namespace detail {
extern const std::array<const DialectTraits*, kDialects> kTraits;
// For an action that the dialect lacks: a full state of another dialect of the same version.
Meaning meaning_elsewhere(Dialect dialect, std::uint8_t action);
} // namespace detail

inline const DialectTraits& traits(Dialect dialect) {
    return *detail::kTraits[static_cast<std::size_t>(dialect)];
}

inline std::string_view to_string(Dialect dialect) { // "openbsd", "freebsd-1301", ...
    return traits(dialect).name;
}
std::optional<Dialect> dialect_named(std::string_view name);

inline std::uint8_t version_of(Dialect dialect) {
    return traits(dialect).version;
}
// The dialects of one version, the oldest first; none for an unknown version. They all read each
// other's full states, except formats newer than the release.
std::span<const Dialect> dialects_of(std::uint8_t version);

inline Meaning meaning(Dialect dialect, std::uint8_t action) {
    const Kind own = traits(dialect).actions.kinds[action];
    return own == Kind::unknown ? detail::meaning_elsewhere(dialect, action)
                                : Meaning{own, dialect};
}

inline Kind kind(Dialect dialect, std::uint8_t action) {
    return meaning(dialect, action).kind;
}

// The action number of a kind in `dialect`; none if it has no such message.
inline std::optional<std::uint8_t> action_of(Dialect dialect, Kind kind) {
    const std::uint8_t action = traits(dialect).actions.numbers[static_cast<std::size_t>(kind)];
    if (action == Actions::kNone)
        return std::nullopt;
    return action;
}

inline std::size_t state_size(Dialect layout) {
    return traits(layout).state.size;
}

// Bytes of one message; 0 for kinds without a body.
inline std::size_t message_size(Meaning m) {
    return traits(m.layout).actions.sizes[static_cast<std::size_t>(m.kind)];
}

} // namespace encsync::pfsync
