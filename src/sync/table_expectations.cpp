// SPDX-License-Identifier: ISC
#include "sync/table_expectations.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::Expectation;
using state::kNoSlot;
using state::Slot;

namespace {

constexpr Duration kMangled = 50ms;       // when the packet has left for certain
constexpr std::size_t kMaxMasters = 4096; // beyond, the next event or dump shows it
constexpr Duration kMasterWithin = 10s;   // a program may hold its first packet
constexpr std::size_t kMaxEarly = 1024;

} // namespace

// The flows that may be the master: the event does not carry its zone.
std::vector<Slot> TableExpectations::masters_of(const Expectation& expectation) const {
    std::vector<Slot> out;
    const auto look = [&](std::uint16_t zone) {
        state::Key master = expectation.master;
        master.zone = zone;
        const Slot slot = ctx_.index.find(master);
        if (slot != kNoSlot && !copies_.is_refused(slot))
            out.push_back(slot);
    };
    look(0);
    for (const std::uint16_t zone : ctx_.index.zones())
        look(zone);
    return out;
}

void TableExpectations::expected(const Expectation& reported, bool fresh) {
    std::vector<Slot> masters = masters_of(reported);
    if (masters.empty()) // not to be synced, or not known yet
        return wait_for_master(reported);
    if (!ctx_.index.zones().empty())
        std::erase_if(masters, [&](Slot slot) {
            return !ctx_.table.expects(of_master(ctx_.index, reported, slot));
        });
    // The event has the zone, but not for which directions it is.
    const auto clashes = [&](Slot slot) {
        return std::ranges::count_if(masters, [&](Slot other) {
                   return of_master(ctx_.index, reported, other).zone ==
                          of_master(ctx_.index, reported, slot).zone;
               }) > 1;
    };
    if (std::ranges::any_of(masters, clashes)) {
        ctx_.counters.ambiguous_masters++;
        std::erase_if(masters, clashes);
    }
    for (const Slot slot : masters) {
        const auto& known = ctx_.flows.expectations().of(slot);
        const bool news =
            masters.size() == 1 || std::ranges::none_of(known, [&](const auto& entry) {
                return entry.expectation.name() == reported.name();
            });
        expect(slot, of_master(ctx_.index, reported, slot), fresh && news);
    }
}

void TableExpectations::expect(Slot slot, const Expectation& expectation, bool fresh) {
    // A helper has read a packet of it: it moves here.
    if (fresh && ctx_.record(slot).owner != kHere)
        flows_.changed(ctx_.flow(slot), LocalFlows::Timer::ours);
    if (fresh && ctx_.record(slot).owner == kHere && ctx_.index.key(slot).proto == IPPROTO_TCP &&
        ctx_.index.reply(slot) != state::inverse(ctx_.index.key(slot)) &&
        masters_.size() < kMaxMasters)
        masters_.add(ctx_.now + kMangled, ctx_.index, slot);
    FlowStore::Change change(ctx_.flows, slot);
    if (change.expect(expectation, ctx_.seconds + expectation.timeout) ==
            ExpectationBook::Added::fresh &&
        ctx_.record(slot).owner == kHere)
        outbound_.announce(slot, true);
}

void TableExpectations::unexpected(const Expectation& reported) {
    const std::vector<Slot> masters = masters_of(reported);
    if (masters.empty()) {
        const auto [begin, end] = early_.equal_range(reported.master);
        const auto at = std::find_if(begin, end, [&](const auto& early) {
            return early.second.expectation.name() == reported.name();
        });
        if (at != end)
            early_.erase(at);
        return;
    }
    for (const Slot slot : masters) {
        // One of the same name may be another master's.
        if (masters.size() > 1 && ctx_.table.expects(of_master(ctx_.index, reported, slot)))
            continue;
        FlowStore::Change change(ctx_.flows, slot);
        if (ctx_.record(slot).owner != kHere)
            change.use(reported);
        else if (change.unexpect(reported))
            outbound_.announce(slot, true);
    }
}

// ---- masters that are not known yet --------------------------------------------------------

void TableExpectations::wait_for_master(const Expectation& expectation) {
    unexpected(expectation); // of that name the last one counts
    if (early_.size() >= kMaxEarly) {
        ctx_.counters.expectations_over_limit++;
        return;
    }
    const Early early{ctx_.now + kMasterWithin, ctx_.seconds + expectation.timeout, expectation};
    early_.emplace(expectation.master, early);
    early_due_ = std::min(early_due_, early.due);
}

void TableExpectations::master_known(Slot slot) {
    if (early_.empty() || slot == kNoSlot)
        return;
    state::Key key = ctx_.index.key(slot);
    key.zone = 0; // an expectation's event does not carry it
    const auto [begin, end] = early_.equal_range(key);
    std::vector<Early> met;
    for (auto at = begin; at != end; ++at)
        met.push_back(at->second);
    early_.erase(begin, end);
    for (Early& early : met) {
        const auto left = static_cast<std::int32_t>(early.expires - ctx_.seconds);
        early.expectation.timeout = static_cast<std::uint32_t>(std::max(left, 1));
        expected(early.expectation, true);
    }
}

void TableExpectations::give_up() {
    if (ctx_.now < early_due_)
        return;
    ctx_.counters.expectations_without_master +=
        std::erase_if(early_, [&](const auto& early) { return early.second.due <= ctx_.now; });
    early_due_ = Instant::max();
    for (const auto& [master, early] : early_)
        early_due_ = std::min(early_due_, early.due);
}

// The helper expects first, and then writes the translated address into the packet, which may move
// the flow's sequence numbers. There is no event for that.
void TableExpectations::look_at_masters() {
    while (const auto slot = masters_.take(ctx_.now, ctx_.index))
        if (ctx_.record(*slot).owner == kHere)
            ctx_.table.look(ctx_.flow(*slot));
}

void TableExpectations::advance() {
    look_at_masters();
    give_up();
}

} // namespace encsync::sync
