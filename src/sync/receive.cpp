// SPDX-License-Identifier: ISC
// What peers say.
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"
#include "sync/marks.hpp"
#include "sync/merge.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using pfsync::Dialect;
using pfsync::Fault;
using pfsync::Kind;
using pfsync::Section;
using state::kNoSlot;
using state::Record;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

constexpr Instant kAckDelay = 20ms;
constexpr std::uint32_t kAckEvery = 64; // packets
constexpr std::size_t kMaxRequests = 4096, kMaxInsertAcks = 4096;

std::string in_words(const Session& s, std::string_view refused) {
    if (refused == to_string(Refused::hello_version))
        return "it speaks version " + std::to_string(s.hello_version) +
               " of encsync's own messages, and version " + std::to_string(ext::hello::kVersion) +
               " was expected";
    if (refused == to_string(Refused::unknown_action) && !s.options.extended)
        return "it says hello as an encsync node does, and a pf firewall was expected";
    return "its packets are refused (" + std::string(refused) + ")";
}

// Our own messages: the least size of one; 0: none of ours.
std::size_t own_size(const Section& section) {
    if (!traits(section.layout).extensible())
        return 0;
    switch (section.action) {
    case ext::kHello:
        return ext::hello::size;
    case ext::kSeq:
        return ext::seq::size;
    case ext::kAck:
        return ext::ack::bitmap + 4;
    case ext::kRoot:
        return ext::root::size;
    case ext::kAsk:
        return ext::ask::size;
    case ext::kSums:
        return ext::sums::size;
    case ext::kList:
        return ext::list::size;
    case ext::kAbsent:
        return ext::absent::size;
    case ext::kExpect:
        return ext::expect::size;
    default:
        return 0;
    }
}

} // namespace

void Engine::refuse(Refused why) {
    counters_.refused[static_cast<std::size_t>(why)]++;
    refused_ = to_string(why);
}

void Engine::refuse(Fault fault) {
    refuse(Refused::fault);
    counters_.faults[static_cast<std::size_t>(fault)]++;
    refused_ = pfsync::to_string(fault);
}

// ---- packets -------------------------------------------------------------------------------

void Engine::on_packet(PeerId peer, Bytes payload) {
    Session& s = *sessions_[peer];
    s.counters.rx_packets++;
    refused_ = {};
    read_packet(peer, payload);
    if (!s.accepted && !refused_.empty())
        on_packet_refused(peer, in_words(s, refused_));
}

void Engine::on_packet_refused(PeerId peer, std::string why) {
    Session& s = *sessions_[peer];
    if (!s.accepted)
        s.refusal = std::move(why);
}

void Engine::read_packet(PeerId peer, Bytes payload) {
    Session& s = *sessions_[peer];
    pfsync::Parser parser(payload, s.options.dialect);
    if (!s.options.dialect && parser.version() != 0 && !traits(parser.dialect()).extensible()) {
        if (s.remote != 0) { // it has said hello, in our own dialect
            refuse(Fault::bad_version);
            return;
        }
        learn_dialect(peer, parser.version(), payload);
    }
    const Section* section = parser.next();
    bool numbered = false;
    if (section != nullptr && section->action == ext::kSeq &&
        traits(section->layout).extensible() && section->stride >= ext::seq::size &&
        s.options.extended) {
        if (!receive_number(peer, section->message(0)))
            return;
        numbered = true;
        section = parser.next();
    }
    for (; section != nullptr; section = parser.next()) {
        const bool says_something = own_size(*section) == 0 || section->action > ext::kAck;
        if (says_something && !numbered) {
            // A node that knows us numbers what it says; without a number it is a pf peer, or one
            // of ours that has forgotten us.
            if (s.options.extended && s.remote != 0) {
                refuse(Refused::foreign_session);
                s.hello_now = true;
                return;
            }
            s.heard_plain = true;
            heard(peer);
        }
        receive_section(peer, *section);
    }
    if (parser.fault() != Fault::none)
        refuse(parser.fault());
}

