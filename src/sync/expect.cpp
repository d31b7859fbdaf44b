// SPDX-License-Identifier: ISC
// Expectations between table and peers (expectations.hpp): each change of a flow's expectations is
// a change of the flow, and its full state is followed by all of them. So loss, bulk updates,
// takeovers and removals are those of flows.
#include "sync/engine.hpp"

#include "pfsync/expectation.hpp"
#include "pfsync/extension.hpp"
#include "sync/marks.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::sync {

using pfsync::Fault;
using state::Expectation;
using state::kNoSlot;
using state::Slot;
namespace ext = pfsync::extension;

namespace {

constexpr Instant kMangled{std::chrono::milliseconds{50}}; // when the packet has left for certain
constexpr std::size_t kMaxMasters = 4096;                  // beyond, the next event or dump tells
constexpr Instant kMasterWithin{std::chrono::seconds{10}}; // a program may hold its first packet
constexpr std::size_t kMaxEarly = 1024;

} // namespace

// ---- the table's side ----------------------------------------------------------------------

// The same expectation, of the flow that is its master.
Expectation Engine::of_master(Expectation expectation, Slot slot) const {
    expectation.master = index_.key(slot);
    expectation.zone = zone_id(expectation.master.zone, index_.extras(slot));
    return expectation;
}

// The flows that may be the master: the table does not tell its zone.
std::vector<Slot> Engine::masters_of(const Expectation& expectation) const {
    std::vector<Slot> out;
    const auto look = [&](std::uint16_t zone) {
        state::Key master = expectation.master;
        master.zone = zone;
        if (const Slot slot = index_.find(master); slot != kNoSlot && !is_refused(slot))
            out.push_back(slot);
    };
    look(0);
    for (const std::uint16_t zone : index_.zones())
        look(zone);
    return out;
}

void Engine::on_expected(const Expectation& said, bool fresh) {
    std::vector<Slot> masters = masters_of(said);
    if (masters.empty()) // not to be synced, or not known yet
        return await_master(said);
    if (!index_.zones().empty())
        std::erase_if(masters, [&](Slot slot) { return !table_.expects(of_master(said, slot)); });
    // The table tells zones apart, but not for which directions they are.
    const auto clashes = [&](Slot slot) {
        return std::ranges::count_if(masters, [&](Slot other) {
                   return of_master(said, other).zone == of_master(said, slot).zone;
               }) > 1;
    };
    if (std::ranges::any_of(masters, clashes)) {
        counters_.ambiguous_masters++;
        std::erase_if(masters, clashes);
    }
    for (const Slot slot : masters) {
        const auto& known = book_.of(slot);
        const bool news =
            masters.size() == 1 || std::ranges::none_of(known, [&](const auto& entry) {
                return entry.expectation.name() == said.name();
            });
        expect_of(slot, of_master(said, slot), fresh && news);
    }
}

void Engine::expect_of(Slot slot, const Expectation& expectation, bool fresh) {
    // A helper has read a packet of it: it moves here.
    if (fresh && index_.record(slot).owner != kHere)
        local_change(index_.flow(slot, now_s_), Timer::ours);
    if (fresh && index_.record(slot).owner == kHere && index_.key(slot).proto == IPPROTO_TCP &&
        index_.reply(slot) != state::inverse(index_.key(slot)) && masters_.size() < kMaxMasters)
        masters_.add(now_ + kMangled, index_, slot);
    FlowStore::Edit edit(flows_, slot);
    if (edit.expect(expectation, now_s_ + expectation.timeout) == ExpectationBook::Added::fresh &&
        index_.record(slot).owner == kHere)
        announce(slot, true);
}

void Engine::on_unexpected(const Expectation& said) {
    const std::vector<Slot> masters = masters_of(said);
    if (masters.empty()) {
        const auto [begin, end] = early_.equal_range(said.master);
        const auto at = std::find_if(begin, end, [&](const auto& early) {
            return early.second.expectation.name() == said.name();
        });
        if (at != end)
            early_.erase(at);
        return;
    }
    for (const Slot slot : masters) {
        // One of the same name may be another master's.
        if (masters.size() > 1 && table_.expects(of_master(said, slot)))
            continue;
        FlowStore::Edit edit(flows_, slot);
        if (edit.unexpect(said) && index_.record(slot).owner == kHere)
            announce(slot, true);
    }
}

// A flow's first packet may make an expectation: a TFTP request, an INVITE of SIP over UDP. The
// helper reads it before the flow is confirmed, so the table tells of the expectation first.
void Engine::await_master(const Expectation& expectation) {
    on_unexpected(expectation); // of that name the last one counts
    if (early_.size() >= kMaxEarly) {
        counters_.expectations_over_limit++;
        return;
    }
    const Early early{now_ + kMasterWithin, now_s_ + expectation.timeout, expectation};
    early_.emplace(expectation.master, early);
    early_due_ = std::min(early_due_, early.due);
}

