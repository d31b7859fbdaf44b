// SPDX-License-Identifier: GPL-2.0-or-later
#include "ipsec/plugin/strongswan/peers.hpp"

#include <algorithm>
#include <cstring>

namespace encsync::plugin {
namespace {

using namespace std::chrono_literals;

// A peer that does not answer is initiated to again after at most this long.
constexpr auto kLongestPause = 3s;
// An IKE_SA without a CHILD_SA is given this long before a CHILD_SA is requested.
constexpr auto kChildless = 3s;
constexpr auto kRepeat = 60s;
constexpr auto kTrusted = ike::CredentialKind::trusted;

bool same_address(const net::Address& a, const encsync_address_t& b) {
    return a.is_v6() == b.ipv6 &&
           std::memcmp(a.bytes.data(), b.bytes, net::address_size(a.family)) == 0;
}

} // namespace

std::string ppk_text(Bytes id) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text(kPpkPrefix);
    for (const std::uint8_t byte : id) {
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

// If both ends of a conn initiated at once, there would be two of each SA. So the end whose id
// sorts first initiates at once, and the other only if there are no SAs after a while.
Clock::duration Peers::head_start(const channel::Peer& peer) {
    return peer.leftid <= peer.rightid ? 0s : 2s;
}

PeerEntry* Peers::entry(PeerId id) {
    return id < entries_.size() && entries_[id] ? &*entries_[id] : nullptr;
}

const channel::Peer* Peers::find(PeerId id) const {
    return id < entries_.size() && entries_[id] ? &entries_[id]->config : nullptr;
}

PeerChange Peers::set(const channel::Peer& peer) {
    PeerChange change;
    if (const channel::Peer* old = find(peer.id)) {
        change.old_name = old->name;
        change.restart = old->name != peer.name || old->leftid != peer.leftid ||
                         old->rightid != peer.rightid || old->left != peer.left ||
                         old->right != peer.right || old->inner_left != peer.inner_left ||
                         old->inner_right != peer.inner_right ||
                         !peer.auth.admits();
        change.withdrawn =
            std::ranges::any_of(old->auth.credentials, [&](const ike::Credential& each) {
                return each.kind == kTrusted && !peer.auth.has(kTrusted, each.data);
            });
    } else {
        entries_[peer.id].emplace();
        entries_[peer.id]->next = Clock::now() + head_start(peer);
    }
    PeerEntry& e = *entries_[peer.id];
    e.config = peer;
    e.removed = false;
    e.ppks.clear();
    for (const ike::Credential& each : peer.auth.credentials)
        if (each.kind == ike::CredentialKind::ppk)
            e.ppks.push_back(ppk_text(Bytes(each.data).first(ike::kPpkId)));
    e.config.auth.remove_secrets();
    return change;
}

void Peers::remove(PeerId id) {
    if (PeerEntry* e = entry(id)) {
        e->removed = true;
        e->config.auth.remove(kTrusted);
        e->ppks.clear();
    }
}

const std::vector<std::string>& Peers::ppks(PeerId id) const {
    static const std::vector<std::string> kNone;
    return id < entries_.size() && entries_[id] ? entries_[id]->ppks : kNone;
}

PeerId Peers::by_name(std::string_view name) const {
    PeerId found = kNoPeer;
    for (PeerId id = 0; id < kMaxPeers; id++)
        if (entries_[id] && entries_[id]->config.name == name) {
            found = id;
            if (!entries_[id]->removed)
                break;
        }
    return found;
}

PeerId Peers::by_address(const encsync_address_t& right) const {
    PeerId found = kNoPeer;
    for (PeerId id = 0; id < kMaxPeers; id++)
        if (entries_[id] && same_address(entries_[id]->config.right.address, right)) {
            found = id;
            if (!entries_[id]->removed)
                break;
        }
    return found;
}

bool Peers::goes_first(PeerId id) const {
    const channel::Peer* peer = find(id);
    return !peer || head_start(*peer) == 0s;
}

void Peers::renewed(PeerId id) {
    if (PeerEntry* e = entry(id)) {
        e->renewals++;
        e->unanswered = false;
    }
}

std::uint32_t Peers::renewals(PeerId id) const {
    return find(id) ? entries_[id]->renewals : 0;
}

void Peers::up(PeerId id) {
    if (PeerEntry* e = entry(id)) {
        e->up = true;
        e->unanswered = false;
        e->attempts = 0;
        reports_[id] = {};
    }
}

bool Peers::down(PeerId id, Clock::time_point now) {
    PeerEntry* e = entry(id);
    if (!e)
        return false;
    e->up = false;
    e->attempts = 0;
    e->childless = {};
    e->next = now + head_start(e->config);
    return std::exchange(e->unanswered, false);
}

void Peers::unanswered(PeerId id) {
    if (PeerEntry* e = entry(id))
        e->unanswered = true;
}

void Peers::still_up(PeerId id) {
    if (PeerEntry* e = entry(id))
        e->unanswered = false;
}

bool Peers::due(PeerId id, bool connecting, bool established, Clock::time_point now) {
    PeerEntry* e = entry(id);
    if (!e || e->removed || !e->config.initiate)
        return false;
    if (e->up || connecting || !established)
        e->childless = {};
    if (e->up || connecting)
        return false;
    if (established) {
        if (e->childless == Clock::time_point{})
            e->childless = now;
        if (now - e->childless < kChildless)
            return false;
        e->childless = now;
    }
    if (now < e->next)
        return false;
    e->attempts++;
    e->next = now + std::min<Clock::duration>(e->attempts * 1s, kLongestPause);
    return true;
}

bool Peers::worth_reporting(const channel::PeerEvent& event, Clock::time_point now) {
    LastReport& last = reports_[std::min<std::size_t>(event.peer, kMaxPeers)];
    if (last.kind == event.kind && last.text == event.text && now - last.at < kRepeat)
        return false;
    // A retry between two failures of the same kind is not reported.
    if (event.kind == channel::PeerEventKind::connecting && last.at != Clock::time_point{} &&
        now - last.at < kRepeat)
        return false;
    last = {event.kind, event.text, now};
    return true;
}

} // namespace encsync::plugin
