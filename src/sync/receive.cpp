// What peers say.
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"
#include "sync/marks.hpp"
#include "sync/merge.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Fault;
using pfsync::Section;
using pfsync::openbsd::Action;
using state::kNoSlot;
using state::Record;
using state::Slot;
namespace ext = pfsync::extension;
namespace wire = pfsync::openbsd;

namespace {

constexpr Instant kAckDelay = 20ms;
constexpr std::uint32_t kAckEvery = 64; // packets
constexpr std::size_t kMaxRequests = 4096;
// Between bulk updates asked for because counts differ; doubled each time it was in vain.
constexpr Instant kRepairPause = 2s, kMaxRepairPause = 64s;

// The size a message of this action must have at least; 0: an action we do not know.
std::size_t least_size(std::uint8_t action) {
    switch (action) {
    case ext::kHello:
        return ext::hello::size;
    case ext::kSeq:
        return ext::seq::size;
    case ext::kAck:
        return ext::ack::bitmap + 4;
    default:
        return pfsync::message_size(action);
    }
}

} // namespace

void Engine::refuse(Fault fault) {
    refuse(Refused::fault);
    counters_.faults[static_cast<std::size_t>(fault)]++;
}

// ---- the path ------------------------------------------------------------------------------

void Engine::on_link_up(PeerId peer) {
    Session& s = *sessions_[peer];
    s.link_up = true;
    s.up_since = now_;
    s.hello_due = now_;
    s.heard_plain = s.assumed_plain = false;
    if (s.plain())
        request_bulk(peer);
}

void Engine::on_link_down(PeerId peer) {
    Session& s = *sessions_[peer];
    s.link_up = false;
    if (s.plain()) {
        begin_session(peer);
        s.remote = 0;
    }
    if (!s.silent)
        on_silent(peer);
}

void Engine::heard(PeerId peer) {
    Session& s = *sessions_[peer];
    s.last_heard = now_;
    if (s.silent) {
        s.silent = false;
        reconcile_roles();
    }
}

// The peer has begun anew, or we have: nothing of what was under way counts any more, and each
// side asks the other for everything.
void Engine::begin_session(PeerId peer) {
    Session& s = *sessions_[peer];
    for (const Slot slot : s.queue)
        if (index_.used(slot)) {
            clear(index_.record(slot).sync.queued, peer);
            clear(index_.record(slot).sync.full, peer);
        }
    s.queue.clear();
    s.removals.clear();
    s.requests.clear();
    s.insert_acks.clear();
    s.bulk_again.clear();
    s.outstanding.forget();
    s.inbox = {};
    s.ack_due = Instant::max();
    s.bulk_request_now = s.bulk_start_now = s.bulk_end_now = false;
    s.sending_bulk = s.bulk_requested = s.bulk_arriving = false;
    s.extended = false;
    s.in_step = false;
    s.peer_in_step = false;
}

// ---- packets -------------------------------------------------------------------------------

void Engine::on_packet(PeerId peer, Bytes payload) {
    Session& s = *sessions_[peer];
    s.counters.rx_packets++;
    pfsync::Parser parser(payload);
    const Section* section = parser.next();
    bool numbered = false;
    if (section != nullptr && section->action == ext::kSeq && section->stride >= ext::seq::size &&
        s.options.extended) {
        const Bytes m = section->message(0);
        heard(peer);
        if (s.remote == 0 || load_be<std::uint64_t>(&m[ext::seq::session]) != s.remote) {
            refuse(Refused::foreign_session);
            s.hello_now = true;
            return;
        }
        // Late packets are acknowledged too: so the sender learns that they count as lost.
        s.ack_due = std::min(s.ack_due, now_ + kAckDelay);
        if (!s.inbox.take(load_be<std::uint64_t>(&m[ext::seq::number]))) {
            s.counters.late_packets++;
            return;
        }
        if (s.inbox.unacknowledged() >= kAckEvery)
            s.ack_due = now_;
        numbered = true;
        section = parser.next();
    }
    for (; section != nullptr; section = parser.next()) {
        const bool own = section->action == ext::kHello || section->action == ext::kAck;
        if (!own && !numbered && s.options.extended) {
            // A node that knows us numbers what it says; without a number it is a pf peer, or one
            // of ours that has forgotten us.
            if (s.remote != 0) {
                refuse(Refused::foreign_session);
                s.hello_now = true;
                return;
            }
            s.heard_plain = true;
            heard(peer);
        } else if (!own && !s.options.extended) {
            heard(peer);
        }
        receive_section(peer, *section);
    }
    if (parser.fault() != Fault::none)
        refuse(parser.fault());
}

