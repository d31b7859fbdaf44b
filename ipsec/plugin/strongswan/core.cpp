// SPDX-License-Identifier: GPL-2.0-or-later
#include "ipsec/plugin/strongswan/core.h"

#include "ipsec/plugin/channel.hpp"
#include "ipsec/plugin/strongswan/half_open.hpp"
#include "ipsec/plugin/strongswan/peers.hpp"
#include "ipsec/plugin/strongswan/sa_table.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

namespace encsync::plugin {
namespace {

using channel::Message;

static_assert(ENCSYNC_NO_PEER == kNoPeer && ENCSYNC_MAX_PEERS == kMaxPeers);
static_assert(ENCSYNC_AES256GCM16 == static_cast<int>(esp::Cipher::aes256gcm16));
static_assert(ENCSYNC_CHACHA20POLY1305 == static_cast<int>(esp::Cipher::chacha20poly1305));
static_assert(ENCSYNC_PFSYNC == net::kPfsync);
static_assert(ENCSYNC_PPK == static_cast<int>(ike::CredentialKind::ppk) &&
              ike::kLastCredential == ike::CredentialKind::ppk);
static_assert(ENCSYNC_PPK_ID_SIZE == ike::kPpkId);
static_assert(ENCSYNC_FLOODED == static_cast<int>(channel::PeerEventKind::flooded));

struct Core {
    int fd = -1;
    encsync_orders_t orders{};
    std::mutex mutex; // of what follows
    Peers peers;
    SaTable sas;
    HalfOpen half_open;
    std::vector<std::uint8_t> inbox = std::vector<std::uint8_t>(channel::kMaxMessage + 1);
    Message received; // by the receiving thread only: what encsync_ike_t::data points into
};

Core& core() {
    // Never destroyed: charon's threads may outlive static destructors.
    static Core& instance = *new Core;
    return instance;
}

// IKE datagrams and log lines may be lost; messages about SAs and peers may not.
enum class Delivery { may_be_lost, sure };

bool send(const Message& message, Delivery delivery = Delivery::sure) {
    auto packet = channel::encode(message);
    if (!packet)
        return false;
    const int flags = MSG_NOSIGNAL | (delivery == Delivery::may_be_lost ? MSG_DONTWAIT : 0);
    ssize_t sent;
    do {
        sent = ::send(core().fd, packet->data(), packet->size(), flags);
    } while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

void log(std::uint8_t level, std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    if (text.size() > channel::kMaxText)
        text.resize(channel::kMaxText);
    send(channel::LogLine{level, std::move(text)}, Delivery::may_be_lost);
}

encsync_address_t address(const net::Address& in) {
    encsync_address_t out{};
    std::memcpy(out.bytes, in.bytes.data(), sizeof out.bytes);
    out.ipv6 = in.is_v6();
    return out;
}

net::Address address(const encsync_address_t& in) {
    net::Address out{{}, in.ipv6 ? net::Family::inet6 : net::Family::inet};
    std::memcpy(out.bytes.data(), in.bytes, out.bytes.size());
    return out;
}

// charon decides by the numbers 500 and 4500 whether a datagram has a non-ESP marker and when to
// float to the other port, so it sees these two, whatever ports encsyncd really uses.
std::uint16_t to_charon(std::uint16_t port, std::uint16_t ike, std::uint16_t natt) {
    return port == ike ? 500 : port == natt ? 4500 : port;
}
std::uint16_t from_charon(std::uint16_t port, std::uint16_t ike, std::uint16_t natt) {
    return port == 500 ? ike : port == 4500 ? natt : port;
}

void report(const std::vector<Report>& reports) {
    for (const Report& report : reports)
        send(std::visit([](const auto& m) { return Message(m); }, report));
}

// ---- orders --------------------------------------------------------------------------------

std::string name_of(PeerId id) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(id);
    return peer ? peer->name : std::string{};
}

void carry_out(const channel::Identity& m) {
    const bool rotating = m.seeds.size() > 1;
    core().orders.set_identity(m.name.c_str(), m.seeds.front().data(),
                               rotating ? m.seeds[1].data() : nullptr);
}

void carry_out(channel::Peer& m) {
    PeerChange change;
    {
        std::lock_guard lock(core().mutex);
        change = core().peers.set(m);
    }
    const auto seconds = [](std::chrono::seconds span) {
        return static_cast<std::uint32_t>(span.count());
    };
    std::vector<encsync_credential_t> credentials;
    for (const ike::Credential& each : m.auth.credentials)
        credentials.push_back({static_cast<encsync_credential_kind_t>(each.kind), each.data.data(),
                               each.data.size()});
    const encsync_peer_t peer{
        .id = m.id,
        .name = m.name.c_str(),
        .leftid = m.leftid.c_str(),
        .rightid = m.rightid.c_str(),
        .left = address(m.left.address),
        .right = address(m.right.address),
        .inner_left = address(m.inner_left),
        .inner_right = address(m.inner_right),
        .credentials = credentials.data(),
        .credential_count = credentials.size(),
        .ike = m.ike.c_str(),
        .esp = m.esp.c_str(),
        .ikelifetime = seconds(m.ikelifetime),
        .lifetime = seconds(m.lifetime),
        .margintime = seconds(m.margintime),
        .dpddelay = seconds(m.dpddelay),
        .transport_mode = m.transport_mode,
        .ppk_required = m.ppk == ike::PpkUse::required,
        .next_key = m.next_key,
    };
    if (!change.old_name.empty() && change.old_name != m.name)
        core().orders.remove_peer(m.id, change.old_name.c_str());
    core().orders.set_peer(&peer);
    if (change.restart)
        core().orders.terminate(m.name.c_str());
    else if (change.withdrawn)
        core().orders.cut(m.name.c_str());
}

void carry_out(const channel::RemovePeer& m) {
    const std::string name = name_of(m.id);
    if (name.empty())
        return;
    core().orders.remove_peer(m.id, name.c_str());
    core().orders.terminate(name.c_str());
    std::lock_guard lock(core().mutex);
    core().peers.remove(m.id);
}

void carry_out(const channel::Initiate& m) {
    if (const std::string name = name_of(m.id); !name.empty())
        core().orders.initiate(name.c_str());
}

void carry_out(const channel::Rekey& m) {
    if (const std::string name = name_of(m.id); !name.empty())
        core().orders.rekey(name.c_str(), m.reauthenticate);
}

void carry_out(const channel::Expire& m) {
    encsync_address_t dst{};
    {
        std::lock_guard lock(core().mutex);
        if (!core().sas.inbound(m.spi, dst))
            return;
    }
    core().orders.expire(m.spi, &dst);
}

void carry_out(const channel::Shutdown&) {
    core().orders.shutdown();
}

void carry_out(const channel::Ping& m) {
    core().orders.ping(m.cookie);
}

template<class M>
void carry_out(const M&) {
    log(4, "refused a message that only the plugin sends");
}

// The peer determines which ports stand for 500 and 4500; datagrams from other ports are dropped.
bool take_datagram(const channel::IkeIn& m, encsync_ike_t& ike) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(core().peers.by_address(address(m.from.address)));
    if (!peer)
        return false;
    ike.from = {address(m.from.address), to_charon(m.from.port, peer->right.port, peer->natport)};
    ike.to = {address(m.to.address), to_charon(m.to.port, peer->left.port, peer->natport)};
    ike.data = m.datagram.data();
    ike.len = m.datagram.size();
    return true;
}

std::string hex(std::uint64_t spi) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string out(16, '0');
    for (std::size_t i = 0; i < 16; i++)
        out[15 - i] = kDigits[(spi >> (4 * i)) & 15];
    return out;
}

} // namespace
} // namespace encsync::plugin