// False: not to be read on.
bool Engine::receive_number(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    if (s.remote == 0 || load_be<std::uint64_t>(&m[ext::seq::session]) != s.remote) {
        refuse(Refused::foreign_session);
        s.hello_now = true;
        return false;
    }
    heard(peer);
    // Late packets are acknowledged too: so the sender learns that they count as lost.
    s.ack_due = std::min(s.ack_due, now_ + kAckDelay);
    if (!s.inbox.take(load_be<std::uint64_t>(&m[ext::seq::number]))) {
        s.counters.late_packets++;
        return false;
    }
    if (s.inbox.unacknowledged() >= kAckEvery)
        s.ack_due = now_;
    return true;
}

// A pf peer of wire=auto. Until it has sent a full state, it gets what every release reads.
void Engine::learn_dialect(PeerId peer, std::uint8_t version, Bytes payload) {
    Session& s = *sessions_[peer];
    const auto shown = pfsync::detect(payload);
    if (shown || version_of(s.dialect) != version)
        s.dialect = shown.value_or(pfsync::dialects_of(version).front());
    if (!s.assumed_plain) {
        s.assumed_plain = true;
        review_zones(peer);
        request_bulk(peer);
    }
}

void Engine::receive_section(PeerId peer, const Section& section) {
    const std::size_t own = own_size(section);
    const std::size_t least = own != 0 ? own : pfsync::message_size({section.kind, section.layout});
    if (own == 0 && section.kind == Kind::eof)
        return;
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
        if (own != 0)
            receive_own(peer, section.action, section.message(n));
        else
            receive_message(peer, section, section.message(n));
    }
}

void Engine::receive_own(PeerId peer, std::uint8_t action, Bytes m) {
    if (action > ext::kAck && !sessions_[peer]->extended) {
        refuse(Refused::unknown_action);
        return;
    }
    switch (action) {
    case ext::kHello:
        return receive_hello(peer, m);
    case ext::kAck:
        return receive_ack(peer, m);
    case ext::kExpect:
        return receive_expect(peer, m);
    case ext::kRoot:
        return receive_root(peer, m);
    case ext::kAsk:
        return receive_ask(peer, m);
    case ext::kSums:
        return receive_sums(peer, m);
    case ext::kList:
        return receive_list(peer, m);
    case ext::kAbsent:
        return receive_absent(peer, m);
    default: // SEQ was read before
        return;
    }
}

void Engine::receive_message(PeerId peer, const Section& section, Bytes m) {
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: // an unknown one is an insert (pfsync(4))
        receive_full(peer, section.layout, m);
        sessions_[peer]->bulk_received += sessions_[peer]->bulk_arriving ? 1 : 0;
        if (section.kind == Kind::update && sessions_[peer]->plain())
            plain_bulk_state(*sessions_[peer]);
        return;
    case Kind::update_c:
        return receive_update(peer, section.layout, m);
    case Kind::request:
        return receive_request(peer, pfsync::read_id(m));
    case Kind::remove_c:
        return receive_removal(peer, pfsync::read_id(m), removal_term(peer, m));
    case Kind::remove: {
        pfsync::FullState full;
        if (const Fault fault = pfsync::read(section.layout, m, full); fault != Fault::none)
            refuse(fault);
        else
            receive_removal(peer, full.flow.id, full.term);
        return;
    }
    case Kind::clear:
        return receive_clear(peer, m);
    case Kind::bulk:
        return receive_bulk_status(peer, m);
    case Kind::insert_ack:
        return receive_insert_ack(peer, pfsync::read_id(m));
    default: // TDB: nothing here waits for it
        return;
    }
}

// ---- states --------------------------------------------------------------------------------

