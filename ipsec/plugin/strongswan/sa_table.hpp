// SPDX-License-Identifier: GPL-2.0-or-later
//
// The SAs that charon has made, and the reports to encsyncd about them. The daemon always sends on
// the newest outbound SA, so the order of the reports ensures that a rekey loses no packet. No I/O;
// the caller holds the lock and sends the reports in their order.
#pragma once

#include "ipsec/plugin/channel.hpp"
#include "ipsec/plugin/strongswan/core.h"
#include "ipsec/plugin/strongswan/peers.hpp"

#include <set>
#include <variant>
#include <vector>

namespace encsync::plugin {

using Report = std::variant<channel::AddSa, channel::DeleteSa, channel::PeerEvent>;

struct Sa {
    esp::SaParams params; // keymat only while held back
    encsync_address_t dst{};
    std::uint32_t hold_for = 0; // an outbound SA waits for this IKE_SA; 0: in use
    bool closed_by_peer = false; // an outbound SA: the peer has sent a DELETE for it
    std::string ike_spi_i, ike_spi_r;
    std::vector<channel::Ed25519Public> peer_key; // as PeerEvent::key
    std::vector<channel::Shown> shown;            // as PeerEvent::shown
    std::string ppk, key_exchanges;               // as in PeerEvent
};

class SaTable {
  public:
    // False if the SPI is taken.
    bool reserve(std::uint32_t spi) { return reserved_.insert(spi).second; }
    bool inbound(std::uint32_t spi, encsync_address_t& dst) const;

    std::vector<Report> add(const Sa& sa, Peers& peers);
    // The peer has shown that it has the SAs made with this IKE_SA.
    std::vector<Report> release(std::uint32_t ike_unique_id, Peers& peers);
    // The peer deletes this outbound SA, as it does as soon as it has the next one (make before
    // break). So the DELETE shows that the peer has it, and sending must not pause. If it is the
    // last one, its removal is reported as closed by the peer.
    std::vector<Report> closed_by_peer(PeerId peer, std::uint32_t spi, Peers& peers);
    std::vector<Report> remove(std::uint32_t spi, const encsync_address_t& dst, Peers& peers);

  private:
    std::vector<Report> take_over(PeerId peer, Peers& peers);
    std::size_t in_use(PeerId peer) const; // outbound
    void put_to_use(Sa& sa, Peers& peers, std::vector<Report>& reports);

    std::vector<Sa> sas_; // a handful: the scan is cheaper than an index
    std::set<std::uint32_t> reserved_;
};

} // namespace encsync::plugin
