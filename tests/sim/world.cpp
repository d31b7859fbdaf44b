// SPDX-License-Identifier: ISC
#include "world.hpp"

#include "sync/record.hpp"

#include <algorithm>
#include <netinet/in.h>
#include <set>

namespace encsync::sim {

using namespace std::chrono_literals;

// ---- Kernel --------------------------------------------------------------------------------

namespace {

// The reply direction, as if it were a flow of its own.
state::Key reply_key(const state::Flow& flow) {
    state::Key key = flow.key;
    key.orig = flow.reply;
    return key;
}

} // namespace

std::uint32_t Kernel::natural_timeout(const state::Flow& flow) const {
    if (flow.key.proto == IPPROTO_TCP)
        return flow.src_state == 4 && flow.dst_state == 4 ? 432000 : 60;
    return (flow.flags & state::kAssured) != 0 ? 120 : 30;
}

void Kernel::put(const state::Flow& flow, table::Lifetime lifetime) {
    const bool copy = lifetime == table::Lifetime::copy;
    const Instant expires =
        now + std::chrono::seconds(natural_timeout(flow) + (copy ? table::kCopyExtra : 0));
    auto it = entries.find(flow.key);
    std::set<std::uint16_t> expected;
    if (it != entries.end()) {
        expected = std::move(it->second.expected);
        if (it->second.flow.reply != flow.reply)
            erase(flow.key); // NAT of an entry cannot be changed
    }
    if (!entries.contains(flow.key)) {
        const bool full = entries.size() >= capacity;
        if (full || holder(flow) != entries.end()) {
            refused_.push_back(
                {flow.key, full ? table::Refusal::table_full : table::Refusal::clash, flow});
            return;
        }
        replies_[reply_key(flow)] = flow.key;
    }
    Entry& entry = entries[flow.key];
    const bool strict = stays_strict && entry.seen != 0 && !entry.flow.liberal;
    entry = {flow, expires, copy, std::move(expected), entry.seen};
    entry.flow.liberal = !strict;
}

void Kernel::flush() {
    if (std::exchange(telling_, true))
        return;
    for (const auto& [key, why, flow] : std::exchange(refused_, {})) {
        const auto other = why == table::Refusal::clash ? holder(flow) : entries.end();
        if (other == entries.end()) {
            listener->on_refused(key, why);
            continue;
        }
        const state::Flow seen = dumped(other->second);
        listener->on_clash(key, seen, seen.timeout > natural_timeout(seen));
    }
    telling_ = false;
}

void Kernel::look(const state::Flow& flow) {
    if (const auto it = entries.find(flow.key); it != entries.end())
        listener->on_updated(dumped(it->second));
}

void Kernel::erase(const state::Key& key) {
    if (const auto it = entries.find(key); it != entries.end()) {
        replies_.erase(reply_key(it->second.flow));
        entries.erase(it);
    }
}

void Kernel::clear() {
    entries.clear();
    replies_.clear();
    refused_.clear();
}

std::map<state::Key, Kernel::Entry>::const_iterator Kernel::holder(const state::Flow& flow) const {
    for (const state::Key& tuple : {reply_key(flow), flow.key})
        if (const auto it = replies_.find(tuple); it != replies_.end() && it->second != flow.key)
            return entries.find(it->second);
    const auto it = entries.find(reply_key(flow));
    return it != entries.end() && it->first != flow.key ? it : entries.end();
}

// As the kernel reports it.
state::Flow Kernel::dumped(const Entry& entry) const {
    state::Flow flow = entry.flow;
    flow.id = {};
    flow.timeout = static_cast<std::uint32_t>((entry.expires - now) / 1s);
    return flow;
}

void Kernel::relax(const state::Flow& flow) {
    if (const auto it = entries.find(flow.key); it != entries.end() && !stays_strict)
        it->second.flow.liberal = true;
}

namespace {

state::Expectation expectation(const state::Key& master, std::uint16_t port) {
    state::Expectation out;
    out.master = master;
    out.tuple = {master.orig.dst, master.orig.src, 0, port};
    out.proto = IPPROTO_TCP;
    out.timeout = 86400; // none expires during a scenario
    return out;
}

} // namespace

void Kernel::expect(const state::Expectation& e, const state::Name& helper) {
    const auto it = entries.find(e.master);
    if (it != entries.end() && !helper.empty())
        it->second.expected.insert(e.tuple.dport);
}

void Kernel::unexpect(const state::Expectation& e) {
    if (const auto it = entries.find(e.master); it != entries.end())
        it->second.expected.erase(e.tuple.dport);
}

void Kernel::help(const state::Flow& flow, Entry& entry) {
    if (flow.extras.helper.empty() || listener == nullptr)
        return;
    const std::uint16_t port = flow.key.orig.sport;
    if (flow.src_state == 4 && flow.dst_state == 4) {
        entry.expected.insert(port);
        listener->on_expected(expectation(flow.key, port), true);
    } else if (flow.src_state > 4 && entry.expected.erase(port) != 0) {
        listener->on_unexpected(expectation(flow.key, port));
    }
}

void Kernel::refresh(const state::Flow& flow, table::Lifetime lifetime) {
    put(flow, lifetime);
}

void Kernel::traffic(const state::Flow& flow) {
    auto it = entries.find(flow.key);
    const Instant expires = now + std::chrono::seconds(natural_timeout(flow));
    state::Flow told = flow;
    told.id = {};
    told.timeout = natural_timeout(flow);
    told.liberal = it != entries.end() && it->second.flow.liberal;
    std::uint64_t& passed = (*packets)[flow.key];
    if (it == entries.end()) {
        while (state::has_snat(told) && holder(told) != entries.end())
            (told.key.proto == IPPROTO_ICMP ? told.reply.sport : told.reply.dport)++;
        if (entries.size() >= capacity || holder(told) != entries.end())
            return;
        replies_[reply_key(told)] = told.key;
        entries[flow.key] = {told, expires, false, {}, ++passed};
        if (listener != nullptr)
            listener->on_created(told);
        return;
    }
    const state::Flow& had = it->second.flow;
    told.reply = had.reply; // determined by its first packet
    const bool news = had.src_state != flow.src_state || had.dst_state != flow.dst_state ||
                      had.mark != flow.mark || had.extras.labels != flow.extras.labels;
    // Before and after it is established, the few packets of a connection fit into any window.
    invalid += flow.key.proto == IPPROTO_TCP && std::min(flow.src_state, flow.dst_state) == 4 &&
               !told.liberal && it->second.seen != passed;
    it->second = {told, expires, false, std::move(it->second.expected), ++passed};
    if (news && listener != nullptr) {
        listener->on_updated(told);
        help(told, it->second);
    }
}

void Kernel::close(const state::Key& key) {
    const auto it = entries.find(key);
    if (it == entries.end())
        return;
    const state::Flow flow = it->second.flow;
    erase(key);
    if (listener != nullptr)
        listener->on_destroyed(flow);
}

void Kernel::run_timers() {
    std::vector<state::Key> gone;
    for (const auto& [key, entry] : entries)
        if (entry.expires <= now)
            gone.push_back(key);
    for (const state::Key& key : gone)
        close(key);
}

void Kernel::answer_dump() {
    if (!dump_wanted || listener == nullptr)
        return;
    dump_wanted = false;
    listener->on_dump_begin();
    for (const auto& [key, entry] : entries) {
        const state::Flow flow = dumped(entry);
        listener->on_dump_entry(flow, flow.timeout > natural_timeout(flow));
    }
    listener->on_dump_end();
    for (const auto& [key, entry] : entries)
        for (const std::uint16_t port : entry.expected)
            listener->on_expected(expectation(key, port), false);
}

// ---- Node ----------------------------------------------------------------------------------

Node::Node(World& w, unsigned i) : world(w), index(i) {}

MutableBytes Node::acquire(PeerId) {
    return room_;
}

void Node::commit(PeerId peer, std::size_t size) {
    if (size != 0)
        world.send(index, world.node_of(index, peer),
                   {room_.begin(), room_.begin() + static_cast<long>(size)});
}

void Node::start() {
    sync::Options options;
    options.creatorid = 0x1000 + index;
    options.id_secret[0] = static_cast<std::uint8_t>(index + 1);
    options.session = world.random() | 1;
    options.role = role;
    options.table_kept = table_kept;
    options.delay = delay;
    options.release = release;
    table_kept = true;
    for (unsigned n = 0; n < world.nodes.size(); n++)
        if (n != index) {
            options.peers.push_back({.name = "node" + std::to_string(n),
                                     .nosync = nosync[n],
                                     .maxupd = 128,
                                     .rules = {.refuse = refuse[n]}});
            if (wire.contains(n)) {
                options.peers.back().extended = false;
                options.peers.back().dialect = wire[n];
            }
        }
    engine = std::make_unique<sync::Engine>(options, kernel, *this);
    kernel.listener = engine.get();
    engine->advance(world.now + clock);
    kernel.request_dump();
    kernel.answer_dump();
    for (unsigned n = 0; n < world.nodes.size(); n++)
        if (n != index)
            engine->on_link_up(world.peer_of(index, n));
    engine->flush();
}

void Node::stop() {
    kernel.listener = nullptr;
    engine.reset();
}

void Node::power_off() {
    stop();
    kernel.clear();
    table_kept = false;
}

void Node::advance() {
    due = world.now;
    if (engine)
        engine->advance(world.now + clock);
}

void Node::settle() {
    due = Instant::max();
    if (!engine)
        return;
    engine->flush();
    due = kernel.dump_wanted ? world.now : engine->deadline() - clock;
}

// ---- World ---------------------------------------------------------------------------------

World::World(std::uint64_t seed, unsigned count) : now(1000s), random(seed) {
    for (unsigned n = 0; n < count; n++)
        nodes.push_back(std::make_unique<Node>(*this, n));
    cut.assign(count, std::vector<bool>(count, false));
    for (auto& node : nodes) {
        node->kernel.now = now;
        node->kernel.packets = &packets;
        node->start();
    }
}

void World::connect(unsigned a, unsigned b, bool up) {
    cut[a][b] = cut[b][a] = !up;
}

void World::link(unsigned a, unsigned b, bool up) {
    connect(a, b, up);
    for (const auto& [self, other] : {std::pair(a, b), std::pair(b, a)})
        if (sync::Engine* engine = nodes[self]->engine.get()) {
            engine->advance(now + nodes[self]->clock);
            if (up)
                engine->on_link_up(peer_of(self, other));
            else
                engine->on_link_down(peer_of(self, other));
        }
}

void World::set_role(unsigned node, sync::Role role) {
    nodes[node]->role = role;
    if (nodes[node]->engine)
        nodes[node]->engine->set_role(role);
}

void World::send(unsigned from, unsigned to, const std::vector<std::uint8_t>& packet) {
    const int copies = chance(quality.duplicate) ? 2 : 1;
    for (int n = 0; n < copies; n++) {
        traffic.sent++;
        if (cut[from][to] || chance(quality.loss)) {
            traffic.lost++;
            continue;
        }
        const Duration jitter{!chance(quality.late)
                                  ? 0
                                  : static_cast<std::int64_t>(
                                        below(static_cast<std::uint64_t>(quality.jitter.count())))};
        traffic.in_flight++;
        flights_.emplace(now + quality.delay + jitter,
                         Flight{from, to, packet, chance(quality.corrupt)});
    }
}

void World::deliver(Flight& flight) {
    Node& to = *nodes[flight.to];
    const auto machine = machines.find(flight.to);
    traffic.in_flight--;
    if ((!to.engine && machine == machines.end()) || cut[flight.from][flight.to]) {
        traffic.lost++;
    } else if (flight.damaged) {
        traffic.corrupted++;
    } else {
        traffic.arrived++;
        if (forge)
            forge(flight.from, flight.to, flight.packet);
        if (machine != machines.end())
            return machine->second->on_packet(flight.from, flight.packet);
        if (to.due > now)
            to.advance();
        to.engine->on_packet(peer_of(flight.to, flight.from), flight.packet);
    }
}

void World::run(Duration span) {
    const Instant end = now + span;
    Instant timers = now;
    for (auto& node : nodes)
        node->due = now; // the scenario may have done anything to it
    while (true) {
        Instant next = end;
        if (!flights_.empty())
            next = std::min(next, flights_.begin()->first);
        for (auto& node : nodes)
            next = std::min(next, node->due);
        for (auto& [number, machine] : machines)
            next = std::min(next, machine->deadline());
        now = std::max(now, next);
        const bool a_second_later = now - timers >= 1s;
        if (a_second_later)
            timers = now;
        for (auto& node : nodes) {
            node->kernel.now = now;
            if (node->due > now && !a_second_later && now < end)
                continue;
            node->advance(); // before events, which are of this moment
            if (a_second_later)
                node->kernel.run_timers();
            node->kernel.answer_dump();
        }
        for (auto& [number, machine] : machines)
            machine->advance(now);
        while (!flights_.empty() && flights_.begin()->first <= now) {
            Flight flight = std::move(flights_.begin()->second);
            flights_.erase(flights_.begin());
            deliver(flight);
        }
        for (auto& node : nodes)
            if (node->due <= now)
                node->settle();
        if (now >= end)
            return;
    }
}

// One node's consistency: its engine holds what its kernel holds, and its counts are right.
std::string World::discrepancy(const Node& node) const {
    const sync::FlowIndex& index = node.engine->index();
    std::size_t owned = node.engine->live() + node.engine->copies_of(sync::kUnclaimed);
    for (std::size_t p = 0; p + 1 < nodes.size(); p++)
        owned += node.engine->copies_of(static_cast<PeerId>(p));
    if (owned != index.size())
        return "live and copies do not add up to the index";
    if (!node.engine->digests_hold())
        return "counts and digests are not those of what the index holds";
    if (index.size() != node.kernel.entries.size())
        return "engine " + std::to_string(index.size()) + " states, kernel " +
               std::to_string(node.kernel.entries.size());
    for (const auto& [key, entry] : node.kernel.entries) {
        const state::Slot slot = index.find(key);
        if (slot == state::kNoSlot)
            return "in the kernel only: " + to_string(entry.flow);
        const auto& r = index.record(slot);
        if (r.src_state != entry.flow.src_state || r.dst_state != entry.flow.dst_state)
            return "kernel and engine disagree about " + to_string(entry.flow);
        std::set<std::uint16_t> expected;
        for (const auto& known : node.engine->expectations().of(slot))
            if (!known.used)
                expected.insert(known.expectation.tuple.dport);
        if (expected != entry.expected)
            return "kernel and engine disagree about what is expected of " + to_string(entry.flow);
    }
    return {};
}

// Every flow is live at one node, and all others know which.
std::string World::discord() const {
    std::map<state::Key, std::set<unsigned>> owners;
    for (const auto& node : nodes) {
        if (!node->engine)
            continue;
        const sync::FlowIndex& index = node->engine->index();
        for (const state::Slot s : index.slots()) {
            const std::uint8_t owner = index.record(s).owner;
            owners[index.key(s)].insert(owner == sync::kHere        ? node->index
                                        : owner == sync::kUnclaimed ? owner
                                                                    : node_of(node->index, owner));
        }
    }
    for (const auto& [key, set] : owners)
        if (set.size() != 1 || !nodes.at(*set.begin())->engine)
            return std::to_string(set.size()) + " owners of port " +
                   std::to_string(key.orig.sport) + ", the first is node" +
                   std::to_string(*set.begin());
    return {};
}

std::string World::difference() const {
    const Node* first = nullptr;
    for (const auto& node : nodes) {
        if (!node->engine)
            continue;
        const std::string name = "node" + std::to_string(node->index) + ": ";
        if (const std::string what = discrepancy(*node); !what.empty())
            return name + what;
        if (first == nullptr) {
            first = node.get();
            continue;
        }
        for (const auto& [key, entry] : first->kernel.entries) {
            const auto it = node->kernel.entries.find(key);
            if (it == node->kernel.entries.end())
                return name + "lacks " + to_string(entry.flow);
            const state::Flow& other = it->second.flow;
            if (other.src_state != entry.flow.src_state || other.dst_state != entry.flow.dst_state)
                return name + "another state of " + to_string(entry.flow);
            if (other.mark != entry.flow.mark)
                return name + "another mark of " + to_string(entry.flow);
            if (other.extras.labels != entry.flow.extras.labels ||
                other.extras.helper != entry.flow.extras.helper)
                return name + "other labels or another helper of " + to_string(entry.flow);
            if (it->second.expected != entry.expected)
                return name + "other expectations of " + to_string(entry.flow);
            if (other.reply != entry.flow.reply)
                return name + "another NAT of " + to_string(entry.flow);
        }
        if (node->kernel.entries.size() != first->kernel.entries.size())
            return name + std::to_string(node->kernel.entries.size()) + " states, the first node " +
                   std::to_string(first->kernel.entries.size());
    }
    return discord();
}

// ---- flows ---------------------------------------------------------------------------------

state::Flow flow_number(std::uint32_t n) {
    state::Flow flow;
    flow.key.proto = n % 3 == 0 ? IPPROTO_UDP : IPPROTO_TCP;
    if (n % 5 == 0) {
        flow.key.family = state::Family::inet6;
        flow.key.orig.src.bytes = {0xfd, 0, 0, 1};
        flow.key.orig.dst.bytes = {0xfd, 0, 0, 2};
    } else {
        flow.key.orig.src.bytes = {10, 0, static_cast<std::uint8_t>(n >> 16), 2};
        flow.key.orig.dst.bytes = {198, 51, 100, 10};
    }
    flow.key.orig.sport = static_cast<std::uint16_t>(n);
    flow.key.orig.dport = 443;
    flow.key.zone = n % 11 == 0 ? 7 : 0;
    flow.reply = inverse(flow.key);
    if (n % 2 == 0 && flow.key.family == state::Family::inet) {
        flow.reply.dst.bytes = {203, 0, 113, 1};
        flow.reply.dport = static_cast<std::uint16_t>(n ^ 0x5555);
    }
    flow.mark = n % 7;
    if (n % 4 == 0)
        flow.extras.labels = state::with_label({}, n % 128);
    if (n % 11 == 0)
        flow.extras.helper = *state::Name::of("ftp");
    flow.src_state = flow.key.proto == IPPROTO_TCP ? 2 : 1;
    return flow;
}

bool advance(state::Flow& flow) {
    struct Step {
        std::uint8_t src, dst, flags;
    };
    static constexpr Step kTcp[] = {{2, 0, 0}, {4, 2, 1}, {4, 4, 3},
                                    {7, 4, 3}, {9, 7, 3}, {9, 9, 3}};
    static constexpr Step kUdp[] = {{1, 0, 0}, {2, 1, 1}, {2, 2, 3}};
    const auto next = [&](const auto& steps) {
        for (std::size_t n = 0; n + 1 < std::size(steps); n++)
            if (steps[n].src == flow.src_state && steps[n].dst == flow.dst_state) {
                flow.src_state = steps[n + 1].src;
                flow.dst_state = steps[n + 1].dst;
                flow.flags = steps[n + 1].flags;
                if (flow.extras.labels != state::Labels{}) // a rule of the next packet's
                    flow.extras.labels = state::with_label(flow.extras.labels, 1 + flow.dst_state);
                return true;
            }
        return false;
    };
    return flow.key.proto == IPPROTO_TCP ? next(kTcp) : next(kUdp);
}

} // namespace encsync::sim
