// SPDX-License-Identifier: ISC
// How nodes meet: the path to a peer, hello and session numbers, acks, bulk updates.
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"
#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Fault;
using state::kNoSlot;
using state::Slot;
namespace ext = pfsync::extension;

// ---- the path ------------------------------------------------------------------------------

void Engine::on_link_up(PeerId peer) {
    Session& s = *sessions_[peer];
    s.link_up = true;
    s.up_since = now_;
    s.accepted = false;
    s.refusal.clear();
    s.hello_due = now_;
    s.outstanding.resume([&](const Item& item) { say_again(peer, item); });
    s.heard_plain = s.assumed_plain = false;
    s.dialect = s.options.dialect.value_or(pfsync::kOwnDialect);
    review_zones(peer);
    if (s.plain())
        request_bulk(peer);
}

void Engine::on_link_down(PeerId peer) {
    Session& s = *sessions_[peer];
    s.link_up = false;
    if (s.plain()) { // a pf peer does not say whether it is still the same
        begin_session(peer);
        s.remote = 0;
    }
    if (!s.silent)
        on_silent(peer);
}

void Engine::heard(PeerId peer) {
    Session& s = *sessions_[peer];
    s.last_heard = now_;
    s.accepted = true;
    s.refusal.clear();
    if (s.plain())
        ask_again_plain(peer);
    if (!s.silent)
        return;
    s.silent = false;
    if (s.plain())
        renew_leases(peer);
    s.outstanding.resume([&](const Item& item) { say_again(peer, item); });
    reconcile_roles();
    relax_all();
}

void Engine::on_silent(PeerId peer) {
    Session& s = *sessions_[peer];
    s.silent = true;
    s.accepted = false;
    s.role = Role::automatic; // what it says when it is back counts, not what it was
    reconcile_roles();
    lengthen(peer);
    watch_orphans();
}

// The peer has begun anew, or we have: nothing of what was under way counts any more, and each
// side asks the other for everything.
void Engine::begin_session(PeerId peer) {
    Session& s = *sessions_[peer];
    for (const Slot slot : index_.slots()) {
        state::Marks& marks = flows_.marks(slot);
        clear(marks.known, peer);
        clear(marks.queued, peer);
        clear(marks.full, peer);
        clear(marks.waiting, peer);
    }
    s.queue.clear();
    s.waiting.clear();
    s.removals.clear();
    s.requests.clear();
    s.asked.clear();
    s.insert_acks.clear();
    s.bulk_again.clear();
    s.expecting = kNoSlot;
    s.outstanding.forget();
    s.inbox = {};
    s.checks = {};
    s.ack_due = Instant::max();
    s.bulk_request_now = s.bulk_start_now = s.bulk_end_now = false;
    s.sending_bulk = s.bulk_requested = s.bulk_arriving = false;
    s.extended = false;
    s.in_step = false;
    s.peer_in_step = false;
}

void Engine::begin_anew(PeerId peer) {
    Session& s = *sessions_[peer];
    s.local++;
    begin_session(peer);
    s.remote = 0;
    s.hello_now = s.link_up;
}

// ---- bulk updates --------------------------------------------------------------------------

void Engine::receive_bulk_status(PeerId peer, Bytes message) {
    Session& s = *sessions_[peer];
    pfsync::BulkStatus status;
    if (const Fault fault = pfsync::read(message, status); fault != Fault::none) {
        refuse(fault);
        return;
    }
    if (s.plain())
        return receive_plain_bulk(peer, status);
    if (!status.end) {
        s.bulk_arriving = true;
        s.bulk_received = 0;
        s.epoch++;
    } else if (s.bulk_arriving) {
        end_bulk(peer);
    }
}

