// SPDX-License-Identifier: ISC
// What a hello tells beside the state of its sender: whom that hears, and which keys it trusts.
// Only a node's own word makes its flows known, so every node must hear every other one; where a
// peer hears a node that has flows, and this node does not, a conn or a path is missing, and a
// takeover would lose those flows.
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>
#include <cstring>

namespace encsync::sync {

namespace hello = pfsync::extension::hello;

namespace {

// All notice within some seconds that a node has gone, and not at the same moment.
constexpr Instant kGrace = Session::kSilence + std::chrono::seconds(5);

} // namespace

// ---- saying --------------------------------------------------------------------------------

std::vector<Neighbour> Engine::neighbours_for(PeerId peer) const {
    std::vector<Neighbour> out;
    for (PeerId other = 0; other < peer_count(); other++) {
        const Session& s = *sessions_[other];
        if (other == peer || !s.extended || !s.reachable())
            continue;
        out.push_back({s.creatorid, s.role, flows_.copies(other) != 0,
                       s.options.name.substr(0, NeighbourName::kSize - 1)});
    }
    std::ranges::stable_partition(out, &Neighbour::matters);
    out.resize(std::min(out.size(), hello::max_nodes));
    return out;
}

std::size_t HelloTail::hello_size() const {
    return hello::nodes + neighbours.size() * hello::node::size + trusted.size() * hello::key_size;
}

void HelloTail::write(std::uint8_t* m) const {
    m[hello::count] = static_cast<std::uint8_t>(neighbours.size());
    m[hello::keys] = static_cast<std::uint8_t>(trusted.size());
    m += hello::nodes;
    for (const Neighbour& node : neighbours) {
        store_be(m + hello::node::creatorid, node.creatorid);
        m[hello::node::role] = static_cast<std::uint8_t>(node.role);
        m[hello::node::flags] = node.owns ? hello::node::kOwns : 0;
        std::memcpy(m + hello::node::name, node.name.data(), node.name.size());
        m += hello::node::size;
    }
    for (const KeyPrint key : trusted) {
        store_be(m, key);
        m += hello::key_size;
    }
}

// ---- hearing -------------------------------------------------------------------------------

std::optional<HelloTail> HelloTail::read(Bytes m) {
    HelloTail out;
    if (m.size() < hello::nodes) // of a node that does not tell
        return out;
    const std::size_t count = m[hello::count], keys = m[hello::keys];
    const std::size_t keys_at = hello::nodes + count * hello::node::size;
    if (count > hello::max_nodes || keys > hello::max_keys ||
        m.size() < keys_at + keys * hello::key_size)
        return std::nullopt;
    for (std::size_t n = 0; n < count; n++) {
        const std::uint8_t* at = &m[hello::nodes + n * hello::node::size];
        const auto creatorid = load_be<std::uint32_t>(at + hello::node::creatorid);
        const auto name = NeighbourName::read(at + hello::node::name);
        const std::uint8_t role = at[hello::node::role];
        if (creatorid == 0 || role > 2 || !name)
            return std::nullopt;
        out.neighbours.push_back({creatorid, static_cast<Role>(role),
                                  (at[hello::node::flags] & hello::node::kOwns) != 0,
                                  std::string(name->text())});
    }
    for (std::size_t n = 0; n < keys; n++)
        out.trusted.push_back(load_be<KeyPrint>(&m[keys_at + n * hello::key_size]));
    return out;
}

// It is within reach, or was a moment ago: then the peer may not have noticed yet.
bool Engine::hears(std::uint32_t creatorid) const {
    return creatorid == options_.creatorid || std::ranges::any_of(sessions_, [&](const auto& s) {
               return s->creatorid == creatorid &&
                      (s->reachable() ||
                       (s->remote != 0 && s->present && now_ - s->last_heard < kGrace));
           });
}

std::vector<Engine::MissingEdge> Engine::missing_edges() const {
    std::vector<MissingEdge> out;
    for (PeerId peer = 0; peer < peer_count(); peer++) {
        if (!sessions_[peer]->reachable())
            continue;
        for (const Neighbour& node : sessions_[peer]->told.neighbours)
            if (node.matters() && !hears(node.creatorid))
                out.push_back({peer, &node});
    }
    return out;
}

std::string Engine::describe(const MissingEdge& edge) const {
    const std::string name = edge.node->name.empty() ? "another node" : edge.node->name;
    return sessions_[edge.peer]->options.name + " hears " + name +
           (edge.node->role == Role::active ? ", which is active" : ", which has flows") +
           ", and this node does not: every node needs a conn and a path to every other";
}

} // namespace encsync::sync