// The peer is to know better: it gets the whole state, and who owns it.
void Engine::tell(PeerId peer, Slot slot) {
    clear(flows_.marks(slot).known, peer);
    enqueue(*sessions_[peer], peer, slot, true);
}

Said Engine::said_of(PeerId peer, Dialect layout, const pfsync::FullState& full) const {
    const Session& s = *sessions_[peer];
    Said said;
    said.src_state = full.flow.src_state;
    said.dst_state = full.flow.dst_state;
    said.flags = full.flow.flags;
    said.reply = &full.flow.reply;
    if (full.has_tail) {
        said.mark = full.flow.mark;
        said.extras = &full.flow.extras;
    }
    // In bulk a pf peer names copies and its own alike; else it speaks of what passes through it.
    if (!s.plain() || !s.bulk_arriving)
        said.live = full.live;
    said.term = full.term;
    said.elsewhere = full.elsewhere;
    said.layout = layout;
    said.src = full.src;
    said.dst = full.dst;
    said.timeout = full.timeout;
    return said;
}

// Brings what we know of a flow together with what the peer says of it, and settles whose it is.
void Engine::merge_into(PeerId peer, Slot slot, Said said) {
    Session& s = *sessions_[peer];
    if (s.remote != 0) // one of our own
        return take_word(peer, slot, said);
    FlowStore::Edit edit(flows_, slot);
    const Record& record = index_.record(slot);
    state::Progress& progress = edit.progress();
    set(flows_.marks(slot).known, peer);
    const bool ours = record.owner == kHere;
    const state::Flow before = index_.flow(slot, now_s_);

    const Merge merged =
        s.plain() ? merge_pf(peer, slot, said) : merge(progress, said.src_state, said.dst_state);
    progress.flags = static_cast<std::uint8_t>(
        record.flags | said.flags |
        progress_flags(before.key.proto, record.src_state, record.dst_state));
    if (merged.any_stale())
        s.counters.stale++;
    const bool further =
        before.src_state != record.src_state || before.dst_state != record.dst_state;
    if (s.plain() && record.owner == kUnclaimed) // its table has it, too
        said.live = true;
    else if (s.plain() && !pf_claims(slot, further, merged))
        said.live.reset();
    if (!settle(peer, slot, said))
        return;
    if (record.owner == peer) {
        flows_.marks(slot).epoch = s.epoch;
        if (said.mark)
            progress.mark = *said.mark;
        if (said.extras != nullptr)
            edit.set_extras(*said.extras);
        // Of the two states that pf may have of a flow, one knows of the NAT.
        if (said.reply != nullptr && index_.reply(slot) != *said.reply &&
            !(pf_states_.has_two_names(slot) && *said.reply == inverse(index_.key(slot))))
            edit.set_reply(*said.reply);
    }
    const state::Flow after = index_.flow(slot, now_s_);
    if (before.mark != after.mark || before.reply != after.reply || before.flags != after.flags ||
        before.extras.reply_zone != after.extras.reply_zone)
        review(slot);
    const bool changed = before.src_state != after.src_state ||
                         before.dst_state != after.dst_state || before.flags != after.flags ||
                         before.mark != after.mark || before.reply != after.reply ||
                         before.extras != after.extras;
    if (changed || (ours && record.owner != kHere))
        put_copy(slot);
    else if (ours && s.plain())
        relax(slot); // its packets may pass there, too
    if (changed || merged.windows_moved)
        pass_on(peer, slot);
    if (merged.any_stale() && !said.second_name)
        enqueue(s, peer, slot, false);
}

