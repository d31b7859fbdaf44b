// SPDX-License-Identifier: ISC
// The path MTU to a peer: ICMP errors lower it, probes raise it.
#include "ipsec/link/internal.hpp"
#include "util/log.hpp"

namespace encsync::link {
namespace {

// An ICMP error is about a recent packet, not an old one.
constexpr std::uint32_t kRecent = 65536;

// Of one socket's peers; the kernel does not always give the scope with an error.
bool same(const Endpoint& a, const Endpoint& b) {
    return a.address().is_v6() && b.address().is_v6()
               ? a.address().to_v6().to_bytes() == b.address().to_v6().to_bytes()
               : a.address() == b.address();
}

} // namespace

// Our own kernel refused a packet. The error queue has the size that would fit, again for each
// packet in the rest of the batch.
void UserspaceLink::too_big_for_path(Peer& peer) {
    sockets_->read_errors(*peer.socket);
    if (peer.stats.mtu == peer.sealed_mtu)
        path_changed(peer, peer.path.too_big(Clock::now()));
}

void UserspaceLink::on_path_error(const UdpSocket& socket, const PathError& error) {
    for (const auto& peer : peers_) {
        if (!peer || peer->socket != &socket || !same(peer->endpoint, error.to))
            continue;
        const auto change = believe(error, *peer) ? peer->path.too_big(error.mtu, Clock::now())
                                                  : PathMtu::Change::refused;
        path_changed(*peer, change);
    }
}

// An ICMP error quotes the packet that it is about. An attacker who has not seen one does not know
// its SPI and sequence number (RFC 8899 section 4.6.1). For one who has, the floor limits the
// damage.
bool UserspaceLink::believe(const PathError& error, Peer& peer) {
    if (error.local)
        return true;
    if (error.quoted_size < 8)
        return false;
    const OutboundEntry* entry =
        sas_.outbound(peer.conf.id, load_be<std::uint32_t>(error.quoted.data()));
    if (entry == nullptr)
        return false;
    const auto next = static_cast<std::uint32_t>(entry->sa.next_number());
    const std::uint32_t ago = next - load_be<std::uint32_t>(error.quoted.data() + 4);
    return ago >= 1 && ago <= kRecent && ago < entry->sa.next_number();
}

void UserspaceLink::path_changed(Peer& peer, PathMtu::Change change) {
    const std::uint16_t before = std::exchange(peer.stats.mtu, peer.path.mtu());
    peer.stats.mtu_source = peer.path.source();
    peer.stats.mtu_answers = peer.path.answers();
    switch (change) {
    case PathMtu::Change::none:
        break;
    case PathMtu::Change::refused:
        peer.stats.icmp_refused++;
        return;
    case PathMtu::Change::lowered:
        peer.stats.mtu_lowered++;
        log::warning("peer {}: packets of {} bytes are too big for the path: mtu is {} now",
                     peer.conf.name, before, peer.stats.mtu);
        break;
    case PathMtu::Change::vanished:
        peer.stats.mtu_lowered++;
        log::warning("peer {}: packets of {} bytes vanish on the path, smaller ones arrive: mtu is "
                     "{} now, and what passes is searched",
                     peer.conf.name, before, peer.stats.mtu);
        break;
    case PathMtu::Change::raised:
        peer.stats.mtu_raised++;
        log::notice("peer {}: the path carries more: mtu is {} now", peer.conf.name,
                    peer.stats.mtu);
        break;
    }
    watch_paths();
}

// One timer for all peers, set to the earliest that is due.
void UserspaceLink::watch_paths() {
    std::optional<Clock::time_point> first;
    for (const auto& peer : peers_)
        if (const auto next = peer ? peer->path.next() : std::nullopt;
            next && (!first || *next < *first))
            first = next;
    path_timer_.cancel();
    if (!first)
        return;
    path_timer_.expires_at(*first);
    path_timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (error || alive.expired())
                return;
            for (const auto& peer : peers_) {
                const auto due = peer ? peer->path.due(Clock::now()) : PathMtu::Due{};
                if (due.change != PathMtu::Change::none)
                    path_changed(*peer, due.change);
                if (due.probe)
                    probe(*peer, *due.probe);
            }
            watch_paths();
        });
}

// A packet of the size to test, and a small one. They carry no states, so they may be lost.
void UserspaceLink::probe(Peer& peer, const PathMtu::Probe& probe) {
    const std::size_t largest = max_datagram(probe.size, peer.conf.left.is_v6());
    const std::size_t size = wire_size(esp::max_inner_size(largest), largest);
    switch (send_dummy(peer, size, {false, probe.large_id})) {
    case SendStatus::sent:
        peer.stats.mtu_probes++;
        if (peer.conf.probes)
            send_dummy(peer, wire_size(kProbeSize, largest), {false, probe.small_id});
        break;
    case SendStatus::too_big:
        peer.stats.mtu_probes++;
        sockets_->read_errors(*peer.socket);
        break;
    default:
        peer.path.put_off(Clock::now());
    }
}

SendStatus UserspaceLink::send_dummy(Peer& peer, std::size_t size, const PathProbe& content) {
    OutboundEntry* entry = sas_.outbound(peer.conf.id);
    std::vector<std::uint8_t> buffer(size);
    if (entry == nullptr || peer.blocked ||
        entry->sa.seal_dummy(buffer, size, write_probe(content)).verdict != esp::SealVerdict::ok)
        return SendStatus::would_block;
    entry->info.packets++;
    if (entry->sa.soft_limit_reached())
        report_expiry(peer, *entry);
    const MutableBytes packet(buffer);
    return peer.socket->send(peer.endpoint, {&packet, 1}).status;
}

// An answer is as small as a small probe, so there is no amplification.
void UserspaceLink::on_dummy(Peer& peer, Bytes content) {
    const auto probe = read_probe(content);
    if (!probe)
        return;
    if (probe->answer)
        path_changed(peer, peer.path.answered(probe->id, Clock::now()));
    else
        send_dummy(peer, wire_size(kProbeSize, esp::kMaxPadding + 1), {true, probe->id});
}

} // namespace encsync::link
