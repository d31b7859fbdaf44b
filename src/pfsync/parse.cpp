// SPDX-License-Identifier: ISC
#include "pfsync/parse.hpp"

#include "pfsync/read_state.hpp"

#include <algorithm>

namespace encsync::pfsync {

using namespace common;

std::string_view to_string(Fault fault) {
    switch (fault) {
    case Fault::none:
        return "none";
    case Fault::short_header:
        return "short_header";
    case Fault::bad_version:
        return "bad_version";
    case Fault::bad_length:
        return "bad_length";
    case Fault::short_subheader:
        return "short_subheader";
    case Fault::zero_count:
        return "zero_count";
    case Fault::zero_stride:
        return "zero_stride";
    case Fault::short_message:
        return "short_message";
    case Fault::section_overrun:
        return "section_overrun";
    case Fault::bad_creatorid:
        return "bad_creatorid";
    case Fault::bad_ifname:
        return "bad_ifname";
    case Fault::bad_peer_state:
        return "bad_peer_state";
    case Fault::bad_timeout:
        return "bad_timeout";
    case Fault::bad_direction:
        return "bad_direction";
    case Fault::bad_family:
        return "bad_family";
    case Fault::bad_bus_status:
        return "bad_bus_status";
    case Fault::bad_icmp_type:
        return "bad_icmp_type";
    case Fault::bad_action:
        return "bad_action";
    case Fault::bad_eof:
        return "bad_eof";
    case Fault::bad_protocol:
        return "bad_protocol";
    case Fault::bad_name:
        return "bad_name";
    case Fault::bad_zone:
        return "bad_zone";
    case Fault::bad_expectation:
        return "bad_expectation";
    }
    return "unknown";
}

std::size_t message_size(std::uint8_t action, Dialect dialect) {
    return message_size(meaning(dialect, action));
}

Parser::Parser(Bytes payload, Expected expected)
    : dialect_(expected.value_or(kOwnDialect)), any_(!expected) {
    if (payload.size() < kHeaderSize) {
        fault_ = Fault::short_header;
        return;
    }
    const std::uint8_t version = payload[header::version];
    if (any_)
        if (const auto known = dialects_of(version); !known.empty())
            dialect_ = known.back();
    if (version != version_of(dialect_)) {
        fault_ = Fault::bad_version;
        return;
    }
    const std::size_t length = load_be<std::uint16_t>(&payload[header::length]);
    if (length < kHeaderSize || length > payload.size()) {
        fault_ = Fault::bad_length;
        return;
    }
    version_ = version;
    payload_ = payload.first(length);
    next_ = kHeaderSize;
}

const Section* Parser::next_by_length() {
    if (fault_ != Fault::none)
        return nullptr;
    offset_ = next_;
    const Bytes rest = payload_.subspan(offset_);
    if (rest.empty())
        return nullptr;
    if (rest.size() < kSubheaderSize)
        return fail(Fault::short_subheader);
    section_.action = rest[subheader::action];
    section_.kind = traits(dialect_).actions.kinds[section_.action];
    section_.layout = dialect_;
    section_.stride = static_cast<std::uint16_t>(rest[subheader::words] * 4);
    section_.count = load_be<std::uint16_t>(&rest[subheader::count]);
    // 65,535 times 1,020 fits.
    const std::size_t size = std::size_t{section_.count} * section_.stride;
    if (section_.count == 0)
        return fail(Fault::zero_count);
    if (section_.stride == 0)
        return fail(Fault::zero_stride);
    if (size > rest.size() - kSubheaderSize)
        return fail(Fault::section_overrun);
    section_.body = rest.subspan(kSubheaderSize, size);
    next_ = offset_ + kSubheaderSize + size;
    return &section_;
}

const Section* Parser::next_by_action() {
    if (fault_ != Fault::none)
        return nullptr;
    offset_ = next_;
    const Bytes rest = payload_.subspan(offset_);
    if (rest.empty())
        return nullptr;
    if (ended_)
        return fail(Fault::bad_eof);
    if (rest.size() < kSubheaderSize)
        return fail(Fault::short_subheader);
    section_.action = rest[subheader::action];
    Meaning m = meaning(dialect_, section_.action);
    if (m.kind == Kind::error && any_) // an older release may send it
        m = meaning(dialects_of(version_).front(), section_.action);
    if (m.kind == Kind::unknown || m.kind == Kind::error)
        return fail(Fault::bad_action);
    section_.kind = m.kind;
    section_.layout = m.layout;
    section_.stride = static_cast<std::uint16_t>(message_size(m));
    section_.count = load_be<std::uint16_t>(&rest[subheader::count]);
    const std::size_t size = std::size_t{section_.count} * section_.stride;
    if (section_.count == 0)
        return fail(Fault::zero_count);
    if (size > rest.size() - kSubheaderSize)
        return fail(Fault::section_overrun);
    section_.body = rest.subspan(kSubheaderSize, size);
    next_ = offset_ + kSubheaderSize + size;
    ended_ = m.kind == Kind::eof;
    return &section_;
}

Fault check(Bytes payload, Expected expected) {
    Parser parser(payload, expected);
    while (parser.next() != nullptr) {
    }
    return parser.fault() == Fault::bad_action ? Fault::none : parser.fault();
}

std::optional<Dialect> detect(Bytes payload) {
    Parser parser(payload, std::nullopt);
    std::optional<Dialect> out;
    while (const Section* s = parser.next())
        if (s->kind == Kind::insert || s->kind == Kind::update || s->kind == Kind::remove)
            out = std::max(out, Expected(s->layout)); // if there are several, the newest
    if (parser.fault() != Fault::none && parser.fault() != Fault::bad_action)
        return std::nullopt;
    const auto known = dialects_of(parser.version());
    return known.size() == 1 ? known.front() : out;
}

state::StateId read_id(Bytes message) {
    if (message.size() < kIdSize)
        return {};
    return {load_be<std::uint64_t>(&message[id_only::id]),
            load_be<std::uint32_t>(&message[id_only::creatorid])};
}

Fault read(Bytes message, Clear& out) {
    if (message.size() < kClrSize)
        return Fault::short_message;
    const Bytes name = message.subspan(clr::ifname, kIfnameSize);
    const auto end = std::find(name.begin(), name.end(), 0);
    if (end == name.end())
        return Fault::bad_ifname;
    const auto creatorid = load_be<std::uint32_t>(&message[clr::creatorid]);
    if (creatorid == 0)
        return Fault::bad_creatorid;
    out.ifname = {reinterpret_cast<const char*>(name.data()),
                  static_cast<std::size_t>(end - name.begin())};
    out.creatorid = creatorid;
    return Fault::none;
}

Fault read(Dialect dialect, Bytes message, Tdb& out) {
    const TdbLayout& layout = traits(dialect).tdb;
    if (message.size() < layout.size)
        return Fault::short_message;
    const Bytes to = message.subspan(tdb_front::sockaddr, bsd_sockaddr::size6);
    const std::uint8_t family = to[bsd_sockaddr::family];
    if (family == kAfInet)
        out.dst = net::Address::read(&to[bsd_sockaddr::addr4], net::Family::inet);
    else if (family == traits(dialect).state.af_inet6)
        out.dst = net::Address::read(&to[bsd_sockaddr::addr6], net::Family::inet6);
    else
        return Fault::bad_family;
    out.spi = load_be<std::uint32_t>(&message[tdb_front::spi]);
    const std::uint8_t* rpl = &message[layout.rpl];
    out.rpl = layout.wide_rpl ? load_be<std::uint64_t>(rpl) : load_be<std::uint32_t>(rpl);
    out.bytes = load_be<std::uint64_t>(&message[layout.bytes]);
    out.sproto = message[layout.sproto];
    out.rdomain =
        layout.rdomain == 0 ? std::uint16_t{0} : load_be<std::uint16_t>(&message[layout.rdomain]);
    return Fault::none;
}

Fault read(Bytes message, Tdb& out) {
    return read(kOwnDialect, message, out);
}

Fault read(Bytes message, BulkStatus& out) {
    if (message.size() < kBusSize)
        return Fault::short_message;
    const std::uint8_t status = message[bus::status];
    if (status != kBusStart && status != kBusEnd)
        return Fault::bad_bus_status;
    out.creatorid = load_be<std::uint32_t>(&message[bus::creatorid]);
    out.endtime = load_be<std::uint32_t>(&message[bus::endtime]);
    out.end = status == kBusEnd;
    return Fault::none;
}

Fault read(Dialect layout, Bytes message, FullState& out) {
    return traits(layout).read_state(message, out);
}

Fault read(Bytes message, FullState& out) {
    return read(kOwnDialect, message, out);
}

Fault read(Dialect dialect, Bytes message, CompressedUpdate& out) {
    if (message.size() < kUpdCSize)
        return Fault::short_message;
    out.id = {load_be<std::uint64_t>(&message[upd_c::id]),
              load_be<std::uint32_t>(&message[upd_c::creatorid])};
    if (out.id.creatorid == 0)
        return Fault::bad_creatorid;
    out.src.bytes = message.subspan(upd_c::src, peer::size);
    out.dst.bytes = message.subspan(upd_c::dst, peer::size);
    out.timeout = message[upd_c::timeout];
    return detail::check_progress(out.src.state(), out.dst.state(), out.timeout,
                                  traits(dialect).state.timeout_max);
}

Fault read(Bytes message, CompressedUpdate& out) {
    return read(kOwnDialect, message, out);
}

} // namespace encsync::pfsync