// What the peer owns and did not name in its whole bulk update, it no longer has.
void Engine::end_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    if (s.extended && s.bulk_arriving && flows_.copies(peer) != 0)
        for (const Slot slot : index_.slots()) {
            const state::Record& record = index_.record(slot);
            if (record.owner != peer || record.epoch == s.epoch)
                continue;
            discard(slot);
            s.counters.swept++;
        }
    s.bulk_arriving = s.bulk_requested = false;
    s.counters.bulks_received++;
    if (!s.in_step) {
        s.in_step = ever_in_step_ = true;
        s.in_step_since = now_;
        s.hello_now = s.hello_now || s.extended;
    }
    forget_gone();
    settle_unclaimed();
}

// ---- our own messages ----------------------------------------------------------------------

void Engine::receive_hello(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    const auto session = load_be<std::uint64_t>(&m[ext::hello::session]);
    const auto creatorid = load_be<std::uint32_t>(&m[ext::hello::creatorid]);
    const std::uint8_t role = m[ext::hello::role];
    const std::uint8_t flags = m[ext::hello::flags];
    if (!s.options.extended) {
        refuse(Refused::unknown_action);
        return;
    }
    s.hello_version = load_be<std::uint16_t>(&m[ext::hello::version]);
    if (s.hello_version != ext::hello::kVersion) {
        refuse(Refused::hello_version);
        return;
    }
    auto told = HelloTail::read(m);
    if (session == 0 || creatorid == 0 || creatorid == options_.creatorid || role > 2 || !told) {
        refuse(Refused::bad_hello);
        return;
    }
    const bool fresh = session != s.remote;
    if (fresh) {
        begin_session(peer);
        s.remote = session;
        s.assumed_plain = false;
        s.dialect = pfsync::kOwnDialect;
        s.hello_now = true;
    }
    s.reads_reply_zone = (flags & ext::hello::kReadsReplyZone) != 0;
    review_zones(peer);
    s.creatorid = creatorid;
    s.told = std::move(*told);
    s.peer_ready = (flags & ext::hello::kReady) != 0;
    s.peer_in_step = (flags & ext::hello::kInStep) != 0;
    s.tracking.reset();
    if ((flags & ext::hello::kTracking) != 0)
        s.tracking = {(flags & ext::hello::kLoose) != 0, (flags & ext::hello::kLiberal) != 0};
    s.peer_states = load_be<std::uint64_t>(&m[ext::hello::states]);
    const auto checked = load_be<std::uint32_t>(&m[ext::hello::checked]);
    s.checks.peer_equal =
        checked == ext::hello::kNever ? Instant(-1) : now_ - std::chrono::seconds(checked);
    const bool other_role = s.role != static_cast<Role>(role);
    s.role = static_cast<Role>(role);
    heard(peer);
    if (fresh && session != s.lost_in) {
        s.lost = (flags & ext::hello::kLost) != 0;
        if (s.lost) {
            s.lost_in = session;
            take_lost(peer);
        }
    }
    if (fresh || other_role)
        reconcile_roles();
    if (other_role)
        relax_all();

    s.remote_heard_us = load_be<std::uint64_t>(&m[ext::hello::heard]) == s.local;
    if (!s.remote_heard_us) {
        s.hello_now = true;
    } else if (!s.extended) {
        s.extended = true;
        request_bulk(peer);
    }
}

void Engine::receive_ack(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    if (load_be<std::uint64_t>(&m[ext::ack::session]) != s.local || !s.extended) {
        refuse(Refused::foreign_session);
        return;
    }
    heard(peer);
    const Bytes bitmap =
        m.subspan(ext::ack::bitmap, std::min(m.size() - ext::ack::bitmap, ext::ack::max_bitmap));
    if (!s.outstanding.acknowledge(load_be<std::uint64_t>(&m[ext::ack::highest]), bitmap, now_,
                                   [&](const Item& item) { say_again(peer, item); }))
        refuse(Refused::bad_ack);
    s.counters.lost_packets = s.outstanding.lost_packets();
}

} // namespace encsync::sync
