// SPDX-License-Identifier: ISC
// The engine's link when some peers are behind the tunnel and others on cables.
#pragma once

#include "ipsec/link/cable.hpp"
#include "ipsec/link/tunnel.hpp"

namespace encsync::link {

class Links final : public sync::Link {
  public:
    // Both outlive it.
    Links(Tunnel& for_ipsec, Cables& for_cables) : tunnel(for_ipsec), cables(for_cables) {}

    MutableBytes acquire(PeerId peer) override { return of(peer).acquire(peer); }
    void commit(PeerId peer, std::size_t size) override { of(peer).commit(peer, size); }
    void flush() override {
        tunnel.flush();
        cables.flush();
    }

    void remove_peer(PeerId peer) {
        tunnel.remove_peer(peer);
        cables.remove_peer(peer);
    }
    const PeerStats* peer_stats(PeerId peer) const {
        const PeerStats* stats = cables.peer_stats(peer);
        return stats != nullptr ? stats : tunnel.peer_stats(peer);
    }

    Tunnel& tunnel;
    Cables& cables;

  private:
    sync::Link& of(PeerId peer) {
        return cables.has(peer) ? static_cast<sync::Link&>(cables) : tunnel;
    }
};

} // namespace encsync::link
