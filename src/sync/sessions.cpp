// SPDX-License-Identifier: ISC
#include "sync/sessions.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
namespace ext = pfsync::extension;

namespace {

constexpr Duration kHelloInterval = 1s, kFirstHellos = 250ms;

} // namespace

// ---- the path ------------------------------------------------------------------------------

void Sessions::link_up(Peer& peer) {
    peer.link_up = true;
    peer.up_since = ctx_.now;
    peer.accepted = false;
    peer.refusal.clear();
    peer.hello_due = ctx_.now;
    peer.dialect = peer.options.dialect.value_or(pfsync::kOwnDialect);
    peer.protocol = peer.options.extended ? peer.encsync.get() : peer.pf.get();
    suppression_.zones_changed(peer);
    peer.protocol->on_link_up();
}

void Sessions::link_down(Peer& peer) {
    peer.link_up = false;
    peer.protocol->on_link_down();
    if (!peer.silent)
        silent(peer);
}

void Sessions::received(Peer& peer) {
    peer.last_received = ctx_.now;
    peer.accepted = true;
    peer.refusal.clear();
    peer.protocol->on_received();
    if (!peer.silent)
        return;
    peer.silent = false;
    peer.protocol->on_received_again();
    ownership_.reconcile();
    liberal_.relax_all();
}

void Sessions::silent(Peer& peer) {
    peer.silent = true;
    peer.accepted = false;
    peer.role = Role::automatic; // what it announces when it is back counts, not what it was
    ownership_.reconcile();
    copies_.lengthen(peer.id);
    orphans_.watch();
}

void Sessions::begin(Peer& peer) {
    outbound_.reset(peer);
    peer.bulk.reset();
    peer.checks = {};
    peer.encsync->reset();
    peer.pf->reset();
    peer.extended = peer.in_step = peer.peer_in_step = false;
}

void Sessions::begin_anew(Peer& peer) {
    peer.local++;
    begin(peer);
    peer.remote = 0;
    peer.hello_now = peer.link_up;
}

void Sessions::take_for_pf(Peer& peer) {
    if (peer.is_pf())
        return;
    peer.protocol = peer.pf.get();
    suppression_.zones_changed(peer);
    bulk_.request(peer);
}

void Sessions::learn_dialect(Peer& peer, std::uint8_t version, Bytes payload) {
    const auto shown = pfsync::detect(payload);
    if (shown || pfsync::version_of(peer.dialect) != version)
        peer.dialect = shown.value_or(pfsync::dialects_of(version).front());
    take_for_pf(peer);
}

// ---- HELLO ---------------------------------------------------------------------------------

void Sessions::receive_hello(Peer& peer, Bytes message) {
    if (!peer.options.extended)
        return peer.verdict.refuse(Reason::unknown_action);
    peer.hello_version = Hello::version_of(message);
    if (peer.hello_version != ext::hello::kVersion)
        return peer.verdict.refuse(Reason::hello_version);
    std::optional<Hello> hello = Hello::read(message);
    if (!hello || hello->creatorid == ctx_.options.creatorid)
        return peer.verdict.refuse(Reason::bad_hello);
    if (!peer.verdict.speaks_for(hello->creatorid))
        return;
    const bool fresh = hello->session != peer.remote;
    if (fresh) {
        begin(peer);
        peer.remote = hello->session;
        peer.protocol = peer.encsync.get();
        peer.dialect = pfsync::kOwnDialect;
        peer.hello_now = true;
    }
    peer.reads_reply_zone = hello->reads_reply_zone;
    suppression_.zones_changed(peer);
    peer.creatorid = hello->creatorid;
    peer.hello_tail = std::move(hello->tail);
    peer.peer_ready = hello->ready;
    peer.peer_in_step = hello->in_step;
    peer.tracking = hello->tracking;
    peer.peer_states = hello->states;
    peer.checks.peer_equal = hello->checked ? ctx_.now - *hello->checked : kNever;
    const bool other_role = peer.role != hello->role;
    peer.role = hello->role;
    received(peer);
    if (fresh && hello->session != peer.lost_in) {
        peer.lost = hello->lost;
        if (peer.lost) {
            peer.lost_in = hello->session;
            ownership_.take_lost(peer);
        }
    }
    if (fresh || other_role)
        ownership_.reconcile();
    if (other_role)
        liberal_.relax_all();
    if (hello->peer_session != peer.local) {
        peer.hello_now = true;
    } else if (!peer.extended) {
        peer.extended = true;
        bulk_.request(peer);
    }
}

void Sessions::write_hello(Peer& peer, pfsync::Builder& packet) {
    Hello hello;
    hello.session = peer.local;
    hello.peer_session = peer.remote;
    hello.creatorid = ctx_.options.creatorid;
    hello.version = ext::hello::kVersion;
    hello.role = ctx_.options.role;
    hello.ready = readiness_.unready(nullptr) == Unready::no;
    hello.in_step = peer.in_step;
    hello.lost = !ctx_.options.table_kept && !ctx_.ever_in_step && !ctx_.served_alone;
    hello.reads_reply_zone = true;
    hello.tracking = tracking_;
    hello.states = ctx_.index.size();
    hello.live = ctx_.flows.live() - ctx_.flows.suppressed(peer.id);
    if (peer.checks.equal != kNever)
        hello.checked =
            std::chrono::duration_cast<std::chrono::seconds>(ctx_.now - peer.checks.equal);
    hello.tail = {readiness_.neighbours_for(peer.id), peer.options.trusted};
    hello.write(packet.add(ext::kHello, hello.tail.hello_size()));
    peer.hello_now = false;
    peer.hello_due = ctx_.now + (peer.extended || peer.is_pf() ? kHelloInterval : kFirstHellos);
}

void Sessions::send_hellos() {
    for (Peer& peer : peers_.all())
        peer.hello_now = peer.link_up && peer.sends_hello();
}

// ---- time ----------------------------------------------------------------------------------

void Sessions::advance(Peer& peer) {
    if (peer.outbox.overflowed())
        begin_anew(peer);
    if (!peer.link_up)
        return;
    if (!peer.silent && peer.extended && ctx_.now - peer.last_received >= Peer::kSilence)
        silent(peer);
    if (peer.sends_hello() && ctx_.now >= peer.hello_due)
        peer.hello_now = true;
}

Instant Sessions::deadline(const Peer& peer) const {
    Instant next = peer.sends_hello() ? peer.hello_due : Instant::max();
    if (peer.extended && !peer.silent)
        next = std::min(next, peer.last_received + Peer::kSilence);
    return next;
}

} // namespace encsync::sync
