// SPDX-License-Identifier: ISC
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"
#include "sync/clashes.hpp"
#include "sync/encsync_peer.hpp"
#include "sync/parts.hpp"
#include "sync/pf_peer.hpp"

#include <algorithm>
#include <cassert>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Fault;
using state::kNoSlot;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

constexpr Duration kBlocked = 10ms;           // a link that was full also reports when it is not
constexpr unsigned kMaxPacketsPerFlush = 512; // then others get their turn
constexpr std::uint64_t kSessionStep = std::uint64_t{1} << 32; // Sessions counts in between

std::string in_words(const Peer& peer, Reason refused) {
    if (refused == Reason::hello_version)
        return "it speaks version " + std::to_string(peer.hello_version) +
               " of encsync's own messages, and version " + std::to_string(ext::hello::kVersion) +
               " was expected";
    if (refused == Reason::unknown_action && !peer.options.extended)
        return "it sends HELLO as an encsync node does, and a pf firewall was expected";
    return "its packets are refused (" + std::string(to_string(refused)) + ")";
}

} // namespace

// ---- wiring --------------------------------------------------------------------------------

struct Engine::Wiring {
    explicit Wiring(Context& c) : ctx(c) {}

    Context& ctx;
    Peers peers{ctx};
    Outbound outbound{ctx, peers};
    Suppression suppression{ctx, peers, outbound};
    Lifecycle lifecycle{ctx, peers};
    Copies copies{ctx, peers, outbound, lifecycle, suppression};
    MissingCopies missing{ctx, peers, copies};
    LiberalTcp liberal{ctx, peers, copies};
    Ownership ownership{ctx, peers, outbound, lifecycle, copies, suppression};
    AddressLoss address_loss{ctx, peers, outbound, lifecycle, copies, ownership};
    Orphans orphans{ctx, peers};
    LocalFlows local{ctx,     peers,   outbound,  suppression,  lifecycle, copies,
                     missing, liberal, ownership, address_loss, orphans};
    TableExpectations expectations{ctx, outbound, copies, local};
    Clashes clashes{ctx, peers, outbound, lifecycle, copies, missing, ownership};
    Deferral deferral{ctx, peers, outbound, lifecycle, ownership, local, expectations};
    BulkUpdates bulk{ctx, lifecycle, ownership};
    AntiEntropy anti_entropy{ctx, outbound, lifecycle, ownership};
    PfFlows pf_flows{ctx, peers, outbound};
    PfKeepalive pf_keepalive{ctx, peers, outbound, lifecycle, copies, pf_flows};
    Readiness readiness{ctx, peers, missing, ownership};
    Sessions sessions{ctx,     peers,   outbound,  suppression, copies,
                      liberal, orphans, ownership, bulk,        readiness};
    const Parts of_a_conversation{ctx,      peers,        outbound, lifecycle, copies,
                                  liberal,  ownership,    deferral, bulk,      anti_entropy,
                                  pf_flows, pf_keepalive, sessions};
};

Engine::Engine(Options options, table::Table& table, Link& link)
    : context_(std::move(options), table), parts_(std::make_unique<Wiring>(context_)), link_(link) {
    PeerId number = 0;
    for (const PeerOptions& peer : context_.options.peers)
        add_peer(number++, peer);
}

Engine::~Engine() = default;

// ---- time ----------------------------------------------------------------------------------

void Engine::advance(Instant now) {
    Context& c = context_;
    Wiring& p = *parts_;
    c.now = std::max(now, c.now);
    c.seconds = static_cast<std::uint32_t>(c.now.time_since_epoch() / std::chrono::seconds(1));
    if (started_ == kNever)
        started_ = alone_since_ = c.now;
    for (Peer& peer : p.peers.all())
        advance(peer);
    p.missing.advance();
    p.suppression.advance(c.now);
    p.lifecycle.advance();
    p.deferral.advance();
    p.address_loss.advance();
    p.expectations.advance();
    p.copies.advance();
    p.liberal.advance();
    p.pf_keepalive.advance();
    p.orphans.advance();
    p.ownership.advance();
    if (std::ranges::any_of(p.peers.all(), &Peer::reachable))
        alone_since_ = c.now;
    else if (c.now - alone_since_ >= c.options.join_wait)
        c.served_alone = true;
}