using namespace encsync;
using namespace encsync::plugin;

int encsync_core_open(void) {
    const char* text = ::getenv("ENCSYNC_CHANNEL");
    char* end = nullptr;
    const long fd = text ? std::strtol(text, &end, 10) : -1;
    int type = 0;
    socklen_t size = sizeof type;
    if (!text || end == text || *end != '\0' || fd < 3 || fd > 1 << 20 ||
        ::getsockopt(static_cast<int>(fd), SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        type != SOCK_SEQPACKET)
        return -1;
    // Keys live in this process: no core dump, no ptrace by others of the same user.
    ::prctl(PR_SET_DUMPABLE, 0);
    ::unsetenv("ENCSYNC_CHANNEL");
    core().fd = static_cast<int>(fd);
    return core().fd;
}

void encsync_core_set_orders(const encsync_orders_t* orders) {
    core().orders = *orders;
}

void encsync_core_hello(const char* version) {
    send(channel::Hello{channel::kVersion, version});
}

void encsync_core_pong(uint32_t cookie) {
    send(channel::Pong{cookie});
}

void encsync_core_log(uint8_t level, const char* text) {
    log(level, text);
}

encsync_received_t encsync_core_receive(encsync_ike_t* ike) {
    auto& inbox = core().inbox;
    const ssize_t size = ::recv(core().fd, inbox.data(), inbox.size(), MSG_DONTWAIT);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? ENCSYNC_NOTHING : ENCSYNC_CLOSED;
    if (size == 0)
        return ENCSYNC_CLOSED;

    const auto length = static_cast<std::size_t>(size);
    auto message = channel::decode(Bytes(inbox.data(), length));
    ::explicit_bzero(inbox.data(), length);
    if (!message) {
        log(4, "refused a message of encsyncd: " + message.error().text);
        return ENCSYNC_NOTHING;
    }
    core().received = std::move(*message);
    if (auto* datagram = std::get_if<channel::IkeIn>(&core().received))
        return take_datagram(*datagram, *ike) ? ENCSYNC_DATAGRAM : ENCSYNC_NOTHING;
    std::visit([](auto& m) { carry_out(m); }, core().received);
    core().received = Message{}; // there may be secrets in it
    return ENCSYNC_NOTHING;
}

bool encsync_core_send_ike(const encsync_endpoint_t* from, const encsync_endpoint_t* to,
                           const uint8_t* data, size_t len) {
    channel::IkeOut out;
    {
        std::lock_guard lock(core().mutex);
        const channel::Peer* peer = core().peers.find(core().peers.by_address(to->address));
        if (!peer)
            return false;
        out.from.port = from_charon(from->port, peer->left.port, peer->natport);
        out.to.port = from_charon(to->port, peer->right.port, peer->natport);
    }
    out.from.address = address(from->address);
    out.to.address = address(to->address);
    out.datagram.assign(data, data + len);
    return send(out, Delivery::may_be_lost);
}

uint8_t encsync_core_peer_by_name(const char* name) {
    std::lock_guard lock(core().mutex);
    return core().peers.by_name(name);
}

uint8_t encsync_core_peer_by_address(const encsync_address_t* right) {
    std::lock_guard lock(core().mutex);
    return core().peers.by_address(*right);
}

bool encsync_core_left(uint8_t id, encsync_address_t* left) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(id);
    if (peer)
        *left = address(peer->left.address);
    return peer != nullptr;
}