void Engine::receive_section(PeerId peer, const Section& section) {
    const std::size_t least = least_size(section.action);
    if (least == 0) {
        refuse(Refused::unknown_action);
        return;
    }
    if (section.stride < least) {
        refuse(Refused::short_message);
        return;
    }
    sessions_[peer]->counters.rx_messages += section.count;
    for (std::uint16_t n = 0; n < section.count; n++) {
        const Bytes m = section.message(n);
        switch (section.action) {
        case static_cast<std::uint8_t>(Action::ins):
        case static_cast<std::uint8_t>(Action::upd): // an unknown one is an insert (pfsync(4))
            receive_full(peer, m);
            break;
        case static_cast<std::uint8_t>(Action::upd_c):
            receive_update(peer, m);
            break;
        case static_cast<std::uint8_t>(Action::upd_req):
            receive_request(peer, pfsync::read_id(m));
            break;
        case static_cast<std::uint8_t>(Action::del_c):
            receive_removal(peer, pfsync::read_id(m));
            break;
        case static_cast<std::uint8_t>(Action::del): {
            pfsync::FullState full;
            if (const Fault fault = pfsync::read(m, full); fault != Fault::none)
                refuse(fault);
            else
                receive_removal(peer, full.flow.id);
            break;
        }
        case static_cast<std::uint8_t>(Action::clr):
            receive_clear(peer, m);
            break;
        case static_cast<std::uint8_t>(Action::bus):
            receive_bulk_status(peer, m);
            break;
        case ext::kHello:
            receive_hello(peer, m);
            break;
        case ext::kAck:
            receive_ack(peer, m);
            break;
        default: // INS_ACK, TDB: nothing here waits for them
            break;
        }
    }
}

// Active before auto before standby; equals are told apart otherwise.
bool Engine::roles_decide(const Session& s) const {
    return options_.role != s.role;
}

bool Engine::we_outrank(const Session& s) const {
    return options_.role == Role::active || s.role == Role::standby;
}

// ---- states --------------------------------------------------------------------------------

// Brings what we know of a flow together with what the peer says of it, and settles whose it is.
void Engine::merge_into(PeerId peer, Slot slot, const Said& said) {
    Session& s = *sessions_[peer];
    Record& record = index_.record(slot);
    set(record.sync.known, peer);
    const std::uint8_t owner = record.sync.owner;
    const state::Flow before = index_.flow(slot, now_s_);

    const Merge merged = merge(record, said.src_state, said.dst_state);
    record.flags = static_cast<std::uint8_t>(
        record.flags | said.flags |
        progress_flags(before.key.proto, record.src_state, record.dst_state));
    if (merged.any_stale())
        s.counters.stale++;

    bool ours = owner == kHere;
    if (!said.live) {
        // It holds a copy, and takes it for ours while we take it for its own: one must have it.
        if (owner == peer && s.creatorid != 0 && options_.creatorid < s.creatorid) {
            set_owner(slot, kHere);
            announce(slot, true);
            ours = true;
        } else if (owner == kUnclaimed) {
            set_owner(slot, peer);
        }
    } else if (owner != kHere) {
        set_owner(slot, peer);
    } else {
        bool keep = merged.any_stale();
        if (roles_decide(s))
            keep = we_outrank(s);
        else if (said.in_bulk)
            keep = s.creatorid == 0 || options_.creatorid < s.creatorid;
        if (!keep) {
            set_owner(slot, peer);
            ours = false;
        }
    }
    if (!ours && index_.record(slot).sync.owner == peer) {
        record.sync.epoch = s.epoch;
        if (said.mark)
            record.mark = *said.mark;
        if (said.reply != nullptr && index_.reply(slot) != *said.reply)
            index_.set_reply(slot, *said.reply);
    }
    const state::Flow after = index_.flow(slot, now_s_);
    const bool changed = before.src_state != after.src_state ||
                         before.dst_state != after.dst_state || before.flags != after.flags ||
                         before.mark != after.mark || before.reply != after.reply;
    if (changed || (owner == kHere) != (record.sync.owner == kHere))
        put_copy(slot);
    if (merged.any_stale())
        enqueue(s, peer, slot, false);
}

