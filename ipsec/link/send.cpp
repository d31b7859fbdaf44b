// SPDX-License-Identifier: ISC
// From the sender's payload to the wire.
#include "ipsec/link/enc0.hpp"
#include "ipsec/link/internal.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cassert>

namespace encsync::link {

MutableBytes UserspaceLink::acquire(PeerId id) {
    Peer* peer = find(id);
    if (peer == nullptr)
        return {};
    OutboundEntry* entry = sas_.outbound(id);
    if (entry != nullptr && !peer->blocked && peer->committed > 0 &&
        (peer->committed == kMaxSegments || peer->inner_ipv6 != entry->inner_src.is_v6()))
        flush(*peer);
    peer->room = 0;
    if (entry == nullptr || entry->sa.exhausted() || peer->blocked) {
        peer->refused = true;
        return {};
    }
    peer->inner_ipv6 = entry->inner_src.is_v6();
    peer->room = max_payload(peer->stats.mtu, peer->conf.left.is_v6(), peer->inner_ipv6,
                             peer->conf.transport);
    return {peer->slot(peer->committed) + esp::kHeaderSize + peer->inner_header(), peer->room};
}

void UserspaceLink::commit(PeerId id, std::size_t size) {
    Peer* peer = find(id);
    if (peer == nullptr || size == 0)
        return;
    assert(size <= peer->room);
    if (size > peer->room) // no slot is acquired, or the caller wrote beyond it
        return;
    peer->room = 0;
    peer->inner_sizes[peer->committed++] = peer->inner_header() + size;
}

void UserspaceLink::flush() {
    for (PeerId id = 0; id < kMaxPeers; id++)
        if (Peer* peer = find(id); peer != nullptr && peer->committed > 0)
            flush(*peer);
}

void UserspaceLink::flush(Peer& peer) {
    if (peer.blocked)
        return;
    seal(peer);
    send(peer);
}

// Seals the committed packets with the newest SA. Packets that cannot be sealed are counted and
// dropped: nothing ever leaves in clear.
void UserspaceLink::seal(Peer& peer) {
    OutboundEntry* entry = sas_.outbound(peer.conf.id);
    if (entry == nullptr || entry->inner_src.is_v6() != peer.inner_ipv6) {
        peer.stats.no_sa += peer.committed;
        peer.clear_batch();
        return;
    }
    peer.sealed_mtu = peer.stats.mtu;
    const std::size_t largest = max_datagram(peer.sealed_mtu, peer.conf.left.is_v6());
    plan_runs({peer.inner_sizes.data(), peer.committed}, largest, peer.runs);
    const std::size_t header = peer.inner_header();
    const bool watched = enc0_ != nullptr && enc0_->watched();
    for (std::size_t r = 0; r < peer.runs.size(); r++) {
        Run& run = peer.runs[r];
        for (std::size_t i = run.first; i < run.first + run.count; i++) {
            std::uint8_t* slot = peer.slot(i);
            const std::size_t inner_size = peer.inner_sizes[i];
            const Bytes inner{slot + esp::kHeaderSize, inner_size};
            if (header != 0)
                write_inner_header(slot + esp::kHeaderSize, entry->inner_src, entry->inner_dst,
                                   inner_size - header);
            if (watched)
                enc0_->show(header != 0 ? inner
                                        : with_header(entry->inner_src, entry->inner_dst, inner));
            const bool last = i + 1 == run.first + run.count;
            const esp::Sealed sealed =
                entry->sa.seal({slot, peer.slot_size}, inner_size,
                               last ? wire_size(inner_size, largest) : run.wire_size);
            if (sealed.verdict != esp::SealVerdict::ok) {
                (sealed.verdict == esp::SealVerdict::sequence_exhausted
                     ? peer.stats.sequence_exhausted
                     : peer.stats.seal_failed) += peer.committed - i;
                run.count = i - run.first;
                peer.runs.resize(run.count == 0 ? r : r + 1);
                report_expiry(peer, *entry);
                return;
            }
            peer.sealed[i] = {slot, sealed.size};
            entry->info.packets++;
            entry->info.bytes += inner_size;
        }
    }
    if (entry->sa.soft_limit_reached())
        report_expiry(peer, *entry);
}

void UserspaceLink::send(Peer& peer) {
    while (peer.next_run < peer.runs.size()) {
        Run& run = peer.runs[peer.next_run];
        const SendResult result =
            peer.socket->send(peer.endpoint, {&peer.sealed[run.first], run.count});
        for (std::size_t i = 0; i < result.packets; i++)
            peer.stats.tx_bytes += peer.inner_sizes[run.first + i];
        if (result.packets > 0 && peer.path.sent(peer.outer_size(peer.sealed[run.first].size())))
            watch_paths();
        peer.stats.tx_packets += result.packets;
        peer.stats.tx_calls += result.calls;
        run.first += result.packets;
        run.count -= result.packets;
        switch (result.status) {
        case SendStatus::sent:
            break;
        case SendStatus::would_block:
            peer.blocked = true;
            peer.stats.blocked++;
            sockets_->wait_for_room(*peer.socket, false);
            return;
        case SendStatus::queue_full:
            peer.blocked = true;
            peer.stats.blocked++;
            // Some packets may be sent twice; the peer's replay window drops the second.
            sockets_->wait_for_room(*peer.socket, true);
            return;
        case SendStatus::too_big:
            peer.stats.too_big += run.count;
            too_big_for_path(peer);
            break;
        case SendStatus::unreachable:
            peer.stats.unreachable += run.count;
            break;
        case SendStatus::failed:
            peer.stats.not_sent += run.count;
            peer.stats.last_errno = result.error;
            break;
        }
        peer.next_run++;
    }
    peer.clear_batch();
}

void UserspaceLink::on_room(const UdpSocket& socket) {
    for (PeerId id = 0; id < kMaxPeers; id++) {
        Peer* peer = find(id);
        if (peer == nullptr || peer->socket != &socket || !peer->blocked)
            continue;
        peer->blocked = false;
        send(*peer);
        if (!peer->blocked)
            report_writable(*peer);
    }
}

void UserspaceLink::report_writable(Peer& peer) {
    if (std::exchange(peer.refused, false))
        receiver_.on_writable(peer.conf.id);
}

void UserspaceLink::report_expiry(Peer& peer, OutboundEntry& entry) {
    if (std::exchange(entry.expiry_reported, true) || !hooks_.on_expire)
        return;
    // Deferred: a hook may change SAs, and the caller is using one.
    boost::asio::post(io_, [this, alive = std::weak_ptr(alive_), id = peer.conf.id] {
        const std::uint32_t spi = alive.expired() ? 0 : sas_.newest_inbound(id);
        if (spi != 0)
            hooks_.on_expire(id, spi);
    });
}

} // namespace encsync::link