bool encsync_core_transport(uint8_t id) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(id);
    return peer && peer->transport_mode;
}

size_t encsync_core_credentials(uint8_t id, encsync_credential_kind_t kind) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(id);
    return peer ? peer->auth.count(static_cast<ike::CredentialKind>(kind)) : 0;
}

bool encsync_core_trusts(uint8_t id, const uint8_t key[ENCSYNC_KEY_SIZE]) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(id);
    return peer && peer->auth.has(ike::CredentialKind::trusted, {key, ENCSYNC_KEY_SIZE});
}

void encsync_core_ppk_text(const uint8_t id[ENCSYNC_PPK_ID_SIZE],
                           char text[ENCSYNC_PPK_TEXT_SIZE]) {
    const std::string all = ppk_text({id, ENCSYNC_PPK_ID_SIZE});
    std::memcpy(text, all.c_str(), ENCSYNC_PPK_TEXT_SIZE);
}

bool encsync_core_ppk(uint8_t id, char text[ENCSYNC_PPK_TEXT_SIZE]) {
    std::lock_guard lock(core().mutex);
    const auto& ids = core().peers.ppks(id);
    if (ids.empty())
        return false;
    std::memcpy(text, ids.front().c_str(), ENCSYNC_PPK_TEXT_SIZE);
    return true;
}

bool encsync_core_has_ppk(uint8_t id, const char* text) {
    std::lock_guard lock(core().mutex);
    const auto& ids = core().peers.ppks(id);
    return std::find(ids.begin(), ids.end(), text) != ids.end();
}

bool encsync_core_ppk_required(uint8_t id) {
    std::lock_guard lock(core().mutex);
    const channel::Peer* peer = core().peers.find(id);
    return peer && peer->ppk == ike::PpkUse::required;
}

bool encsync_core_goes_first(uint8_t id) {
    std::lock_guard lock(core().mutex);
    return core().peers.goes_first(id);
}

uint32_t encsync_core_renewals(uint8_t id) {
    std::lock_guard lock(core().mutex);
    return core().peers.renewals(id);
}

uint32_t encsync_core_new_spi(void) {
    std::lock_guard lock(core().mutex);
    std::uint32_t spi = 0;
    do {
        if (::getrandom(&spi, sizeof spi, 0) != static_cast<ssize_t>(sizeof spi))
            return 0;
        // RFC 4303 2.1 reserves 1 to 255. 0xffffffff is not used either.
    } while (spi < 256 || spi == 0xffffffff || !core().sas.reserve(spi));
    return spi;
}