void Engine::receive_full(PeerId peer, Bytes message) {
    Session& s = *sessions_[peer];
    if (s.plain())
        message = message.first(wire::kStateSize); // what a pf peer may append is not our tail
    pfsync::FullState full;
    if (const Fault fault = pfsync::read(message, full); fault != Fault::none) {
        refuse(fault);
        return;
    }
    const state::Flow& flow = full.flow;
    Slot slot = index_.find(flow.id);
    if (slot != kNoSlot && index_.key(slot) != flow.key) {
        refuse(Refused::id_clash);
        return;
    }
    if (slot == kNoSlot) {
        slot = index_.find(flow.key);
        if (slot != kNoSlot) {
            receive_other_name(peer, slot, full);
            return;
        }
        // A copy of somebody's. It is news only to a node that joins without a table of its own;
        // otherwise it has ended here, and the peer does not know yet.
        if (!full.live && (options_.table_kept || ever_in_step_ || gone_lately_.contains(flow.key)))
            return;
    }
    if (slot == kNoSlot) {
        if (index_.size() >= options_.max_states) {
            refuse(Refused::table_limit);
            return;
        }
        slot = adopt_new(flow, peer);
        if (slot == kNoSlot)
            return;
        set(index_.record(slot).sync.known, peer);
        put_copy(slot);
    } else {
        Said said;
        said.src_state = flow.src_state;
        said.dst_state = flow.dst_state;
        said.flags = flow.flags;
        said.reply = &flow.reply;
        if (full.has_tail)
            said.mark = flow.mark;
        said.live = full.live;
        said.in_bulk = s.bulk_arriving;
        merge_into(peer, slot, said);
    }
    if (full.wants_ack)
        s.insert_acks.push_back(flow.id);
}

// One flow under two names: two lives of it, or born on two nodes. The name that its owner gives
// it holds, and with the name what the owner says of it; between two owners roles decide, then
// the smaller name. A pf peer does not change its mind.
void Engine::receive_other_name(PeerId peer, Slot slot, const pfsync::FullState& full) {
    Session& s = *sessions_[peer];
    Record& record = index_.record(slot);
    const std::uint8_t owner = record.sync.owner;
    bool theirs = full.live || owner == peer || !owner_alive(owner);
    if (owner == kHere) {
        const bool roles_decide =
            options_.role != s.role && (options_.role == Role::active || s.role == Role::active);
        theirs = full.live && (roles_decide ? s.role == Role::active : full.flow.id < record.id);
    }
    if (s.plain())
        theirs = true;
    if (!theirs) {
        if (owner == kHere) {
            clear(record.sync.known, peer);
            enqueue(s, peer, slot, true);
        }
        return;
    }
    index_.rename(slot, full.flow.id);
    if (index_.reply(slot) != full.flow.reply)
        index_.set_reply(slot, full.flow.reply);
    record.src_state = full.flow.src_state;
    record.dst_state = full.flow.dst_state;
    record.flags = full.flow.flags;
    if (full.has_tail)
        record.mark = full.flow.mark;
    record.sync.known = bit(peer);
    set_owner(slot, peer);
    put_copy(slot);
}

void Engine::receive_update(PeerId peer, Bytes message) {
    Session& s = *sessions_[peer];
    pfsync::CompressedUpdate update;
    if (const Fault fault = pfsync::read(message, update); fault != Fault::none) {
        refuse(fault);
        return;
    }
    const Slot slot = index_.find(update.id);
    if (slot == kNoSlot) {
        s.counters.requests++;
        if (s.requests.size() < kMaxRequests &&
            std::find(s.requests.begin(), s.requests.end(), update.id) == s.requests.end())
            s.requests.push_back(update.id);
        return;
    }
    Said said;
    said.src_state = update.src.state();
    said.dst_state = update.dst.state();
    merge_into(peer, slot, said);
}

void Engine::receive_request(PeerId peer, state::StateId id) {
    Session& s = *sessions_[peer];
    if (id == state::StateId{}) {
        if (!s.sending_bulk) // a second request while one is answered changes nothing
            start_bulk(peer);
        return;
    }
    const Slot slot = index_.find(id);
    if (slot == kNoSlot)
        refuse(Refused::unknown_state);
    else if ((index_.record(slot).flags & state::kNoSync) != 0)
        refuse(Refused::no_sync);
    else
        enqueue(s, peer, slot, true);
}

void Engine::receive_removal(PeerId peer, state::StateId id) {
    Session& s = *sessions_[peer];
    const Slot slot = index_.find(id);
    if (slot == kNoSlot)
        return;
    Record& record = index_.record(slot);
    if (record.sync.owner == kHere && options_.role != Role::standby) {
        // Its timer ran out there, but traffic passes here: it is told again.
        refuse(Refused::not_owner);
        clear(record.sync.known, peer);
        enqueue(s, peer, slot, true);
        return;
    }
    table_.remove(index_.flow(slot, now_s_));
    forget(slot);
}