void Engine::meet_expectations(Slot master) {
    if (early_.empty())
        return;
    state::Key key = index_.key(master);
    key.zone = 0; // the table does not tell it of an expectation
    const auto [begin, end] = early_.equal_range(key);
    std::vector<Early> met;
    for (auto at = begin; at != end; ++at)
        met.push_back(at->second);
    early_.erase(begin, end);
    for (Early& early : met) {
        const auto left = static_cast<std::int32_t>(early.expires - now_s_);
        early.expectation.timeout = static_cast<std::uint32_t>(std::max(left, 1));
        on_expected(early.expectation, true);
    }
}

void Engine::give_up_masters() {
    if (now_ < early_due_)
        return;
    counters_.expectations_without_master +=
        std::erase_if(early_, [&](const auto& early) { return early.second.due <= now_; });
    early_due_ = Instant::max();
    for (const auto& [master, early] : early_)
        early_due_ = std::min(early_due_, early.due);
}

// The helper expects first, and then writes the translated address into the packet, which may move
// the flow's sequence numbers. No event tells of that.
void Engine::look_at_masters() {
    while (const auto slot = masters_.take(now_, index_))
        if (index_.record(*slot).owner == kHere)
            table_.look(index_.flow(*slot, now_s_));
}

// What a copy expects, into the table.
void Engine::put_expectations(Slot slot) {
    if (book_.of(slot).empty() || index_.record(slot).refused != 0)
        return;
    FlowStore::Edit edit(flows_, slot);
    edit.expire_expectations(now_s_);
    const state::Name helper = index_.extras(slot).helper;
    for (const auto& [expectation, expires] : book_.of(slot)) {
        Expectation left = expectation;
        left.timeout = expires - now_s_;
        if (static_cast<std::int32_t>(left.timeout) > 0)
            table_.expect(left, helper);
    }
}

void Engine::unexpect(Slot slot, const std::vector<Expectation>& gone) {
    if (index_.record(slot).refused != 0)
        return; // never put there
    for (const Expectation& expectation : gone)
        table_.unexpect(expectation);
}

// ---- saying --------------------------------------------------------------------------------

// How many follow the full state of this flow.
std::uint8_t Engine::expectations_of(const Session& s, Slot slot) const {
    const bool tells = s.extended && index_.record(slot).owner == kHere;
    return tells ? static_cast<std::uint8_t>(book_.of(slot).size()) : std::uint8_t{0};
}

// False: the packet is full, and more is to follow in the next one.
bool Engine::say_expectations(Session& s, pfsync::Builder& packet) {
    while (s.expecting != kNoSlot) {
        if (!index_.used(s.expecting) || s.expecting_said >= expectations_of(s, s.expecting)) {
            s.expecting = kNoSlot;
            return true;
        }
        const auto& all = book_.of(s.expecting);
        std::uint8_t* m = packet.add(ext::kExpect, ext::expect::size);
        if (m == nullptr)
            return false;
        const auto& [expectation, expires] = all[s.expecting_said];
        Expectation left = expectation;
        const auto seconds = static_cast<std::int32_t>(expires - now_s_);
        left.timeout = seconds > 0 ? static_cast<std::uint32_t>(seconds) : 1;
        pfsync::write_expect(m, index_.record(s.expecting).id, s.expecting_said,
                             static_cast<std::uint8_t>(all.size()), left);
        s.counters.tx_messages++;
        s.outstanding.note({.kind = Item::Kind::expectation, .slot = s.expecting});
        s.expecting_said++;
    }
    return true;
}

// ---- hearing -------------------------------------------------------------------------------

// Behind each full state of its owner.
void Engine::begin_expectations(PeerId peer, const pfsync::FullState& full) {
    const Slot slot = full.has_tail ? index_.find(full.flow.id) : kNoSlot;
    if (slot == kNoSlot || index_.record(slot).owner != peer)
        return;
    FlowStore::Edit edit(flows_, slot);
    unexpect(slot, edit.begin_expectations(full.expectations));
}

void Engine::receive_expect(PeerId peer, Bytes message) {
    if (!sessions_[peer]->extended) {
        refuse(Refused::unknown_action);
        return;
    }
    pfsync::ExpectMessage said;
    if (const Fault fault = pfsync::read(message, said); fault != Fault::none) {
        refuse(fault);
        return;
    }
    const Slot slot = index_.find(said.master);
    if (slot == kNoSlot) {
        refuse(Refused::unknown_state);
        return;
    }
    const state::Record& record = index_.record(slot);
    const Expectation expectation = of_master(said.expectation, slot);
    if (said.family != expectation.master.family) {
        refuse(Fault::bad_family);
        return;
    }
    if (record.owner != peer) {
        refuse(Refused::not_owner);
        return;
    }
    FlowStore::Edit edit(flows_, slot);
    switch (edit.expect(expectation, now_s_ + expectation.timeout)) {
    case ExpectationBook::Added::full:
        refuse(Refused::expectation_limit);
        break;
    case ExpectationBook::Added::fresh:
        if (!record.is.absent)
            table_.expect(expectation, index_.extras(slot).helper);
        break;
    case ExpectationBook::Added::same:
        break;
    }
    unexpect(slot, edit.told_expectation(said.index, said.count, expectation));
}

} // namespace encsync::sync
