// SPDX-License-Identifier: ISC
#include "sync/readiness.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>
#include <utility>

namespace encsync::sync {

using namespace std::chrono_literals;

namespace {

constexpr Duration kPfAgain = 60s; // longer than pf is silent about a flow that moves
// All notice within some seconds that a node has gone, and not at the same moment.
constexpr Duration kNoticed = Peer::kSilence + 5s;

} // namespace

// What was refused for want of room in the index is there once a comparison shows it. pf peers
// compare nothing; they will have named it again.
bool Readiness::holds_all_of(PeerId peer) const {
    const Peer& p = peers_[peer];
    if (missing_.lacks(peer))
        return false;
    return p.over_limit == kNever ||
           (p.extended ? p.checks.equal > p.over_limit : ctx_.now - p.over_limit > kPfAgain);
}

// A node that does not stand by is there, or was until a moment ago: it may only be restarting what
// tells it its role. An active node whose outer links fail says standby, and is there all the same.
// One that only others hear may serve as well.
bool Readiness::another_serves() const {
    return !ownership_.settled() || std::ranges::any_of(peers_.all(), [](const Peer& p) {
        return p.reachable() && p.role != Role::standby;
    }) || std::ranges::any_of(missing_edges(), [](const MissingEdge& edge) {
        return edge.node->role != Role::standby;
    });
}

// IKE shows that the peer lives. An encsync node would have sent HELLO by now; a pf firewall may
// have nothing to send.
bool Readiness::misunderstood(PeerId peer, std::string* why) const {
    const Peer& p = peers_[peer];
    if (!p.link_up || p.accepted ||
        ctx_.now - std::max(p.up_since, p.last_received) < Peer::kSilence)
        return false;
    const bool nothing_arrives = p.refusal.empty();
    const bool ours = p.options.extended && p.options.dialect;
    if (nothing_arrives && (!ours || p.last_received >= p.up_since))
        return false;
    if (why != nullptr)
        *why = nothing_arrives ? "its SAs are up, but none of its packets arrives"
                               : "its packets are not understood: " + p.refusal;
    return true;
}

Unready Readiness::unready(std::string* why) const {
    const auto not_yet = [why](Unready reason, std::string in_words) {
        if (why != nullptr)
            *why = std::move(in_words);
        return reason;
    };
    const bool active = ctx_.options.role == Role::active;
    if (!ctx_.table_known)
        return not_yet(Unready::table_unread, "the state table has not been read yet");
    if (!active) {
        std::string refusal;
        for (const Peer& p : peers_.all())
            if (p.reachable() && !p.in_step && !p.bulk.gave_up)
                return not_yet(Unready::bulk_incomplete,
                               "the bulk update of " + p.options.name + " is not complete");
        for (const Peer& p : peers_.all())
            if (misunderstood(p.id, &refusal))
                return not_yet(Unready::not_understood, "peer " + p.options.name + ": " + refusal);
    }
    // One that serves, and whose process was only started again, has the table and goes on.
    if (!ctx_.ever_in_step && !ctx_.served_alone && !(active && ctx_.options.table_kept) &&
        peers_.any())
        return not_yet(Unready::no_peer_heard, "no peer has been heard yet");
    if (active)
        return Unready::no;
    // Once nobody serves, to serve most of the flows is better than none.
    if (!another_serves())
        return Unready::no;
    for (const Peer& p : peers_.all()) {
        if (!p.reachable() || holds_all_of(p.id))
            continue;
        if (const std::size_t n = missing_.count(p.id, Missing::no_room); n != 0)
            return not_yet(Unready::no_room,
                           "the state table has no room for " + std::to_string(n) + " states of " +
                               p.options.name + ": raise net.netfilter.nf_conntrack_max");
        if (missing_.lacks(p.id))
            return not_yet(Unready::states_missing, "the state table does not hold " +
                                                        std::to_string(missing_.count(p.id)) +
                                                        " states of " + p.options.name);
        return not_yet(Unready::over_limit, p.options.name +
                                                " has more states than this node takes from it (" +
                                                to_string(p.over_limit_by) + ")");
    }
    if (const auto missing = missing_edges(); !missing.empty())
        return not_yet(Unready::missing_edge, describe(missing.front()));
    return Unready::no;
}

// ---- which node receives from which --------------------------------------------------------

std::vector<Neighbour> Readiness::neighbours_for(PeerId peer) const {
    std::vector<Neighbour> out;
    for (const Peer& p : peers_.all())
        if (p.id != peer && p.extended && p.reachable())
            out.push_back({p.creatorid, p.role, ctx_.flows.copies(p.id) != 0,
                           p.options.name.substr(0, NeighbourName::kSize - 1)});
    std::stable_partition(out.begin(), out.end(), [](const Neighbour& n) { return n.matters(); });
    out.resize(std::min(out.size(), pfsync::extension::hello::max_nodes));
    return out;
}

// It is within reach, or was a moment ago: then the peer may not have noticed yet.
bool Readiness::hears(std::uint32_t creatorid) const {
    return creatorid == ctx_.options.creatorid ||
           std::ranges::any_of(peers_.all(), [&](const Peer& p) {
               return p.creatorid == creatorid &&
                      (p.reachable() ||
                       (p.remote != 0 && p.present && ctx_.now - p.last_received < kNoticed));
           });
}

std::vector<MissingEdge> Readiness::missing_edges() const {
    std::vector<MissingEdge> out;
    for (const Peer& p : peers_.all()) {
        if (!p.reachable())
            continue;
        for (const Neighbour& node : p.hello_tail.neighbours)
            if (node.matters() && !hears(node.creatorid))
                out.push_back({p.id, &node});
    }
    return out;
}

std::string Readiness::describe(const MissingEdge& edge) const {
    const std::string name = edge.node->name.empty() ? "another node" : edge.node->name;
    return peers_[edge.peer].options.name + " hears " + name +
           (edge.node->role == Role::active ? ", which is active" : ", which has flows") +
           ", and this node does not: every node needs a conn and a path to every other";
}

} // namespace encsync::sync
