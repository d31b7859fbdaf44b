// SPDX-License-Identifier: ISC
#include "ipsec/plugin/channel.hpp"

#include <cstring>
#include <fmt/core.h>
#include <string_view>

namespace encsync::channel {
namespace {

// One walk over a message's fields serves both ways: a Writer encodes them, a Reader decodes them.
// So encoding and decoding always match.

class Writer {
  public:
    static constexpr bool kReading = false;

    explicit Writer(WipedBytes& out) : out_(out) {}
    bool ok() const { return reason_.empty(); }
    const std::string& reason() const { return reason_; }
    void refuse(std::string_view field, std::string_view why) {
        if (ok())
            reason_ = fmt::format("{}: {}", field, why);
    }

    template<std::unsigned_integral T>
    void number(T& value, std::string_view) {
        const std::size_t at = out_.size();
        out_.resize(at + sizeof(T));
        store_be(out_.data() + at, value);
    }
    void raw(std::uint8_t* data, std::size_t size, std::string_view) {
        out_.insert(out_.end(), data, data + size);
    }
    template<class Container>
    void bytes(Container& value, std::size_t limit, std::string_view field) {
        if (value.size() > limit)
            return refuse(field, "too long");
        auto size = static_cast<std::uint32_t>(value.size());
        number(size, field);
        out_.insert(out_.end(), value.begin(), value.end());
    }

  private:
    WipedBytes& out_;
    std::string reason_;
};

class Reader {
  public:
    static constexpr bool kReading = true;

    explicit Reader(Bytes in) : in_(in) {}
    bool ok() const { return reason_.empty(); }
    const std::string& reason() const { return reason_; }
    std::size_t left() const { return in_.size(); }
    void refuse(std::string_view field, std::string_view why) {
        if (ok())
            reason_ = fmt::format("{}: {}", field, why);
    }

    template<std::unsigned_integral T>
    void number(T& value, std::string_view field) {
        if (!has(sizeof(T), field))
            return;
        value = load_be<T>(in_.data());
        in_ = in_.subspan(sizeof(T));
    }
    void raw(std::uint8_t* data, std::size_t size, std::string_view field) {
        if (!has(size, field))
            return;
        std::memcpy(data, in_.data(), size);
        in_ = in_.subspan(size);
    }
    template<class Container>
    void bytes(Container& value, std::size_t limit, std::string_view field) {
        std::uint32_t size = 0;
        number(size, field);
        if (ok() && size > limit)
            refuse(field, "too long");
        if (!has(size, field))
            return;
        value.assign(in_.begin(), in_.begin() + size);
        in_ = in_.subspan(size);
    }

  private:
    bool has(std::size_t size, std::string_view field) {
        if (ok() && in_.size() < size)
            refuse(field, "truncated");
        return ok();
    }

