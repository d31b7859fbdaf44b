// SPDX-License-Identifier: ISC
// Peers that come and go while the others go on.
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"
#include "sync/marks.hpp"

#include <algorithm>
#include <cassert>

namespace encsync::sync {

using state::Slot;

namespace {

constexpr std::uint64_t kSessionStep = std::uint64_t{1} << 32; // begin_anew() counts in between

} // namespace

void Engine::add_peer(PeerId peer, PeerOptions options) {
    assert(peer < kMaxPeers && !has_peer(peer));
    while (peer_count() <= peer)
        sessions_.push_back(std::make_unique<Session>(PeerOptions{}, false));
    auto fresh = std::make_unique<Session>(std::move(options));
    fresh->local = options_.session;
    sessions_[peer] = std::move(fresh);
    if (sessions_[peer]->options.extended)
        flows_.begin_digests();
    vanished_[peer] = {};
    begin_session(peer); // what the place's last holder left in the marks
    any_nosync_ =
        std::ranges::any_of(sessions_, [](const auto& s) { return !s->options.nosync.empty(); });
    for (const Slot slot : index_.slots())
        withhold(slot);
}

// To everybody else it has vanished for good: the flows it owned are nobody's until somebody takes
// them, and run out unless traffic keeps them. Its number is free for another.
void Engine::remove_peer(PeerId peer) {
    assert(has_peer(peer));
    if (sessions_[peer]->link_up)
        on_link_down(peer);
    begin_session(peer);
    if (flows_.copies(peer) != 0)
        for (const Slot slot : index_.slots()) {
            if (index_.record(slot).owner != peer)
                continue;
            if (index_.record(slot).refused != 0)
                forget(slot);
            else
                set_owner(slot, kGone);
        }
    sessions_[peer] = std::make_unique<Session>(PeerOptions{}, false);
    options_.session += kSessionStep; // if it comes back, it must see that we begin anew
    settle_unclaimed();               // it may have been the last one that had not named them
    watch_orphans();
}

void Engine::set_trusted(PeerId peer, std::vector<KeyPrint> keys) {
    Session& s = *sessions_[peer];
    keys.resize(std::min(keys.size(), pfsync::extension::hello::max_keys));
    if (s.options.trusted == keys)
        return;
    s.options.trusted = std::move(keys);
    s.hello_now = s.extended;
}

bool Engine::has_peer(PeerId peer) const {
    return peer < peer_count() && sessions_[peer]->present;
}

bool Engine::has_peers() const {
    return std::ranges::any_of(sessions_, [](const auto& s) { return s->present; });
}

} // namespace encsync::sync
