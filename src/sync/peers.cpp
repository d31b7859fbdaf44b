// SPDX-License-Identifier: ISC
#include "sync/peers.hpp"

#include <algorithm>

namespace encsync::sync {

void Peers::put(std::unique_ptr<Peer> peer) {
    if (const PeerId place = peer->id; place < count())
        peers_[place] = std::move(peer);
    else
        peers_.push_back(std::move(peer));
}

bool Peers::any() const {
    return std::ranges::any_of(peers_, [](const auto& p) { return p->present; });
}

PeerId Peers::sole_active_peer() const {
    PeerId sole = kNoPeer;
    for (const Peer& p : all())
        if (p.reachable() && p.role == Role::active) {
            if (sole != kNoPeer)
                return kNoPeer;
            sole = p.id;
        }
    return sole;
}

std::uint8_t Peers::sole_active() const {
    std::uint8_t sole = ctx_.options.role == Role::active ? kHere : kUnclaimed;
    for (const Peer& p : all())
        if (p.reachable() && p.role == Role::active) {
            if (sole != kUnclaimed)
                return kUnclaimed;
            sole = p.id;
        }
    return sole;
}

bool Peers::gives_way(std::uint8_t owner) const {
    if (owner == kHere)
        return ctx_.options.role == Role::standby;
    return !owner_alive(owner) || peers_[owner]->role == Role::standby;
}

// A pf firewall has no role; only the administrator knows that it is standby.
bool Peers::others_may_serve() const {
    if (!any())
        return false;
    if (sole_active() != kHere)
        return true;
    return std::ranges::any_of(peers_, [](const auto& p) {
        return p->present &&
               (!p->reachable() || (p->protocol->has_terms() && p->role == Role::automatic));
    });
}

} // namespace encsync::sync
