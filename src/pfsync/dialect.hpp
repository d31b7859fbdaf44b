// SPDX-License-Identifier: ISC
// Which pfsync a peer speaks, and what a message's number means in it.
//
//     const Meaning m = meaning(Dialect::freebsd1400, 13);   // Kind::insert, of layout 1400
//     packet.add(Kind::insert);                               // build.hpp: the number and size
//
// Everyone who thinks in kinds need not know dialects: parse.hpp and build.hpp do.
#pragma once

#include "pfsync/freebsd.hpp"
#include "pfsync/openbsd.hpp"

#include <array>
#include <optional>
#include <string_view>

namespace encsync::pfsync {

// OpenBSD's is version 6. FreeBSD's are version 5, named for what full states are sent as; every
// FreeBSD since 9 reads those of 1301, 14 those of 1400 as well, 15 all three.
enum class Dialect : std::uint8_t { openbsd, freebsd1301, freebsd1400, freebsd1500 };
inline constexpr int kDialects = 4;

std::string_view to_string(Dialect dialect); // "openbsd", "freebsd-1301", ...
std::optional<Dialect> dialect_named(std::string_view name);

constexpr bool is_freebsd(Dialect d) {
    return d != Dialect::openbsd;
}
constexpr std::uint8_t version_of(Dialect d) {
    return is_freebsd(d) ? freebsd::kVersion : openbsd::kVersion;
}
// What every FreeBSD reads: for a peer that has sent no full state yet.
inline constexpr Dialect kOldestFreebsd = Dialect::freebsd1301;

enum class Kind : std::uint8_t {
    unknown,    // version 6: skipped by its length; version 5: the rest cannot be read
    error,      // version 5: known, but never to be sent; the rest is not read
    clear,      // CLR
    insert,     // INS
    insert_ack, // INS_ACK
    update,     // UPD; of an unknown state, an insert
    update_c,   // UPD_C
    request,    // UPD_REQ
    remove,     // DEL
    remove_c,   // DEL_C
    bulk,       // BUS
    tdb,        // TDB
    eof,        // EOF: version 5 only
};
inline constexpr int kKinds = 13;
std::string_view to_string(Kind kind); // "ins", "upd_c", ... as pfsync(4) names them

struct Meaning {
    Kind kind = Kind::unknown;
    // Kinds that carry a full state: whose layout it has, which need not be the sender's own.
    Dialect layout = Dialect::openbsd;
    bool operator==(const Meaning&) const = default;
};

namespace detail {

inline constexpr std::array<Kind, 16> kOpenbsdKinds{
    Kind::clear,   Kind::unknown,  Kind::insert_ack, Kind::unknown, Kind::update_c, Kind::request,
    Kind::remove,  Kind::remove_c, Kind::unknown,    Kind::unknown, Kind::bulk,     Kind::unknown,
    Kind::unknown, Kind::insert,   Kind::update,     Kind::tdb,
};

} // namespace detail

constexpr Meaning meaning(Dialect dialect, std::uint8_t action) {
    using freebsd::Action;
    if (dialect == Dialect::openbsd)
        return {action < detail::kOpenbsdKinds.size() ? detail::kOpenbsdKinds[action]
                                                      : Kind::unknown,
                Dialect::openbsd};
    switch (static_cast<Action>(action)) {
    case Action::clr:
        return {Kind::clear, dialect};
    case Action::ins_1301:
        return {Kind::insert, Dialect::freebsd1301};
    case Action::ins_ack:
        return {Kind::insert_ack, dialect};
    case Action::upd_1301:
        return {Kind::update, Dialect::freebsd1301};
    case Action::upd_c:
        return {Kind::update_c, dialect};
    case Action::upd_req:
        return {Kind::request, dialect};
    case Action::del:
        return {dialect == Dialect::freebsd1301 ? Kind::remove : Kind::error, dialect};
    case Action::del_c:
        return {Kind::remove_c, dialect};
    case Action::ins_f:
    case Action::del_f:
        return {Kind::error, dialect};
    case Action::bus:
        return {Kind::bulk, dialect};
    case Action::tdb:
        return {Kind::tdb, dialect};
    case Action::eof:
        return {Kind::eof, dialect};
    case Action::ins_1400:
        return {Kind::insert, Dialect::freebsd1400};
    case Action::upd_1400:
        return {Kind::update, Dialect::freebsd1400};
    case Action::ins_1500:
        return {Kind::insert, Dialect::freebsd1500};
    case Action::upd_1500:
        return {Kind::update, Dialect::freebsd1500};
    }
    return {Kind::unknown, dialect};
}

constexpr Kind kind(Dialect dialect, std::uint8_t action) {
    return meaning(dialect, action).kind;
}

namespace detail {

inline constexpr std::uint8_t kNoAction = 0xff;
inline constexpr auto kActions = [] {
    std::array<std::array<std::uint8_t, kKinds>, kDialects> out{};
    for (auto& row : out)
        row.fill(kNoAction);
    for (std::size_t d = 0; d < kDialects; d++)
        for (std::uint8_t action = 0; action <= 16; action++) {
            const Dialect dialect{static_cast<std::uint8_t>(d)};
            const Meaning m = meaning(dialect, action);
            if (m.kind != Kind::unknown && m.kind != Kind::error && m.layout == dialect)
                out[d][static_cast<std::size_t>(m.kind)] = action;
        }
    return out;
}();

} // namespace detail

// The number with which `dialect` says a kind; none if it has no such message.
constexpr std::optional<std::uint8_t> action_of(Dialect dialect, Kind kind) {
    const std::uint8_t action =
        detail::kActions[static_cast<std::size_t>(dialect)][static_cast<std::size_t>(kind)];
    if (action == detail::kNoAction)
        return std::nullopt;
    return action;
}

constexpr std::size_t state_size(Dialect layout) {
    switch (layout) {
    case Dialect::openbsd:
        break;
    case Dialect::freebsd1301:
        return freebsd::kState1301Size;
    case Dialect::freebsd1400:
        return freebsd::kState1400Size;
    case Dialect::freebsd1500:
        return freebsd::kState1500Size;
    }
    return openbsd::kStateSize;
}

// Bytes of one message; 0 for kinds without a body.
constexpr std::size_t message_size(Meaning m) {
    switch (m.kind) {
    case Kind::clear:
        return common::kClrSize;
    case Kind::insert_ack:
    case Kind::request:
    case Kind::remove_c:
        return common::kIdSize;
    case Kind::update_c:
        return common::kUpdCSize;
    case Kind::insert:
    case Kind::update:
    case Kind::remove:
        return state_size(m.layout);
    case Kind::bulk:
        return common::kBusSize;
    case Kind::tdb:
        return is_freebsd(m.layout) ? freebsd::kTdbSize : openbsd::kTdbSize;
    case Kind::eof:
    case Kind::unknown:
    case Kind::error:
        break;
    }
    return 0;
}

} // namespace encsync::pfsync
