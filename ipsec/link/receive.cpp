// SPDX-License-Identifier: ISC
// From the wire to the receiver.
#include "ipsec/link/enc0.hpp"
#include "ipsec/link/internal.hpp"

#include <algorithm>

namespace encsync::link {

// Adds the IP header that transport mode leaves out. Valid until the next call.
Bytes UserspaceLink::with_header(const net::Address& src, const net::Address& dst, Bytes payload) {
    const std::size_t header = ip_header_size(src.is_v6());
    whole_.resize(header + payload.size());
    write_inner_header(whole_.data(), src, dst, payload.size());
    std::ranges::copy(payload, whole_.begin() + static_cast<std::ptrdiff_t>(header));
    return whole_;
}

void UserspaceLink::on_esp(MutableBytes packet) {
    const std::uint32_t spi = load_be<std::uint32_t>(packet.data());
    InboundEntry* entry = sas_.inbound(spi);
    if (entry == nullptr) {
        sockets_->stats().unknown_spi++;
        return sockets_->on_refused();
    }
    const PeerId id = entry->info.peer;
    PeerStats& stats = peers_[id]->stats; // SAs do not outlive their peer
    const esp::Opened opened = entry->sa.open(packet);
    switch (opened.verdict) {
    case esp::Verdict::ok:
        break;
    case esp::Verdict::dummy:
        stats.dummy++;
        on_dummy(*peers_[id], opened.inner);
        return;
    case esp::Verdict::replayed:
    case esp::Verdict::too_old:
        entry->info.replayed++;
        stats.refused[static_cast<std::size_t>(opened.verdict)]++;
        return;
    default:
        entry->info.failed++;
        stats.refused[static_cast<std::size_t>(opened.verdict)]++;
        return;
    }
    const Bytes inner = entry->info.transport
                            ? with_header(entry->inner_src, entry->inner_dst, opened.inner)
                            : without_padding(opened.inner);
    entry->info.packets++;
    entry->info.bytes += inner.size();
    stats.rx_packets++;
    stats.rx_bytes += inner.size();
    if (enc0_ != nullptr && enc0_->watched())
        enc0_->show(inner);
    // Last: the receiver may change SAs and peers.
    receiver_.on_packet(id, spi, inner);
}

} // namespace encsync::link