void Engine::advance(Peer& peer) {
    parts_->outbound.advance(peer);
    parts_->sessions.advance(peer);
    if (peer.link_up)
        peer.protocol->advance();
}

Instant Engine::deadline() const {
    const Context& c = context_;
    const Wiring& p = *parts_;
    Instant next = std::min({p.missing.deadline(), p.suppression.deadline(), p.deferral.deadline(),
                             p.address_loss.deadline(), p.expectations.deadline(),
                             p.copies.deadline(), p.liberal.deadline(), p.pf_keepalive.deadline(),
                             p.orphans.deadline(), p.ownership.deadline()});
    if (!c.ever_in_step && !c.served_alone)
        next = std::min(next, std::max(c.now, alone_since_ + c.options.join_wait));
    for (const Peer& peer : p.peers.all()) {
        if (!peer.link_up)
            continue;
        const Instant send = std::min(
            {p.sessions.deadline(peer), p.outbound.deadline(peer), peer.protocol->deadline()});
        next = std::min(next, peer.blocked ? std::max(send, c.now + kBlocked) : send);
    }
    return next;
}

// ---- the table's side ----------------------------------------------------------------------

void Engine::on_created(const state::Flow& flow) {
    context_.counters.events++;
    parts_->expectations.master_known(parts_->local.changed(flow, LocalFlows::Timer::full).slot);
}

// The flow may be unknown although it is not new: it was suppressed by its mark, for example. An
// event carries only what has changed.
void Engine::on_updated(const state::Flow& flow) {
    context_.counters.events++;
    const auto [slot, fresh] = parts_->local.changed(flow, LocalFlows::Timer::full);
    parts_->expectations.master_known(slot);
    if (fresh && !flow.labels_known && context_.table_known && !context_.dumping)
        context_.table.look(flow);
}

void Engine::on_withdrawn(const state::Flow& flow) {
    context_.counters.events++;
    parts_->local.withdrawn(flow);
}

void Engine::on_destroyed(const state::Flow& flow) {
    context_.counters.events++;
    parts_->local.destroyed(flow);
}

void Engine::on_dump_begin() {
    parts_->local.dump_begin();
}

void Engine::on_dump_entry(const state::Flow& flow, bool untouched) {
    parts_->expectations.master_known(parts_->local.dump_entry(flow, untouched));
}

void Engine::on_dump_end() {
    parts_->local.dump_end();
}

void Engine::on_refused(const state::Key& key, table::Refusal refusal) {
    parts_->clashes.refused(key, refusal);
}

void Engine::on_clash(const state::Key& key, const state::Flow& holder, bool untouched) {
    const Slot slot = context_.index.find(key);
    if (slot == kNoSlot || key == holder.key)
        return on_refused(key, table::Refusal::clash);
    // As news as an entry of a dump: an event may be on its way, or lost.
    on_dump_entry(holder, untouched);
    parts_->clashes.settle(slot, holder);
}

void Engine::on_addresses_changed() {
    parts_->copies.judge_all();
}

void Engine::on_expected(const state::Expectation& expectation, bool fresh) {
    parts_->expectations.expected(expectation, fresh);
}

void Engine::on_unexpected(const state::Expectation& expectation) {
    parts_->expectations.unexpected(expectation);
}

bool Engine::defer(const state::Flow& flow, std::uint32_t token) {
    return parts_->deferral.defer(flow, token);
}

// ---- the peers' side -----------------------------------------------------------------------