void Engine::receive_full(PeerId peer, Dialect layout, Bytes message) {
    Session& s = *sessions_[peer];
    if (s.plain())
        message = message.first(state_size(layout)); // what a pf peer may append is not our tail
    pfsync::FullState full;
    if (const Fault fault = pfsync::read(layout, message, full); fault != Fault::none) {
        refuse(fault);
        return;
    }
    // pf keeps a no-sync state that it is sent, and sends it to nobody; no node of ours sends one.
    if ((full.flow.flags & state::kNoSync) != 0 && !s.plain()) {
        refuse(Refused::no_sync);
        return;
    }
    s.asked.answered(full.flow.id);
    learn_timeouts(s, full);
    Said said = said_of(peer, layout, full);
    Slot slot = index_.find(full.flow.id);
    if (slot == kNoSlot) {
        slot = pf_states_.find(full.flow.id);
        said.second_name = slot != kNoSlot;
    }
    Slot same = slot != kNoSlot ? slot : index_.find(full.flow.key);
    if (slot == kNoSlot && same != kNoSlot && second_name(peer, same, full)) {
        slot = same;
        said.second_name = true;
    }
    if (slot != kNoSlot && index_.key(slot) != full.flow.key)
        refuse(Refused::id_clash);
    else if (slot != kNoSlot)
        merge_into(peer, slot, said);
    else if (same != kNoSlot)
        receive_other_name(peer, same, full);
    else
        receive_new(peer, full);
    begin_expectations(peer, full);
    Slot now_here = index_.find(full.flow.id);
    if (now_here == kNoSlot)
        now_here = pf_states_.find(full.flow.id);
    if (full.wants_ack && now_here != kNoSlot && index_.key(now_here) == full.flow.key &&
        s.insert_acks.size() < kMaxInsertAcks)
        s.insert_acks.push_back(full.flow.id);
}

void Engine::receive_new(PeerId peer, const pfsync::FullState& full) {
    // A copy of somebody's. It is news only to a node that joins without a table of its own;
    // otherwise it has ended here, and the peer does not know yet.
    if (!full.live) {
        if (gone_lately_.contains(full.flow.key)) {
            if (Session& s = *sessions_[peer]; !full.elsewhere && s.removals.size() < kMaxRequests)
                s.removals.push_back({full.flow.id, full.term});
            return;
        }
        if (options_.table_kept || ever_in_step_)
            return;
        if (const auto why = refuses(peer, full.flow)) {
            count_refused(peer, *why);
            return;
        }
    }
    if (index_.size() >= options_.max_states) {
        refuse(Refused::table_limit);
        sessions_[peer]->over_limit = now_;
        return;
    }
    const Slot slot = adopt_new(full.flow, full.live ? peer : kUnclaimed);
    if (slot == kNoSlot)
        return;
    FlowStore::Edit edit(flows_, slot);
    edit.progress().term = full.term;
    set(flows_.marks(slot).known, peer);
    keep_pf(peer, slot, full);
    // Who is told that traffic passes here owns what a pf peer still holds of before.
    if (sessions_[peer]->plain() && sessions_[peer]->bulk_arriving &&
        options_.role == Role::active && index_.record(slot).refused == 0)
        take(slot);
    put_copy(slot);
    pass_on(peer, slot);
    if (full.live && falls_to_us(peer, slot))
        claim(slot);
}

// One flow under two names: two lives of it, or born on two nodes. The name that its owner gives
// it holds, and with the name what the owner says of it.
void Engine::receive_other_name(PeerId peer, Slot slot, const pfsync::FullState& full) {
    FlowStore::Edit edit(flows_, slot);
    const Record& record = index_.record(slot);
    const std::uint8_t owner = record.owner;
    if (!full.live) {
        if (owner == peer)
            claim(slot);
        else if (!owner_alive(owner))
            edit.rename(full.flow.id);
        return;
    }
    if (!claim_holds(peer, record, full.term)) {
        if (owner == kHere)
            tell(peer, slot);
        return;
    }
    pass_removal_on(peer, slot);
    edit.rename(full.flow.id);
    if (index_.reply(slot) != full.flow.reply)
        edit.set_reply(full.flow.reply);
    state::Progress& progress = edit.progress();
    progress.src_state = full.flow.src_state;
    progress.dst_state = full.flow.dst_state;
    progress.flags = full.flow.flags;
    if (full.has_tail) {
        progress.mark = full.flow.mark;
        edit.set_extras(full.flow.extras);
    }
    flows_.marks(slot).known = bit(peer);
    progress.term = full.term;
    set_owner(slot, peer);
    keep_pf(peer, slot, full);
    put_copy(slot);
    pass_on(peer, slot);
    if (falls_to_us(peer, slot))
        claim(slot);
}

