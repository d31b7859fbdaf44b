// SPDX-License-Identifier: ISC
#include "pf_exchange.hpp"

#include "pfsync/progress.hpp"
#include "sync/pf_states.hpp"
#include "sync/record.hpp"

#include <algorithm>
#include <climits>
#include <netinet/in.h>

namespace encsync::sim {

using pfsync::Dialect;

namespace {

bool is_tcp(const state::Flow& flow) {
    return flow.key.proto == IPPROTO_TCP;
}

// The packet as it leaves after NAT.
state::Tuple translated(const state::Tuple& reply, const state::Key& key) {
    return inverse(state::Key{reply, 0, key.proto, key.family});
}

// The key of a redirected flow if only its outgoing state is known.
state::Key way_out(const state::Flow& flow) {
    state::Key key = flow.key;
    const state::Tuple redirected = translated(flow.reply, key);
    key.orig.dst = redirected.dst;
    key.orig.dport = redirected.dport;
    return key;
}

// The timeouts that pf gives a state of this progress (pf.c): that of its first packet, or the one
// that follows from both sides.
std::set<unsigned> timeouts(const state::Flow& flow) {
    const unsigned src = flow.src_state, dst = flow.dst_state;
    switch (flow.key.proto) {
    case IPPROTO_TCP:
        if (src >= 9 && dst >= 9)
            return {5};
        if (src >= 7 && dst >= 7)
            return {4};
        if (src < 4 || dst < 4)
            return dst < 2 ? std::set{0u, 1u} : std::set{1u};
        return src >= 7 || dst >= 7 ? std::set{3u} : std::set{2u};
    case IPPROTO_UDP:
        if (src == 2 && dst == 2)
            return {8};
        return dst == 0 ? std::set{6u, 7u} : std::set{7u};
    default: // the two sides of ICMP have no progress in pf
        return {9, 10};
    }
}

// pf takes the timeout of an update even if one of its sides is behind, and so stays as it is.
bool is_of_an_older_update(const PfState& s) {
    if (!is_tcp(s.flow))
        return false;
    state::Flow older = s.flow;
    for (older.src_state = 0; older.src_state <= s.flow.src_state; older.src_state++)
        if (timeouts(older).contains(s.timeout))
            return true;
    older = s.flow;
    for (older.dst_state = 0; older.dst_state <= s.flow.dst_state; older.dst_state++)
        if (timeouts(older).contains(s.timeout))
            return true;
    return false;
}

std::string to_string(const sync::Windows& windows) {
    return std::to_string(sync::Windows::seqlo(windows.src).value_or(0)) + "/" +
           std::to_string(sync::Windows::seqlo(windows.dst).value_or(0));
}

std::string progress(const state::Flow& flow) {
    return " " + std::to_string(flow.src_state) + ":" + std::to_string(flow.dst_state);
}

} // namespace

state::Flow exchanged_flow(std::uint32_t n) {
    state::Flow flow = flow_number(n);
    flow.key.zone = 0;
    flow.mark = 0;
    flow.extras = {};
    const bool v4 = flow.key.family == state::Family::inet;
    if (n % 13 == 5) { // a ping
        flow.key.proto = static_cast<std::uint8_t>(v4 ? 1 : 58);
        flow.key.orig.dport = v4 ? 8 << 8 : 128 << 8;
        const bool nat = has_snat(flow);
        const state::Tuple before = flow.reply;
        flow.reply = inverse(flow.key);
        if (nat) {
            flow.reply.dst = before.dst;
            flow.reply.sport = before.dport;
        }
        flow.src_state = 1;
    } else if (n % 7 == 3 && v4) { // redirected to a server behind the firewall
        flow.reply.src.bytes = {10, 9, 0, 80};
        flow.reply.sport = 8080;
    }
    return flow;
}

Exchange::Exchange(std::uint64_t seed, Dialect d, PfProcess::Options options, unsigned firewalls)
    : world(seed, 1 + firewalls), dialect(d), options_(std::move(options)) {
    for (unsigned n = 1; n <= firewalls; n++) {
        PfProcess::Options own = options_;
        own.seed = seed;
        for (unsigned other = 1; other <= firewalls; other++)
            if (other != n)
                own.hears.push_back(other);
        pfs.push_back(std::make_unique<PfProcess>(world, n, d, std::move(own)));
    }
}

// ---- traffic -------------------------------------------------------------------------------

bool Exchange::is_at(const Live& l, unsigned node) {
    return node == 0 ? kernel().entries.contains(l.flow.key) : pf(node).has(l.flow);
}

// As node0 sees it.
unsigned Exchange::owner(const state::Key& key) {
    constexpr unsigned kNone = UINT_MAX;
    if (!world.nodes[0]->engine)
        return kNone;
    const state::Slot slot = engine().index().find(key);
    if (slot == state::kNoSlot)
        return kNone;
    const std::uint8_t by = engine().index().record(slot).owner;
    return by == sync::kHere ? 0 : by == sync::kUnclaimed ? kNone : world.node_of(0, by);
}

// False: it is in the middle of a connection that the firewall does not know, which drops it.
bool Exchange::packet(Live& l, bool first) {
    if (!first && is_tcp(l.flow) && !is_at(l, l.at)) {
        lost += l.at != 0 || !put_back_.contains(l.flow.key) ? 1 : 0;
        return false;
    }
    if (l.at == 0)
        kernel().traffic(l.flow);
    else
        pf(l.at).packet(l.flow);
    return true;
}

void Exchange::packets() {
    for (auto it = live.begin(); it != live.end();)
        it = packet(it->second) ? std::next(it) : live.erase(it);
}

void Exchange::begin() {
    const bool again = next_ > 1 && world.chance(0.2); // a tuple that has been used before
    const std::uint32_t number =
        again ? 1 + static_cast<std::uint32_t>(world.below(next_ - 1)) : next_++;
    if (live.contains(number))
        return;
    Live l{exchanged_flow(number)};
    for (unsigned node = 0; node < world.nodes.size(); node++)
        if (is_at(l, node))
            return; // that the one before has ended is not known there yet
    const sync::Role role = world.nodes[0]->role;
    l.at = role == sync::Role::active    ? 0
           : role == sync::Role::standby ? 1
                                         : static_cast<unsigned>(world.below(world.nodes.size()));
    l.moved = world.now;
    unsaid_.erase(l.flow.key);
    packet(l, true);
    if (l.at == 0) {
        const auto entry = kernel().entries.find(l.flow.key);
        if (entry == kernel().entries.end())
            return; // its port after NAT is another's
        l.flow.reply = entry->second.flow.reply;
    }
    live.emplace(number, l);
}

// The next packet comes to another firewall, if that knows the flow. To node0 only one that changes
// the progress: others raise no event there, and its role has to say it (docs/architecture.md,
// "What Linux does differently from pf").
void Exchange::move(Live& l) {
    const auto to = static_cast<unsigned>(world.below(world.nodes.size()));
    state::Flow further = l.flow;
    // Of a new flow, it must have heard of both states: one of them alone knows of the NAT.
    if (options_.both && world.now - l.moved < 2s)
        return;
    if (to == l.at || !is_at(l, to) || (to == 0 && !advance(further)))
        return;
    l.flow = further;
    l.at = to;
    l.moved = world.now;
}

// Only where packets pass, a flow can be ended; elsewhere it is back soon.
void Exchange::close(std::map<std::uint32_t, Live>::iterator it) {
    Live& l = it->second;
    if (owner(l.flow.key) != l.at || world.now - l.moved < 2s)
        return; // an update from where it was would bring it back
    const auto node = !closes_elsewhere || world.chance(0.8)
                          ? l.at
                          : static_cast<unsigned>(world.below(pfs.size() + 1));
    // Another pf believes its peer, whoever made the state: there it does end.
    if (node != l.at && node != 0 && l.at != 0)
        return;
    if (node == 0) {
        kernel().close(l.flow.key);
        if (l.at != 0)
            put_back_[l.flow.key] = world.now + 75s; // by the round of sync::Copies
    } else {
        pf(node).close(l.flow);
    }
    if (node == l.at)
        live.erase(it);
}

void Exchange::step(unsigned events) {
    for (unsigned n = 0; n < events; n++) {
        if (live.empty() || world.chance(0.2)) {
            begin();
            continue;
        }
        const auto it = std::next(live.begin(), static_cast<long>(world.below(live.size())));
        Live& l = it->second;
        if (world.chance(0.08)) {
            close(it);
            continue;
        }
        if (moves && world.nodes[0]->role == sync::Role::automatic && world.chance(0.1))
            move(l);
        else if (world.chance(0.5))
            advance(l.flow);
        if (!packet(l))
            live.erase(it);
    }
}

void Exchange::take_over(Duration span) {
    for (const unsigned at : {0u, 1u}) {
        world.set_role(0, at == 0 ? sync::Role::active : sync::Role::standby);
        for (const Instant end = world.now + span; world.now < end; world.run(2500ms)) {
            for (auto& [number, l] : live)
                l.at = at;
            packets();
            step(5);
        }
    }
    world.set_role(0, sync::Role::automatic);
}

// A CLR names one creator, the firewall itself. What passes node0 comes back when that sends the
// next update of it, after five minutes at the latest. Of the states that another has made, and
// whose packets pass here, it says nothing, so that they end elsewhere only by their timers.
void Exchange::flush() {
    for (auto it = live.begin(); it != live.end();) {
        const Live& l = it->second;
        const bool ends = owner(l.flow.key) != 0 || l.at != 0;
        if (ends)
            unsaid_.insert(l.flow.key);
        it = ends ? live.erase(it) : std::next(it);
    }
    pf(1).flush();
    keep(310s);
}

void Exchange::reboot() {
    pf(1).reboot();
    world.run(3s); // its ruleset is loaded last: packets pass it when it has asked for all states
}

void Exchange::kill(Duration down) {
    world.nodes[0]->stop();
    world.run(down);
    world.nodes[0]->start();
}

// Packets then pass the first firewall, of whose states they are from now on.
void Exchange::power_off() {
    world.nodes[0]->power_off();
    for (auto& [number, l] : live)
        l.at = l.at == 0 ? 1 : l.at;
    packets();
    world.run(1s);
    world.nodes[0]->start();
    world.run(3s);
}

void Exchange::keep(Duration span) {
    for (const Instant end = world.now + span; world.now < end; world.run(4s))
        packets();
}

void Exchange::settle() {
    packets();
    world.run(2500ms); // pf's queue waits a second, and so does what answers to it
}

std::uint64_t Exchange::rolled_back() const {
    std::uint64_t all = 0;
    for (const auto& firewall : pfs)
        all += firewall->status().rolled_back;
    return all;
}

// ---- the same everywhere -------------------------------------------------------------------

std::string Exchange::compare(const PfState& s, state::Slot slot) {
    const sync::FlowIndex& index = engine().index();
    const state::Flow flow = index.flow(slot, engine().seconds());
    const bool first_name = s.flow.id == flow.id;
    if (!first_name && engine().pf_states().find(s.flow.id) != slot)
        return "another id";
    // While packets pass elsewhere, pf hears of one of its two states only (docs/interop.md).
    const bool idle =
        !first_name && s.flow.src_state <= flow.src_state && s.flow.dst_state <= flow.dst_state;
    if (!idle && (s.flow.src_state != flow.src_state || s.flow.dst_state != flow.dst_state))
        return "another progress";
    const state::Tuple theirs = translated(s.flow.reply, s.flow.key),
                       ours = translated(flow.reply, flow.key);
    // Of two states of a flow, the incoming one does not know of source NAT.
    const bool source_known = !options_.both || s.outgoing;
    const bool no_nat = theirs.src == s.flow.key.orig.src && theirs.sport == s.flow.key.orig.sport;
    if (std::pair(theirs.dst, theirs.dport) != std::pair(ours.dst, ours.dport) ||
        ((theirs.src != ours.src || theirs.sport != ours.sport) && (source_known || !no_nat)))
        return "another NAT";
    if (!timeouts(s.flow).contains(s.timeout) && !is_of_an_older_update(s))
        return "a timeout that does not fit";
    if (is_tcp(flow)) {
        const sync::Windows* kept = engine().pf_states().windows(slot);
        if (kept == nullptr && first_name && !s.sloppy)
            return "windows that node0 does not know";
        const sync::Windows theirs_kept(pfsync::PeerBlock{s.src}, pfsync::PeerBlock{s.dst});
        if (kept != nullptr && first_name) {
            const sync::Windows sent = traits(dialect).copies_stale_dst
                                           ? engine().pf_states().with_latest_dst(slot, *kept)
                                           : *kept; // as node0 would send them
            // A flow that moves may have numbers that only one of its firewalls has seen. Where pf
            // has none, it learns them from the next packet of that side; as its rule compares,
            // half of all numbers are before the 0 that it has.
            const auto differ = [&](const auto& there, const auto& here) {
                return there != here && (!moves || sync::Windows::seqlo(there));
            };
            if (differ(theirs_kept.src, sent.src) || differ(theirs_kept.dst, sent.dst))
                return "other windows (" + to_string(theirs_kept) + ", here " + to_string(sent) +
                       ")";
        }
    }
    return {};
}

std::string Exchange::difference(PfProcess& firewall, bool ended_too) {
    const sync::FlowIndex& index = engine().index();
    std::set<state::Key> alive;
    for (const auto& [number, l] : live)
        alive.insert(l.flow.key);
    // Whether it may be left where it is.
    const auto left = [&](const state::Flow& flow) {
        return !ended_too && is_tcp(flow) && !alive.contains(flow.key);
    };
    std::set<state::Slot> named;
    for (const PfState& s : firewall.list()) {
        state::Slot slot = index.find(s.flow.key);
        if (slot == state::kNoSlot)
            slot = engine().pf_states().find(s.flow.id); // the outgoing one of a redirected flow
        if (slot == state::kNoSlot && left(s.flow))
            continue;
        if (slot == state::kNoSlot)
            return "only pf has " + to_string(s.flow) + progress(s.flow);
        named.insert(slot);
        const state::Flow flow = index.flow(slot, 0);
        if (const std::string what = compare(s, slot); !what.empty() && !left(flow))
            return "pf has " + what + ": " + to_string(s.flow) + progress(s.flow) +
                   "; node0: " + to_string(flow) + progress(flow);
    }
    for (const state::Slot slot : index.slots())
        if (const state::Flow flow = index.flow(slot, 0);
            !named.contains(slot) && !unsaid_.contains(flow.key) && !left(flow))
            return "only node0 has " + to_string(flow) + progress(flow);
    return {};
}

std::string Exchange::difference(bool ended_too) {
    const sync::FlowIndex& index = engine().index();
    for (const auto& [number, l] : live)
        if (index.find(l.flow.key) == state::kNoSlot &&
            index.find(way_out(l.flow)) == state::kNoSlot)
            return "lost: " + to_string(l.flow) + " at node" + std::to_string(l.at);
    for (const auto& firewall : pfs)
        if (const std::string what = difference(*firewall, ended_too); !what.empty())
            return what;
    for (const state::Slot slot : index.slots()) {
        const state::Flow flow = index.flow(slot, 0);
        const auto entry = kernel().entries.find(flow.key);
        if (entry == kernel().entries.end()) {
            const auto back = put_back_.find(flow.key);
            if (back == put_back_.end() || back->second < world.now)
                return "node0's kernel lacks " + to_string(flow);
        } else if (entry->second.flow.src_state != flow.src_state ||
                   entry->second.flow.dst_state != flow.dst_state) {
            return "node0's engine and its kernel disagree about " + to_string(flow);
        }
    }
    for (const auto& [key, entry] : kernel().entries)
        if (index.find(key) == state::kNoSlot)
            return "only node0's kernel has " + to_string(entry.flow);
    return {};
}

std::size_t Exchange::left_over() {
    std::set<state::Key> alive;
    for (const auto& [number, l] : live)
        alive.insert(l.flow.key);
    std::size_t n = 0;
    for (const auto& [key, entry] : kernel().entries)
        n += !alive.contains(key);
    for (const auto& firewall : pfs)
        for (const PfState& s : firewall->list())
            n += engine().index().find(s.flow.key) == state::kNoSlot &&
                 engine().pf_states().find(s.flow.id) == state::kNoSlot;
    return n;
}

} // namespace encsync::sim