void encsync_core_add_sa(const encsync_sa_t* sa, uint32_t hold_for) {
    Sa entry;
    entry.params.spi = sa->spi;
    entry.params.peer = sa->peer;
    entry.params.direction = sa->inbound ? esp::Direction::inbound : esp::Direction::outbound;
    entry.params.cipher = static_cast<esp::Cipher>(sa->cipher);
    entry.params.esn = sa->esn;
    entry.params.transport = sa->transport;
    entry.params.replay_window = sa->replay_window;
    entry.params.inner_src = address(sa->inner_src);
    entry.params.inner_dst = address(sa->inner_dst);
    entry.params.keymat_size =
        static_cast<std::uint8_t>(std::min(sa->keymat_len, entry.params.keymat.size()));
    std::memcpy(entry.params.keymat.data(), sa->keymat, entry.params.keymat_size);
    entry.dst = sa->dst;
    entry.hold_for = hold_for;
    entry.ike_spi_i = hex(sa->ike_spi_i);
    entry.ike_spi_r = hex(sa->ike_spi_r);
    if (sa->ppk)
        entry.ppk = std::string_view(sa->ppk).substr(kPpkPrefix.size());
    entry.key_exchanges = sa->key_exchanges;
    if (sa->peer_key)
        std::copy_n(sa->peer_key, ENCSYNC_KEY_SIZE, entry.peer_key.emplace_back().begin());
    if (sa->shown)
        std::copy_n(sa->shown, ENCSYNC_KEY_SIZE, entry.shown.emplace_back().begin());

    std::lock_guard lock(core().mutex);
    report(core().sas.add(entry, core().peers));
}

void encsync_core_release(uint32_t ike_unique_id) {
    std::lock_guard lock(core().mutex);
    report(core().sas.release(ike_unique_id, core().peers));
}

void encsync_core_del_sa(uint32_t spi, const encsync_address_t* dst) {
    std::lock_guard lock(core().mutex);
    report(core().sas.remove(spi, *dst, core().peers));
}

bool encsync_core_has_inbound(uint32_t spi) {
    std::lock_guard lock(core().mutex);
    encsync_address_t dst;
    return core().sas.inbound(spi, dst);
}

void encsync_core_closed_by_peer(uint8_t id, uint32_t spi) {
    std::lock_guard lock(core().mutex);
    // Before our response is sent: after it, the peer stops receiving on the old SA.
    report(core().sas.closed_by_peer(id, spi, core().peers));
}

bool encsync_core_due(uint8_t id, bool connecting, bool established) {
    std::lock_guard lock(core().mutex);
    return core().peers.due(id, connecting, established, Clock::now());
}

bool encsync_core_half_open(uint8_t id, const encsync_ike_spis_t* begun,
                            encsync_ike_spis_t* victim) {
    std::uint32_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != static_cast<ssize_t>(sizeof random))
        random = 0; // the first place is the one that is taken
    std::optional<IkeSpis> out;
    {
        std::lock_guard lock(core().mutex);
        if (id < kMaxPeers)
            out = core().half_open.begin(id, {begun->spi_i, begun->spi_r}, random);
    }
    if (!out)
        return false;
    *victim = {out->initiator, out->responder};
    encsync_core_event(id, ENCSYNC_FLOODED,
                       "somebody begins negotiations from its address and does not finish them; "
                       "one that succeeds may take several attempts",
                       0, 0);
    return true;
}

void encsync_core_not_half_open(const encsync_ike_spis_t* spis) {
    std::lock_guard lock(core().mutex);
    core().half_open.end({spis->spi_i, spis->spi_r});
}

void encsync_core_event(uint8_t id, encsync_event_t kind, const char* text, uint64_t ike_spi_i,
                        uint64_t ike_spi_r) {
    channel::PeerEvent event;
    event.peer = id;
    event.kind = static_cast<channel::PeerEventKind>(kind);
    event.text = text ? text : "";
    std::replace(event.text.begin(), event.text.end(), '\n', ' ');
    if (event.text.size() > channel::kMaxText)
        event.text.resize(channel::kMaxText);
    if (ike_spi_i != 0) {
        event.ike_spi_i = hex(ike_spi_i);
        event.ike_spi_r = hex(ike_spi_r);
    }
    std::lock_guard lock(core().mutex);
    if (event.kind == channel::PeerEventKind::unreachable)
        core().peers.unanswered(id);
    // encsyncd counts repeats, but an attacker can trigger them at a high rate.
    if (core().peers.worth_reporting(event, Clock::now()))
        send(event);
    else if (event.kind != channel::PeerEventKind::connecting &&
             event.kind != channel::PeerEventKind::flooded)
        send(event, Delivery::may_be_lost);
}
