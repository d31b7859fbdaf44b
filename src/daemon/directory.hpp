// SPDX-License-Identifier: ISC
// Who peer number N is: the conns that are in use, by PeerId. A reload removes a conn and leaves
// its place free; a new conn gets a free place.
//
//     for (PeerId peer : directory.all())
//         log::info("{}", directory.name(peer));
#pragma once

#include "config/config.hpp"
#include "policy/guard.hpp"
#include "util/peer_id.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::daemon {

class Directory {
  public:
    // In the order of the configuration, at most kMaxPeers.
    explicit Directory(std::vector<config::Conn> conns);

    const std::vector<PeerId>& all() const { return all_; } // ascending
    bool used(PeerId peer) const { return peer < conns_.size() && !conns_[peer].name.empty(); }
    // Of a peer in use.
    const config::Conn& conn(PeerId peer) const { return conns_[peer]; }
    const std::string& name(PeerId peer) const { return conns_[peer].name; }
    const policy::Selectors& selectors(PeerId peer) const { return selectors_[peer]; }

    std::optional<PeerId> find(std::string_view name) const;
    std::vector<config::Conn> conns() const; // those in use
    // In the order in which they are to be used: the place that was freed last, whose SAs charon
    // may still be closing, is at the end.
    std::vector<PeerId> free_places() const;

    void put(PeerId peer, const config::Conn& conn);
    void remove(PeerId peer);

  private:
    void list();

    std::vector<config::Conn> conns_; // by PeerId; without a name: a free place
    std::vector<policy::Selectors> selectors_;
    std::vector<PeerId> all_;
    PeerId last_freed_ = kMaxPeers;
};

} // namespace encsync::daemon
