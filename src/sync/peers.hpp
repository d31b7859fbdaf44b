// SPDX-License-Identifier: ISC
// All peers, by number, and what follows from them together: who is within reach, who is active.
// Owns the peers. Decides nothing.
#pragma once

#include "sync/context.hpp"
#include "sync/peer.hpp"
#include "sync/record.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace encsync::sync {

class Peers {
    using Places = std::vector<std::unique_ptr<Peer>>;

    // All places as peers.
    template<class P>
    struct Range {
        struct Iterator {
            using value_type = P;
            using difference_type = std::ptrdiff_t;
            Places::const_iterator at{};
            P& operator*() const { return **at; }
            Iterator& operator++() { return ++at, *this; }
            Iterator operator++(int) { return {at++}; }
            bool operator==(const Iterator&) const = default;
        };
        const Places& places;
        Iterator begin() const { return {places.begin()}; }
        Iterator end() const { return {places.end()}; }
    };

  public:
    explicit Peers(const Context& context) : ctx_(context) {}

    PeerId count() const { return static_cast<PeerId>(peers_.size()); }
    Peer& operator[](PeerId peer) { return *peers_[peer]; }
    const Peer& operator[](PeerId peer) const { return *peers_[peer]; }
    auto all() { return Range<Peer>{peers_}; }
    auto all() const { return Range<const Peer>{peers_}; }
    // In the place of its number, which is taken or the next one.
    void put(std::unique_ptr<Peer> peer);

    bool has(PeerId peer) const { return peer < count() && peers_[peer]->present; }
    bool any() const; // is present
    std::uint16_t mask() const { return static_cast<std::uint16_t>((1u << peers_.size()) - 1); }

    // ---- owners (local.hpp) ----------------------------------------------------------------
    bool is_peer(std::uint8_t owner) const { return owner < count(); }
    bool owner_alive(std::uint8_t owner) const {
        return owner == kHere || (is_peer(owner) && peers_[owner]->reachable());
    }
    std::uint32_t creatorid(std::uint8_t owner) const {
        return owner == kHere ? ctx_.options.creatorid : peers_[owner]->creatorid;
    }
    bool has_terms(std::uint8_t owner) const {
        return owner == kHere || peers_[owner]->protocol->has_terms();
    }

    // ---- roles -----------------------------------------------------------------------------
    // The active node within reach, we ourselves included; kUnclaimed if there is none or several.
    std::uint8_t sole_active() const;
    // The one active peer within reach, whatever our own role is; kNoPeer: none or several.
    PeerId sole_active_peer() const;
    // An owner whose flows are the one active node's.
    bool gives_way(std::uint8_t owner) const;
    // Packets of flows that are live here may pass another node, and no event would show it.
    bool others_may_serve() const;

  private:
    const Context& ctx_;
    Places peers_;
};

} // namespace encsync::sync
