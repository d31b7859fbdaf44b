// SPDX-License-Identifier: ISC
#include "pfsync/dialect.hpp"

namespace encsync::pfsync {

namespace {

constexpr std::array<std::string_view, kDialects> kDialectNames{
    "openbsd",
    "freebsd-1301",
    "freebsd-1400",
    "freebsd-1500",
};

constexpr std::array<std::string_view, kKinds> kKindNames{
    "unknown", "error", "clr",   "ins", "ins_ack", "upd", "upd_c",
    "upd_req", "del",   "del_c", "bus", "tdb",     "eof",
};

} // namespace

std::string_view to_string(Dialect dialect) {
    return kDialectNames[static_cast<std::size_t>(dialect)];
}

std::optional<Dialect> dialect_named(std::string_view name) {
    for (std::size_t n = 0; n < kDialectNames.size(); n++)
        if (kDialectNames[n] == name)
            return Dialect{static_cast<std::uint8_t>(n)};
    return std::nullopt;
}

std::string_view to_string(Kind kind) {
    return kKindNames[static_cast<std::size_t>(kind)];
}

} // namespace encsync::pfsync
