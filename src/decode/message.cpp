// SPDX-License-Identifier: ISC
#include "decode/message.hpp"

#include "net/address.hpp"
#include "net/protocol.hpp"
#include "pfsync/dialects/openbsd.hpp"
#include "pfsync/extension.hpp"
#include "state/extras.hpp"

#include <algorithm>
#include <array>
#include <boost/json/array.hpp>
#include <fmt/format.h>
#include <string>

namespace encsync::decode {

namespace json = boost::json;
namespace extension = pfsync::extension;
namespace peer = pfsync::common::peer;
namespace sockaddr = pfsync::common::bsd_sockaddr;
using pfsync::common::kAfInet;
using pfsync::common::kMaxPeerState;

namespace {

// JSON is UTF-8 text, but a name may have any bytes. Each becomes the character of the same number,
// so that none is lost.
json::string to_text_bytes(Bytes bytes) {
    json::string out;
    for (const std::uint8_t b : bytes) {
        if (b < 0x80) {
            out.push_back(static_cast<char>(b));
        } else {
            out.push_back(static_cast<char>(0xc0 | b >> 6));
            out.push_back(static_cast<char>(0x80 | (b & 0x3f)));
        }
    }
    return out;
}

class Reader {
  public:
    Reader(const pfsync::Layout& layout, Bytes bytes, Wrong& wrong)
        : layout_(layout), bytes_(bytes), wrong_(wrong) {}

    json::value value(const Field& field);
    json::object fields(std::span<const Field> fields);
    void check_icmp(const json::object& state, std::span<const Field> fields);

  private:
    template<std::unsigned_integral T>
    T number(std::size_t offset) const {
        return load_be<T>(&bytes_[offset]);
    }
    std::int32_t number_i32(std::size_t offset) const {
        return static_cast<std::int32_t>(number<std::uint32_t>(offset));
    }
    template<std::unsigned_integral T>
    json::array pair(std::size_t offset) const {
        return {number<T>(offset), number<T>(offset + sizeof(T))};
    }
    std::string hex32(std::size_t offset) const {
        return fmt::format("{:08x}", number<std::uint32_t>(offset));
    }

    json::value text(std::size_t offset, std::size_t size);
    json::value family(std::size_t offset);
    json::value address(std::size_t offset, std::uint8_t family) const;
    json::object peer_block(std::size_t offset);
    json::object key(std::size_t offset, std::uint8_t family) const;
    json::object key_with_family(std::size_t offset, std::size_t family_of_state);
    json::object socket_address(std::size_t offset);
    json::value one_of(std::size_t offset, std::string_view first, std::string_view second,
                       std::string_view error);

