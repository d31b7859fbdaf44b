#include "pfsync/parse.hpp"

#include <algorithm>

namespace encsync::pfsync {

using namespace openbsd;

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
    }
    return "unknown";
}

std::size_t message_size(std::uint8_t action) {
    switch (static_cast<Action>(action)) {
    case Action::clr:
        return kClrSize;
    case Action::ins_ack:
    case Action::upd_req:
    case Action::del_c:
        return kIdSize;
    case Action::upd_c:
        return kUpdCSize;
    case Action::ins:
    case Action::upd:
    case Action::del:
        return kStateSize;
    case Action::bus:
        return kBusSize;
    case Action::tdb:
        return kTdbSize;
    case Action::oins:
    case Action::oupd:
    case Action::ins_f:
    case Action::del_f:
    case Action::otdb:
    case Action::eof:
        break;
    }
    return 0;
}

Parser::Parser(Bytes payload) {
    if (payload.size() < kHeaderSize) {
        fault_ = Fault::short_header;
        return;
    }
    if (payload[header::version] != kVersion) {
        fault_ = Fault::bad_version;
        return;
    }
    const std::size_t length = load_be<std::uint16_t>(&payload[header::length]);
    if (length < kHeaderSize || length > payload.size()) {
        fault_ = Fault::bad_length;
        return;
    }
    payload_ = payload.first(length);
    next_ = kHeaderSize;
}

const Section* Parser::next() {
    if (fault_ != Fault::none)
        return nullptr;
    offset_ = next_;
    const Bytes rest = payload_.subspan(offset_);
    if (rest.empty())
        return nullptr;
    if (rest.size() < kSubheaderSize) {
        fault_ = Fault::short_subheader;
        return nullptr;
    }
    section_.action = rest[subheader::action];
    section_.stride = static_cast<std::uint16_t>(rest[subheader::words] * 4);
    section_.count = load_be<std::uint16_t>(&rest[subheader::count]);
    // 65,535 times 1,020 fits.
    const std::size_t size = std::size_t{section_.count} * section_.stride;
    if (section_.count == 0)
        fault_ = Fault::zero_count;
    else if (section_.stride == 0)
        fault_ = Fault::zero_stride;
    else if (size > rest.size() - kSubheaderSize)
        fault_ = Fault::section_overrun;
    if (fault_ != Fault::none)
        return nullptr;
    section_.body = rest.subspan(kSubheaderSize, size);
    next_ = offset_ + kSubheaderSize + size;
    return &section_;
}

Fault check(Bytes payload) {
    Parser parser(payload);
    while (parser.next() != nullptr) {
    }
    return parser.fault();
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

Fault read(Bytes message, Tdb& out) {
    if (message.size() < kTdbSize)
        return Fault::short_message;
    const Bytes to = message.subspan(tdb::sockaddr, bsd_sockaddr::size6);
    out.dst = {};
    if (to[bsd_sockaddr::family] == kAfInet) {
        out.family = state::Family::inet;
        std::memcpy(out.dst.bytes.data(), &to[bsd_sockaddr::addr4], 4);
    } else if (to[bsd_sockaddr::family] == kAfInet6) {
        out.family = state::Family::inet6;
        std::memcpy(out.dst.bytes.data(), &to[bsd_sockaddr::addr6], 16);
    } else {
        return Fault::bad_family;
    }
    out.spi = load_be<std::uint32_t>(&message[tdb::spi]);
    out.rpl = load_be<std::uint64_t>(&message[tdb::rpl]);
    out.bytes = load_be<std::uint64_t>(&message[tdb::bytes]);
    out.sproto = message[tdb::sproto];
    out.rdomain = load_be<std::uint16_t>(&message[tdb::rdomain]);
    return Fault::none;
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

} // namespace encsync::pfsync