void Engine::on_link_up(PeerId peer) {
    parts_->sessions.link_up(parts_->peers[peer]);
}

void Engine::on_link_down(PeerId peer) {
    parts_->sessions.link_down(parts_->peers[peer]);
}

void Engine::on_packet(PeerId number, Bytes payload) {
    Peer& peer = parts_->peers[number];
    peer.counters.rx_packets++;
    peer.verdict.begin();
    pfsync::Parser parser(payload, peer.options.dialect);
    const bool reads_no_hello = parser.version() != 0 && !traits(parser.dialect()).extensible();
    if (!peer.options.dialect && reads_no_hello && peer.remote != 0) {
        peer.verdict.refuse(Fault::bad_version); // it has sent HELLO, in our own dialect
    } else {
        if (!peer.options.dialect && reads_no_hello)
            parts_->sessions.learn_dialect(peer, parser.version(), payload);
        peer.protocol->receive(parser.next(), parser);
        if (parser.fault() != Fault::none)
            peer.verdict.refuse(parser.fault());
    }
    if (!peer.accepted && peer.verdict.last() != Reason::accept)
        on_packet_refused(number, in_words(peer, peer.verdict.last()));
}

void Engine::on_packet_refused(PeerId number, std::string why) {
    if (Peer& peer = parts_->peers[number]; !peer.accepted)
        peer.refusal = std::move(why);
}

bool Engine::flush() {
    bool more = parts_->local.look_at_unnamed();
    // An INS_ACK confirms that the table has it: the peer then releases a packet.
    if (std::ranges::any_of(parts_->peers.all(),
                            [](const Peer& p) { return p.outbox.acknowledges_inserts(); }))
        context_.table.flush();
    for (Peer& peer : parts_->peers.all())
        more = transmit(peer) || more;
    link_.flush();
    context_.table.flush();
    parts_->missing.note();
    return more;
}

bool Engine::transmit(Peer& peer) {
    if (!peer.link_up)
        return false;
    for (unsigned n = 0; n < kMaxPacketsPerFlush && peer.protocol->due(); n++) {
        const MutableBytes room = link_.acquire(peer.id);
        peer.blocked = room.empty();
        if (peer.blocked)
            return false;
        const std::size_t size = peer.protocol->build(room);
        link_.commit(peer.id, size);
        if (size == 0)
            return false;
        peer.counters.tx_packets++;
        if (peer.protocol->pauses())
            return false;
    }
    return peer.protocol->due();
}

// ---- the administrator's side --------------------------------------------------------------

std::unique_ptr<Peer> Engine::make_peer(PeerId number, PeerOptions options, bool present) {
    auto peer =
        std::make_unique<Peer>(number, std::move(options), present, context_.options.creatorid);
    peer->encsync = std::make_unique<EncsyncPeer>(*peer, parts_->of_a_conversation);
    peer->pf = std::make_unique<PfPeer>(*peer, parts_->of_a_conversation);
    peer->protocol = peer->options.extended ? peer->encsync.get() : peer->pf.get();
    peer->zones = peer->protocol->zones();
    return peer;
}

void Engine::add_peer(PeerId number, PeerOptions options) {
    assert(number < kMaxPeers && !has_peer(number));
    Wiring& p = *parts_;
    while (p.peers.count() < number)
        p.peers.put(make_peer(p.peers.count(), {}, false));
    p.peers.put(make_peer(number, std::move(options), true));
    Peer& peer = p.peers[number];
    peer.local = context_.options.session;
    if (peer.options.extended)
        context_.flows.begin_digests();
    p.missing.forget(number);
    p.sessions.begin(peer); // what the place's last holder left in the records
    p.suppression.peers_changed();
}

