// SPDX-License-Identifier: GPL-2.0-or-later
#include "ipsec/plugin/strongswan/sa_table.hpp"

#include <algorithm>
#include <cstring>

namespace encsync::plugin {
namespace {

bool is_outbound(const Sa& sa) {
    return sa.params.direction == esp::Direction::outbound;
}

} // namespace

bool SaTable::inbound(std::uint32_t spi, encsync_address_t& dst) const {
    for (const Sa& sa : sas_)
        if (!is_outbound(sa) && sa.params.spi == spi) {
            dst = sa.dst;
            return true;
        }
    return false;
}

std::size_t SaTable::in_use(PeerId peer) const {
    return static_cast<std::size_t>(std::count_if(sas_.begin(), sas_.end(), [&](const Sa& sa) {
        return is_outbound(sa) && sa.params.peer == peer && sa.hold_for == 0;
    }));
}

void SaTable::put_to_use(Sa& sa, Peers& peers, std::vector<Report>& reports) {
    const bool first = is_outbound(sa) && in_use(sa.params.peer) == 0;
    sa.hold_for = 0;
    reports.emplace_back(sa.params);
    sa.params.keymat = {};
    if (!is_outbound(sa))
        return;
    channel::PeerEvent event;
    event.peer = sa.params.peer;
    event.kind = first ? channel::PeerEventKind::up : channel::PeerEventKind::rekeyed;
    event.ike_spi_i = sa.ike_spi_i;
    event.ike_spi_r = sa.ike_spi_r;
    event.key = sa.peer_key;
    event.shown = sa.shown;
    event.ppk = sa.ppk;
    event.key_exchanges = sa.key_exchanges;
    peers.renewed(sa.params.peer);
    if (first)
        peers.up(sa.params.peer);
    reports.emplace_back(std::move(event));
}

std::vector<Report> SaTable::add(const Sa& sa, Peers& peers) {
    std::vector<Report> reports;
    Sa entry = sa;
    // Counted before it is in the table, so that the first is recognized as the first.
    if (!is_outbound(entry) || entry.hold_for == 0)
        put_to_use(entry, peers, reports);
    sas_.push_back(entry);
    return reports;
}

std::vector<Report> SaTable::release(std::uint32_t ike_unique_id, Peers& peers) {
    std::vector<Report> reports;
    for (Sa& sa : sas_)
        if (is_outbound(sa) && sa.hold_for == ike_unique_id && ike_unique_id != 0)
            put_to_use(sa, peers, reports);
    return reports;
}

std::vector<Report> SaTable::closed_by_peer(PeerId peer, std::uint32_t spi, Peers& peers) {
    for (Sa& sa : sas_)
        if (is_outbound(sa) && sa.params.peer == peer && sa.params.spi == spi)
            sa.closed_by_peer = true;
    return take_over(peer, peers);
}

std::vector<Report> SaTable::take_over(PeerId peer, Peers& peers) {
    std::vector<Report> reports;
    const auto next = std::find_if(sas_.begin(), sas_.end(), [&](const Sa& sa) {
        return sa.params.peer == peer && sa.hold_for != 0;
    });
    if (next != sas_.end() && in_use(peer) > 0)
        put_to_use(*next, peers, reports);
    return reports;
}

std::vector<Report> SaTable::remove(std::uint32_t spi, const encsync_address_t& dst, Peers& peers) {
    std::vector<Report> reports;
    const auto found = std::find_if(sas_.begin(), sas_.end(), [&](const Sa& sa) {
        return sa.params.spi == spi && sa.dst.ipv6 == dst.ipv6 &&
               std::memcmp(sa.dst.bytes, dst.bytes, dst.ipv6 ? 16 : 4) == 0;
    });
    if (found == sas_.end()) {
        reserved_.erase(spi); // it was reserved and never became an SA
        return reports;
    }
    if (is_outbound(*found) && found->hold_for == 0 && in_use(found->params.peer) == 1)
        reports = take_over(found->params.peer, peers);
    const esp::SaParams sa = found->params;
    const bool used = found->hold_for == 0, closed = found->closed_by_peer;
    if (!is_outbound(*found))
        reserved_.erase(spi);
    sas_.erase(found);
    if (!used)
        return reports; // it was never reported to encsyncd

    // The reason is reported before the event.
    if (sa.direction == esp::Direction::outbound && in_use(sa.peer) > 0) {
        peers.still_up(sa.peer);
    } else if (sa.direction == esp::Direction::outbound) {
        channel::PeerEvent event;
        event.peer = sa.peer;
        const bool unanswered = peers.down(sa.peer, Clock::now());
        if (closed) {
            event.kind = channel::PeerEventKind::peer_deleted;
            reports.emplace_back(event);
            event.text = "the peer closed its SAs";
        } else if (unanswered) {
            event.text = "it does not answer (dead peer detection)";
        }
        event.kind = channel::PeerEventKind::down;
        reports.emplace_back(std::move(event));
    }
    reports.emplace_back(channel::DeleteSa{sa.spi, sa.direction, sa.peer});
    return reports;
}

} // namespace encsync::plugin