    const pfsync::Layout& layout_; // of the dialect's states
    Bytes bytes_;
    Wrong& wrong_;
};

Bytes until_nul(Bytes bytes) {
    return bytes.first(static_cast<std::size_t>(std::ranges::find(bytes, 0) - bytes.begin()));
}

json::value Reader::text(std::size_t offset, std::size_t size) {
    const Bytes all = bytes_.subspan(offset, size);
    const auto end = std::ranges::find(all, 0);
    if (end == all.end())
        wrong_.note("bad_ifname", offset);
    return to_text_bytes({all.begin(), end});
}

json::value Reader::family(std::size_t offset) {
    const std::uint8_t af = bytes_[offset];
    if (af == kAfInet)
        return "inet";
    if (af == layout_.af_inet6)
        return "inet6";
    wrong_.note("bad_family", offset);
    return af;
}

json::value Reader::address(std::size_t offset, std::uint8_t af) const {
    const auto text = [&](net::Family family) {
        return json::string(to_string(net::Address::read(&bytes_[offset], family)));
    };
    // Family 0 is that of a missing route's address.
    if (af == kAfInet || af == 0)
        return text(net::Family::inet);
    if (af == layout_.af_inet6)
        return text(net::Family::inet6);
    return json::string(to_hex(bytes_.subspan(offset, 16)));
}

json::object Reader::peer_block(std::size_t offset) {
    const std::uint8_t state = bytes_[offset + peer::state];
    if (state > kMaxPeerState)
        wrong_.note("bad_peer_state", offset + peer::state);
    return {{"state", state},
            {"seqlo", number<std::uint32_t>(offset + peer::seqlo)},
            {"seqhi", number<std::uint32_t>(offset + peer::seqhi)},
            {"seqdiff", number<std::uint32_t>(offset + peer::seqdiff)},
            {"max_win", number<std::uint16_t>(offset + peer::max_win)},
            {"mss", number<std::uint16_t>(offset + peer::mss)},
            {"wscale", bytes_[offset + peer::wscale]},
            {"scrub",
             {{"flags", number<std::uint16_t>(offset + peer::scrub_flags)},
              {"ttl", bytes_[offset + peer::scrub_ttl]},
              {"valid", bytes_[offset + peer::scrub_valid]},
              {"ts_mod", number<std::uint32_t>(offset + peer::scrub_ts_mod)}}}};
}

json::object Reader::key(std::size_t offset, std::uint8_t af) const {
    return {{"addr", {address(offset + layout_.addr0, af), address(offset + layout_.addr1, af)}},
            {"port", pair<std::uint16_t>(offset + layout_.port0)}};
}

json::object Reader::key_with_family(std::size_t offset, std::size_t family_of_state) {
    // Old senders leave the families in both keys 0.
    const std::uint8_t own = bytes_[offset + layout_.key_af], state = bytes_[family_of_state];
    if (own != bytes_[layout_.wire + layout_.key_af] || (own != 0 && own != state))
        wrong_.note("bad_family", offset + layout_.key_af);
    json::object out = key(offset, own == 0 ? state : own);
    out["rdomain"] = number<std::uint16_t>(offset + pfsync::openbsd::key::rdomain);
    out["af"] = own == kAfInet            ? json::value("inet")
                : own == layout_.af_inet6 ? json::value("inet6")
                                          : json::value(own);
    return out;
}

json::object Reader::socket_address(std::size_t offset) {
    json::object out{{"len", bytes_[offset + sockaddr::length]},
                     {"af", family(offset + sockaddr::family)}};
    const std::uint8_t af = bytes_[offset + sockaddr::family];
    if (af == kAfInet || af == layout_.af_inet6)
        out["addr"] = address(offset + (af == kAfInet ? sockaddr::addr4 : sockaddr::addr6), af);
    return out;
}

// 1 and 2 have names, and other values are invalid.
json::value Reader::one_of(std::size_t offset, std::string_view first, std::string_view second,
                           std::string_view error) {
    const std::uint8_t value = bytes_[offset];
    if (value == 1 && !first.empty())
        return json::string(first);
    if (value == 2 && !second.empty())
        return json::string(second);
    if (value != 1 && value != 2)
        wrong_.note(error, offset);
    return value;
}

json::value Reader::value(const Field& f) {
    const std::size_t at = f.offset;
    switch (f.kind) {
    case FieldKind::u8:
    case FieldKind::role:
        return bytes_[at];
    case FieldKind::u16:
        return number<std::uint16_t>(at);
    case FieldKind::u32:
        return number<std::uint32_t>(at);
    case FieldKind::u64:
        return number<std::uint64_t>(at);
    case FieldKind::i32:
        return number_i32(at);
    case FieldKind::u8_pair:
        return pair<std::uint8_t>(at);
    case FieldKind::u64_pair:
        return pair<std::uint64_t>(at);
    case FieldKind::i32_pair:
        return {number_i32(at), number_i32(at + 4)};
    case FieldKind::creatorid:
        if (number<std::uint32_t>(at) == 0)
            wrong_.note("bad_creatorid", at);
        [[fallthrough]];
    case FieldKind::hex32:
        return json::string(hex32(at));
    case FieldKind::hex64:
        return json::string(fmt::format("{:016x}", number<std::uint64_t>(at)));
    case FieldKind::ifname:
    case FieldKind::tag:
        return text(at, width(f.kind));
    case FieldKind::peer:
        return peer_block(at);
    case FieldKind::key40:
        return key_with_family(at, f.aux);
    case FieldKind::key36:
        return key(at, bytes_[f.aux]);
    case FieldKind::address:
        return address(at, bytes_[f.aux]);
    case FieldKind::route_family:
        return bytes_[at] == 0 ? json::value(0) : family(at);
    case FieldKind::family:
        return family(at);
    case FieldKind::direction:
        return one_of(at, "in", "out", "bad_direction");
    case FieldKind::bus_status:
        return one_of(at, {}, {}, "bad_bus_status");
    case FieldKind::timeout:
        if (bytes_[at] >= f.aux)
            wrong_.note("bad_timeout", at);
        return bytes_[at];
    case FieldKind::sockaddr:
        return socket_address(at);
    case FieldKind::name:
    case FieldKind::function:
        if (f.kind == FieldKind::name ? !state::Name::read(&bytes_[at])
                                      : !state::FunctionName::read(&bytes_[at]))
            wrong_.note("bad_name", at);
        return to_text_bytes(until_nul(bytes_.subspan(at, width(f.kind))));
    case FieldKind::bytes16:
        return json::string(to_hex(bytes_.subspan(at, width(f.kind))));
    case FieldKind::rest:
        return json::string(to_hex(bytes_.subspan(at)));
    case FieldKind::extension_tail:
        break; // handled by fields()
    }
    return nullptr;
}

json::object Reader::fields(std::span<const Field> list) {
    json::object out;
    for (const Field& f : list) {
        if (f.kind != FieldKind::extension_tail) {
            out[f.name] = value(f);
        } else if (const std::size_t end = std::size_t{f.offset} + f.aux;
                   bytes_.size() == end || (f.aux == extension::tail::size &&
                                            bytes_.size() == end + extension::more::size)) {
            Reader tail(layout_, bytes_.subspan(f.offset, f.aux), wrong_);
            out[f.name] = tail.fields(extension_tail_fields(f.aux));
        }
    }
    return out;
}

// The ICMP type is in place of one port, and the id in place of the source's port. FreeBSD before
// 15, whose states have one family for all, puts the id into both.
void Reader::check_icmp(const json::object& state, std::span<const Field> list) {
    const auto* proto = state.if_contains("proto");
    const auto* direction = state.if_contains("direction");
    if (proto == nullptr || direction == nullptr)
        return;
    if (!net::is_icmp(proto->to_number<std::uint8_t>()))
        return;
    const bool id_twice = layout_.icmp == pfsync::Layout::Icmp::id_twice;
    for (const Field& f : list) {
        if (f.kind != FieldKind::key40 && f.kind != FieldKind::key36)
            continue;
        const std::size_t type = f.offset + (*direction == "out" ? layout_.port0 : layout_.port1);
        const std::size_t id = f.offset + (*direction == "out" ? layout_.port1 : layout_.port0);
        const auto value = number<std::uint16_t>(type);
        if (value > 255 && !(id_twice && value == number<std::uint16_t>(id)))
            wrong_.note("bad_icmp_type", type);
    }
}

// Checks a zone for one direction only, as pfsync::read() does.
void check_zone(const json::object& state, std::size_t offset, Wrong& wrong) {
    namespace more = extension::more;
    const auto* tail = state.if_contains("tail");
    const auto* rest = state.if_contains("more");
    if (tail == nullptr || rest == nullptr)
        return;
    const auto number = [](const json::value& of, const char* name) {
        return of.at(name).to_number<unsigned>();
    };
    if ((number(*rest, "more_flags") & more::kReplyZone) != 0 &&
        (number(*rest, "reply_zone") == 0) == (number(*tail, "zone") == 0))
        wrong.note("bad_zone", offset + more::reply_zone);
}

} // namespace

std::string to_hex(Bytes bytes) {
    return fmt::format("{:02x}", fmt::join(bytes, ""));
}

json::object read_message(const Found& found, Bytes bytes, Wrong& wrong) {
    const pfsync::Layout& layout = found.dialect->state;
    Reader reader(layout, bytes, wrong);
    json::object out = reader.fields(found.message->fields);
    reader.check_icmp(out, found.message->fields);
    check_zone(out, layout.size + extension::tail::size, wrong);
    return out;
}

} // namespace encsync::decode