void Engine::receive_update(PeerId peer, Dialect layout, Bytes message) {
    Session& s = *sessions_[peer];
    pfsync::CompressedUpdate update;
    if (const Fault fault = pfsync::read(layout, message, update); fault != Fault::none) {
        refuse(fault);
        return;
    }
    Slot slot = index_.find(update.id);
    Said said;
    if (slot == kNoSlot) {
        slot = pf_states_.find(update.id);
        said.second_name = slot != kNoSlot;
    }
    if (slot == kNoSlot) {
        s.counters.requests++;
        request(peer, update.id);
        return;
    }
    const std::uint8_t proto = index_.key(slot).proto;
    said.src_state = pfsync::flow_state(layout, proto, update.src.state());
    said.dst_state = pfsync::flow_state(layout, proto, update.dst.state());
    if (s.plain()) // it speaks of what passes through it
        said.live = true;
    said.layout = layout;
    said.src = update.src;
    said.dst = update.dst;
    said.timeout = update.timeout;
    merge_into(peer, slot, said);
}

void Engine::request(PeerId peer, state::StateId id) {
    Session& s = *sessions_[peer];
    if (s.requests.size() < kMaxRequests && s.asked.ask(id, now_))
        s.requests.push_back(id);
}

void Engine::receive_request(PeerId peer, state::StateId id) {
    Session& s = *sessions_[peer];
    if (s.plain())
        return request_from_plain(peer, id);
    if (id == state::StateId{}) {
        if (!s.sending_bulk) // a second request while one is answered changes nothing
            start_bulk(peer);
        return;
    }
    const Slot slot = index_.find(id);
    if (slot != kNoSlot && !has(index_.record(slot).withheld, peer)) {
        enqueue(s, peer, slot, true);
        return;
    }
    refuse(slot == kNoSlot ? Refused::unknown_state : Refused::no_sync);
    answer_absent(peer, id);
}

std::uint8_t Engine::removal_term(PeerId peer, Bytes m) const {
    if (sessions_[peer]->plain() || m.size() < pfsync::common::kIdSize + ext::removal::size)
        return 0;
    return m[pfsync::common::kIdSize + ext::removal::term] & ext::tail::kTermMask;
}

void Engine::receive_removal(PeerId peer, state::StateId id, std::uint8_t term) {
    if (drop_name(peer, id))
        return;
    const Slot slot = index_.find(id);
    if (slot == kNoSlot)
        return;
    const Record& record = index_.record(slot);
    const std::uint8_t owner = record.owner;
    if (owner == kHere && options_.role != Role::standby && compare_terms(term, record.term) <= 0) {
        // Its timer ran out there, but traffic passes here: it is told again.
        refuse(Refused::not_owner);
        tell(peer, slot);
        return;
    }
    if (owner != kHere && owner != peer && owner_alive(owner)) {
        refuse(Refused::not_owner); // its owner will say so itself
        return;
    }
    if (owner == kHere)
        retract(slot); // the others know it from us
    else
        pass_removal_on(peer, slot);
    remember_gone(index_.key(slot));
    discard(slot);
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
    if (sessions_[peer]->plain())
        return clear_plain(peer, clear_all);
    // Our states float: they belong to no single interface.
    if (!clear_all.ifname.empty() && clear_all.ifname != "all")
        return;
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        if (record.owner == peer && record.id.creatorid == clear_all.creatorid) {
            discard(slot);
        }
    }
}

} // namespace encsync::sync