    Bytes in_;
    std::string reason_;
};

template<class Archive>
void flag(Archive& a, bool& value, std::string_view field) {
    std::uint8_t byte = value ? 1 : 0;
    a.number(byte, field);
    if (byte > 1)
        a.refuse(field, "neither 0 nor 1");
    value = byte == 1;
}

template<class Archive, class Enum>
void choice(Archive& a, Enum& value, Enum last, std::string_view field) {
    auto byte = static_cast<std::uint8_t>(value);
    a.number(byte, field);
    // All enums of this channel count from 1.
    if (byte < 1 || byte > static_cast<std::uint8_t>(last))
        a.refuse(field, "unknown value");
    value = static_cast<Enum>(byte);
}

template<class Archive>
void text(Archive& a, std::string& value, std::string_view field) {
    a.bytes(value, kMaxText, field);
    // The other end passes these to C code, where a NUL would silently truncate them.
    if (value.find('\0') != std::string::npos)
        a.refuse(field, "NUL byte");
}

template<class Archive>
void seconds(Archive& a, std::chrono::seconds& value, std::string_view field) {
    auto count = static_cast<std::uint32_t>(value.count());
    a.number(count, field);
    value = std::chrono::seconds(count);
}

template<class Archive>
void peer_id(Archive& a, PeerId& value, bool may_be_none, std::string_view field) {
    a.number(value, field);
    if (value >= kMaxPeers && !(may_be_none && value == kNoPeer))
        a.refuse(field, "no such peer");
}

template<class Archive>
void address(Archive& a, net::Address& value, std::string_view field) {
    a.raw(value.bytes.data(), value.bytes.size(), field);
    bool v6 = value.is_v6();
    flag(a, v6, field);
    value.family = v6 ? net::Family::inet6 : net::Family::inet;
}

template<class Archive>
void endpoint(Archive& a, net::Endpoint& value, std::string_view field) {
    address(a, value.address, field);
    a.number(value.port, field);
}

template<class Archive, class Key>
void keys(Archive& a, std::vector<Key>& list, std::size_t limit, std::string_view field) {
    auto count = static_cast<std::uint8_t>(std::min<std::size_t>(list.size(), 255));
    a.number(count, field);
    if (count > limit)
        return a.refuse(field, "too many");
    if constexpr (Archive::kReading)
        list.resize(a.ok() ? count : 0);
    for (auto& key : list)
        a.raw(key.data(), key.size(), field);
}

template<class Archive>
void fields(Archive& a, Identity& m) {
    text(a, m.name, "identity.name");
    keys(a, m.seeds, kMaxSeeds, "identity.seeds");
    if (m.seeds.empty())
        a.refuse("identity.seeds", "none");
}

constexpr std::size_t kMaxCredentials = [] {
    std::size_t sum = 0;
    for (const ike::CredentialTraits& kind : ike::kCredentials)
        sum += kind.most;
    return sum;
}();

template<class Archive>
void credentials(Archive& a, std::vector<ike::Credential>& list) {
    auto count = static_cast<std::uint8_t>(std::min<std::size_t>(list.size(), 255));
    a.number(count, "peer.credentials");
    if constexpr (Archive::kReading) {
        if (count > kMaxCredentials)
            a.refuse("peer.credentials", "too many");
        list.resize(a.ok() ? count : 0);
    }
    std::array<std::size_t, ike::kCredentials.size()> seen{};
    for (ike::Credential& each : list) {
        choice(a, each.kind, ike::kLastCredential, "peer.credentials");
        if (!a.ok())
            return;
        const ike::CredentialTraits& kind = ike::traits(each.kind);
        a.bytes(each.data, kind.max, kind.field);
        if (each.data.size() < kind.min)
            a.refuse(kind.field, "too short");
        if (++seen[ike::index_of(each.kind)] > kind.most)
            a.refuse(kind.field, "too many");
    }
}

template<class Archive>
void fields(Archive& a, ike::Peer& m) {
    text(a, m.name, "peer.name");
    text(a, m.leftid, "peer.leftid");
    text(a, m.rightid, "peer.rightid");
    text(a, m.ike, "peer.ike");
    text(a, m.esp, "peer.esp");
    seconds(a, m.ikelifetime, "peer.ikelifetime");
    seconds(a, m.lifetime, "peer.lifetime");
    seconds(a, m.margintime, "peer.margintime");
    seconds(a, m.dpddelay, "peer.dpddelay");
    seconds(a, m.dpdtimeout, "peer.dpdtimeout");
    // Where there are none, none is used: all others are the same here.
    bool ppk_required = m.ppk == ike::PpkUse::required;
    flag(a, ppk_required, "peer.ppk_required");
    if constexpr (Archive::kReading)
        m.ppk = ppk_required ? ike::PpkUse::required : ike::PpkUse::optional;
    if (m.name.empty() || m.leftid.empty() || m.rightid.empty())
        a.refuse("peer.name", "empty name or id");
}

template<class Archive>
void fields(Archive& a, Peer& m) {
    peer_id(a, m.id, false, "peer.id");
    fields(a, static_cast<ike::Peer&>(m));
    endpoint(a, m.left, "peer.left");
    endpoint(a, m.right, "peer.right");
    a.number(m.natport, "peer.natport");
    address(a, m.inner_left, "peer.inner_left");
    address(a, m.inner_right, "peer.inner_right");
    credentials(a, m.auth.credentials);
    flag(a, m.transport_mode, "peer.transport_mode");
    flag(a, m.initiate, "peer.initiate");
    flag(a, m.next_key, "peer.next_key");
    if (m.left.address.family != m.right.address.family)
        a.refuse("peer.right", "left and right are of different families");
    if (m.inner_left.family != m.inner_right.family)
        a.refuse("peer.inner_right", "left and right are of different families");
}

template<class Archive>
void fields(Archive& a, RemovePeer& m) {
    peer_id(a, m.id, false, "remove_peer.id");
}

template<class Archive>
void fields(Archive& a, IkeIn& m) {
    endpoint(a, m.from, "ike_in.from");
    endpoint(a, m.to, "ike_in.to");
    a.bytes(m.datagram, kMaxDatagram, "ike_in.datagram");
}

template<class Archive>
void fields(Archive& a, Initiate& m) {
    peer_id(a, m.id, false, "initiate.id");
}

template<class Archive>
void fields(Archive& a, Rekey& m) {
    peer_id(a, m.id, false, "rekey.id");
    flag(a, m.reauthenticate, "rekey.reauthenticate");
}

template<class Archive>
void fields(Archive& a, Expire& m) {
    a.number(m.spi, "expire.spi");
}

template<class Archive>
void fields(Archive&, Shutdown&) {}

template<class Archive>
void fields(Archive& a, Hello& m) {
    a.number(m.version, "hello.version");
    text(a, m.charon_version, "hello.charon_version");
}

template<class Archive>
void fields(Archive& a, IkeOut& m) {
    endpoint(a, m.from, "ike_out.from");
    endpoint(a, m.to, "ike_out.to");
    a.bytes(m.datagram, kMaxDatagram, "ike_out.datagram");
}

template<class Archive>
void fields(Archive& a, AddSa& m) {
    a.number(m.spi, "add_sa.spi");
    peer_id(a, m.peer, false, "add_sa.peer");
    choice(a, m.direction, esp::Direction::outbound, "add_sa.direction");
    choice(a, m.cipher, esp::Cipher::chacha20poly1305, "add_sa.cipher");
    flag(a, m.esn, "add_sa.esn");
    flag(a, m.transport, "add_sa.transport");
    a.number(m.replay_window, "add_sa.replay_window");
    address(a, m.inner_src, "add_sa.inner_src");
    address(a, m.inner_dst, "add_sa.inner_dst");
    a.number(m.keymat_size, "add_sa.keymat");
    if (!a.ok())
        return;
    if (m.keymat_size != esp::key_size(m.cipher) + esp::kSaltSize)
        return a.refuse("add_sa.keymat", "not the cipher's size");
    a.raw(m.keymat.data(), m.keymat_size, "add_sa.keymat");
}

template<class Archive>
void fields(Archive& a, DeleteSa& m) {
    a.number(m.spi, "delete_sa.spi");
    choice(a, m.direction, esp::Direction::outbound, "delete_sa.direction");
    peer_id(a, m.peer, true, "delete_sa.peer");
}

template<class Archive>
void fields(Archive& a, PeerEvent& m) {
    peer_id(a, m.peer, true, "peer_event.peer");
    choice(a, m.kind, PeerEventKind::flooded, "peer_event.kind");
    text(a, m.text, "peer_event.text");
    text(a, m.ike_spi_i, "peer_event.ike_spi_i");
    text(a, m.ike_spi_r, "peer_event.ike_spi_r");
    keys(a, m.key, 1, "peer_event.key");
    text(a, m.ppk, "peer_event.ppk");
    text(a, m.key_exchanges, "peer_event.key_exchanges");
    keys(a, m.shown, 1, "peer_event.shown");
}

template<class Archive>
void fields(Archive& a, LogLine& m) {
    a.number(m.level, "log_line.level");
    if (m.level > 7)
        a.refuse("log_line.level", "unknown value");
    text(a, m.text, "log_line.text");
}

template<class Archive>
void fields(Archive& a, Ping& m) {
    a.number(m.cookie, "ping.cookie");
}

template<class Archive>
void fields(Archive& a, Pong& m) {
    a.number(m.cookie, "pong.cookie");
}

// A message's type on the wire is its place in the variant, from 1.
template<std::size_t I = 0>
Result<Message> decode_as(std::size_t index, Bytes body) {
    if constexpr (I == std::variant_size_v<Message>) {
        return Error{fmt::format("unknown message type {}", index + 1)};
    } else {
        if (index != I)
            return decode_as<I + 1>(index, body);
        std::variant_alternative_t<I, Message> m;
        Reader reader(body);
        fields(reader, m);
        if (reader.ok() && reader.left() > 0)
            reader.refuse("message", "trailing bytes");
        if (!reader.ok())
            return Error{reader.reason()};
        return Message{std::in_place_index<I>, std::move(m)};
    }
}

} // namespace

Result<WipedBytes> encode(const Message& message) {
    WipedBytes packet;
    packet.reserve(512);
    if (const auto* in = std::get_if<IkeIn>(&message))
        packet.reserve(in->datagram.size() + 128);
    if (const auto* out = std::get_if<IkeOut>(&message))
        packet.reserve(out->datagram.size() + 128);
    packet.push_back(static_cast<std::uint8_t>(message.index() + 1));

    Writer writer(packet);
    // The walk takes its fields by reference, as reading needs it; a Writer changes none.
    std::visit(
        [&](const auto& m) { fields(writer, const_cast<std::remove_cvref_t<decltype(m)>&>(m)); },
        message);
    if (!writer.ok())
        return Error{writer.reason()};
    return packet;
}

Result<Message> decode(Bytes packet) {
    if (packet.empty())
        return Error{"empty message"};
    if (packet.size() > kMaxMessage)
        return Error{"message too long"};
    if (packet[0] == 0)
        return Error{"unknown message type 0"};
    return decode_as(packet[0] - 1U, packet.subspan(1));
}

} // namespace encsync::channel
