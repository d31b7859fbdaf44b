// SPDX-License-Identifier: ISC
#include "daemon/directory.hpp"

#include "config/policy.hpp"

#include <algorithm>

namespace encsync::daemon {

Directory::Directory(std::vector<config::Conn> conns) : conns_(std::move(conns)) {
    for (const config::Conn& conn : conns_)
        selectors_.push_back(config::selectors_of(conn));
    list();
}

std::optional<PeerId> Directory::find(std::string_view name) const {
    for (const PeerId peer : all_)
        if (conns_[peer].name == name)
            return peer;
    return std::nullopt;
}

std::vector<config::Conn> Directory::conns() const {
    std::vector<config::Conn> out;
    for (const PeerId peer : all_)
        out.push_back(conns_[peer]);
    return out;
}

std::vector<PeerId> Directory::free_places() const {
    std::vector<PeerId> free;
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        if (!used(peer))
            free.push_back(peer);
    std::rotate(free.begin(), std::ranges::upper_bound(free, last_freed_), free.end());
    return free;
}

void Directory::put(PeerId peer, const config::Conn& conn) {
    if (conns_.size() <= peer) {
        conns_.resize(peer + 1U);
        selectors_.resize(peer + 1U);
    }
    conns_[peer] = conn;
    selectors_[peer] = config::selectors_of(conn);
    list();
}

void Directory::remove(PeerId peer) {
    conns_[peer] = {};
    selectors_[peer] = {};
    last_freed_ = peer;
    list();
}

void Directory::list() {
    all_.clear();
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        if (used(peer))
            all_.push_back(peer);
}

} // namespace encsync::daemon