// It has vanished for good: the flows it owned have no owner until a node takes them over, and time
// out unless traffic keeps them. Its number is free for another.
void Engine::remove_peer(PeerId number) {
    assert(has_peer(number));
    Wiring& p = *parts_;
    if (p.peers[number].link_up)
        p.sessions.link_down(p.peers[number]);
    p.sessions.begin(p.peers[number]);
    for (const Slot slot : context_.index.slots()) {
        LocalState& local = context_.flows.local(slot);
        if (local.origin == origin_of(number))
            local.origin = 0; // the number will be another's
        if (context_.record(slot).owner != number)
            continue;
        if (context_.record(slot).refused())
            p.lifecycle.erase(slot);
        else
            p.ownership.set_owner(slot, kGone);
    }
    p.peers.put(make_peer(number, {}, false));
    context_.options.session += kSessionStep; // if it comes back, it must see a new session
    p.ownership.settle_unclaimed(); // it may have been the last one that had not named them
    p.orphans.watch();
}

void Engine::set_trusted(PeerId number, std::vector<KeyPrint> keys) {
    Peer& peer = parts_->peers[number];
    keys.resize(std::min(keys.size(), ext::hello::max_keys));
    if (peer.options.trusted == keys)
        return;
    peer.options.trusted = std::move(keys);
    peer.hello_now = peer.extended;
}

void Engine::set_role(Role role) {
    Wiring& p = *parts_;
    const bool other_role = role != context_.options.role;
    context_.options.role = role;
    if (role == Role::standby) // who takes over wants those, too
        p.suppression.advance(Instant::max());
    if (other_role && role == Role::active)
        for (Peer& peer : p.peers.all())
            peer.protocol->on_promoted();
    p.sessions.send_hellos();
    p.ownership.reconcile();
    if (other_role)
        p.liberal.relax_all();
    p.orphans.watch();
}

void Engine::set_tracking(std::optional<TcpTracking> tracking) {
    parts_->sessions.set_tracking(tracking);
}

std::size_t Engine::remove_states_of(PeerId peer) {
    return parts_->ownership.remove_brought_by(peer);
}

void Engine::set_room(std::int64_t room) {
    context_.room = room;
    parts_->copies.share_out();
    if (room < 0)
        parts_->copies.make_room(static_cast<std::size_t>(-room));
}

void Engine::request_bulk(PeerId peer) {
    parts_->bulk.request(parts_->peers[peer]);
}

bool Engine::misunderstood(PeerId peer, std::string* why) const {
    return parts_->readiness.misunderstood(peer, why);
}

std::optional<Duration> Engine::lag(PeerId peer, Instant now) const {
    const auto since = session(peer).protocol->oldest_unacknowledged();
    if (!since)
        return std::nullopt;
    return *since == Instant::max() ? Duration(0) : std::max(now - *since, Duration(0));
}

const Histogram& Engine::acknowledge_latency(PeerId peer) const {
    return *session(peer).encsync->acknowledge_latency();
}

Unready Engine::unready(std::string* why) const {
    return parts_->readiness.unready(why);
}

// ---- what is to be seen --------------------------------------------------------------------

policy::Verdict& Engine::verdict(PeerId peer) {
    return parts_->peers[peer].verdict;
}

const Peer& Engine::session(PeerId peer) const {
    return parts_->peers[peer];
}

bool Engine::has_peer(PeerId peer) const {
    return parts_->peers.has(peer);
}

std::size_t Engine::deferred() const {
    return parts_->deferral.waiting();
}

std::size_t Engine::early_expectations() const {
    return parts_->expectations.waiting();
}

std::size_t Engine::missing_of(PeerId peer) const {
    return parts_->missing.count(peer);
}

bool Engine::holds_all_of(PeerId peer) const {
    return parts_->readiness.holds_all_of(peer);
}

std::vector<MissingEdge> Engine::missing_edges() const {
    return parts_->readiness.missing_edges();
}

std::string Engine::describe(const MissingEdge& edge) const {
    return parts_->readiness.describe(edge);
}

} // namespace encsync::sync