void Engine::receive_clear(PeerId peer, Bytes message) {
    pfsync::Clear clear_all;
    if (const Fault fault = pfsync::read(message, clear_all); fault != Fault::none) {
        refuse(fault);
        return;
    }
    if (clear_all.creatorid == options_.creatorid) {
        refuse(Refused::own_creatorid);
        return;
    }
    // Our states float: they belong to no single interface.
    if (!clear_all.ifname.empty() && clear_all.ifname != "all")
        return;
    for (Slot slot = index_.next(kNoSlot); slot != kNoSlot; slot = index_.next(slot)) {
        const Record& record = index_.record(slot);
        if (record.sync.owner == peer && record.id.creatorid == clear_all.creatorid) {
            table_.remove(index_.flow(slot, now_s_));
            forget(slot);
        }
    }
}

void Engine::receive_bulk_status(PeerId peer, Bytes message) {
    Session& s = *sessions_[peer];
    pfsync::BulkStatus status;
    if (const Fault fault = pfsync::read(message, status); fault != Fault::none) {
        refuse(fault);
        return;
    }
    if (!status.end) {
        s.bulk_arriving = true;
        s.epoch++;
    } else if (s.bulk_arriving || s.plain()) {
        end_bulk(peer);
    }
}

// What the peer owns and did not name in its whole bulk update, it no longer has.
void Engine::end_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    if (s.extended && s.bulk_arriving && copies_[peer] != 0)
        for (Slot slot = index_.next(kNoSlot); slot != kNoSlot; slot = index_.next(slot)) {
            const state::SyncMarks& sync = index_.record(slot).sync;
            if (sync.owner != peer || sync.epoch == s.epoch)
                continue;
            table_.remove(index_.flow(slot, now_s_));
            forget(slot);
            s.counters.swept++;
        }
    s.bulk_arriving = s.bulk_requested = false;
    s.counters.bulks_received++;
    if (!s.in_step) {
        s.in_step = ever_in_step_ = true;
        s.in_step_since = now_;
        s.hello_now = s.extended;
    }
    forget_gone();
    drop_unclaimed();
}

// ---- our own messages ----------------------------------------------------------------------

void Engine::receive_hello(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    const auto session = load_be<std::uint64_t>(&m[ext::hello::session]);
    const auto heard_of = load_be<std::uint64_t>(&m[ext::hello::heard]);
    const auto creatorid = load_be<std::uint32_t>(&m[ext::hello::creatorid]);
    const std::uint8_t role = m[ext::hello::role];
    const std::uint8_t flags = m[ext::hello::flags];
    if (!s.options.extended) {
        refuse(Refused::unknown_action);
        return;
    }
    if (session == 0 || creatorid == 0 || creatorid == options_.creatorid || role > 2) {
        refuse(Refused::bad_hello);
        return;
    }
    heard(peer);
    if (session != s.remote) {
        begin_session(peer);
        s.remote = session;
        s.assumed_plain = false;
        s.hello_now = true;
    }
    s.creatorid = creatorid;
    s.peer_ready = (flags & ext::hello::kReady) != 0;
    s.peer_in_step = (flags & ext::hello::kInStep) != 0;
    s.peer_states = load_be<std::uint64_t>(&m[ext::hello::states]);
    if (s.role != static_cast<Role>(role)) {
        s.role = static_cast<Role>(role);
        reconcile_roles();
    }
    s.remote_heard_us = heard_of == s.local;
    if (!s.remote_heard_us) {
        s.hello_now = true;
        return;
    }
    if (!s.extended) {
        s.extended = true;
        request_bulk(peer);
        return;
    }
    // Nothing is under way between us: then its own states are what we hold as its copies. If
    // not, only a whole bulk update can tell which.
    const auto live = load_be<std::uint64_t>(&m[ext::hello::live]);
    if ((flags & ext::hello::kDrained) == 0 || !s.in_step || s.bulk_requested || !s.drained())
        return;
    if (live == copies_[peer]) {
        s.repair_pause = kRepairPause;
    } else if (now_ >= s.repair_not_before) {
        s.repair_not_before = now_ + s.repair_pause;
        s.repair_pause = std::min(s.repair_pause * 2, kMaxRepairPause);
        s.counters.repairs++;
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
