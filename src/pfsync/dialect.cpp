// SPDX-License-Identifier: ISC
#include "pfsync/dialect.hpp"

#include <algorithm>

namespace encsync::pfsync {

namespace {

constexpr std::array<std::string_view, kKinds> kKindNames{
    "unknown", "error", "clr",   "ins", "ins_ack", "upd", "upd_c",
    "upd_req", "del",   "del_c", "bus", "tdb",     "eof",
};

} // namespace

std::optional<Dialect> dialect_named(std::string_view name) {
    const auto found =
        std::ranges::find(kAllDialects, name, [](Dialect d) { return to_string(d); });
    return found == kAllDialects.end() ? std::nullopt : std::optional(*found);
}

std::span<const Dialect> dialects_of(std::uint8_t version) {
    const auto speaks = [&](Dialect d) { return version_of(d) == version; };
    const auto begin = std::ranges::find_if(kAllDialects, speaks);
    return {begin, std::find_if_not(begin, kAllDialects.end(), speaks)};
}

Meaning detail::meaning_elsewhere(Dialect dialect, std::uint8_t action) {
    for (const Dialect other : dialects_of(version_of(dialect)))
        if (const Kind kind = traits(other).actions.kinds[action];
            kind == Kind::insert || kind == Kind::update)
            return {kind, other};
    return {Kind::unknown, dialect};
}

std::string_view to_string(Kind kind) {
    return kKindNames[static_cast<std::size_t>(kind)];
}

} // namespace encsync::pfsync
