// SPDX-License-Identifier: ISC
#include "sync/expectations.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace encsync::sync {

using state::Expectation;
using state::Slot;

namespace {

constexpr std::int32_t kTimerSlack = 5; // seconds by which two clocks may differ

bool same_but_for_time(Expectation a, const Expectation& b) {
    a.timeout = b.timeout;
    return a == b;
}

} // namespace

const std::vector<ExpectationBook::Entry>& ExpectationBook::of(Slot master) const {
    static const std::vector<Entry> none;
    if (entries_.empty())
        return none;
    const auto at = entries_.find(master);
    return at == entries_.end() ? none : at->second;
}

ExpectationBook::Added ExpectationBook::add(Slot master, const Expectation& expectation,
                                            std::uint32_t expires) {
    if (const auto at = entries_.find(master); at != entries_.end())
        for (Entry& entry : at->second)
            if (entry.expectation.name() == expectation.name()) {
                const auto later = static_cast<std::int32_t>(expires - entry.expires);
                if (same_but_for_time(entry.expectation, expectation) &&
                    std::abs(later) <= kTimerSlack)
                    return Added::same;
                entry = {expectation, expires, false};
                return Added::fresh;
            }
    if (size_ >= kMax || of(master).size() >= state::kMaxExpectations)
        return Added::full;
    entries_[master].push_back({expectation, expires, false});
    size_++;
    return Added::fresh;
}

template<class Predicate>
bool ExpectationBook::erase(Slot master, Predicate predicate) {
    const auto at = entries_.find(master);
    if (at == entries_.end())
        return false;
    const std::size_t gone = std::erase_if(at->second, predicate);
    size_ -= gone;
    if (at->second.empty())
        entries_.erase(at);
    return gone != 0;
}

bool ExpectationBook::remove(Slot master, const Expectation& expectation) {
    return erase(
        master, [&](const Entry& entry) { return entry.expectation.name() == expectation.name(); });
}

void ExpectationBook::use(Slot master, const Expectation& expectation) {
    if (const auto at = entries_.find(master); at != entries_.end())
        for (Entry& entry : at->second)
            entry.used |= entry.expectation.name() == expectation.name();
}

void ExpectationBook::drop_used(Slot master) {
    erase(master, [](const Entry& entry) { return entry.used; });
}

void ExpectationBook::forget_uses(Slot master) {
    if (const auto at = entries_.find(master); at != entries_.end())
        for (Entry& entry : at->second)
            entry.used = false;
}

bool ExpectationBook::forget(Slot master) {
    if (entries_.empty() && arriving_.empty())
        return false;
    const std::size_t gone = of(master).size();
    size_ -= gone;
    entries_.erase(master);
    arriving_.erase(master);
    return gone != 0;
}

void ExpectationBook::expire(Slot master, std::uint32_t now) {
    erase(master, [&](const Entry& entry) {
        return static_cast<std::int32_t>(now - entry.expires) > kTimerSlack;
    });
}

std::vector<Expectation> ExpectationBook::begin(Slot master, std::uint8_t count) {
    arriving_.erase(master);
    if (count == 0)
        return entries_.empty() ? std::vector<Expectation>{} : end(master);
    // If there are more than the book takes, the last one is not waited for.
    if (count <= state::kMaxExpectations && arriving_.size() < kMax)
        arriving_[master] = {count, {}};
    return {};
}

std::vector<Expectation> ExpectationBook::listed(Slot master, std::uint8_t index,
                                                 std::uint8_t count,
                                                 const Expectation& expectation) {
    const auto at = arriving_.find(master);
    if (at == arriving_.end())
        return {};
    Arriving& arriving = at->second;
    if (count != arriving.count || index != arriving.named.size()) {
        arriving_.erase(at); // one was lost; all will be sent again
        return {};
    }
    arriving.named.push_back(expectation);
    return arriving.named.size() == count ? end(master) : std::vector<Expectation>{};
}

std::vector<Expectation> ExpectationBook::end(Slot master) {
    std::vector<Expectation> named, gone;
    if (const auto at = arriving_.find(master); at != arriving_.end()) {
        named = std::move(at->second.named);
        arriving_.erase(at);
    }
    for (const Entry& entry : of(master))
        if (std::ranges::none_of(
                named, [&](const Expectation& e) { return e.name() == entry.expectation.name(); }))
            gone.push_back(entry.expectation);
    for (const Expectation& e : gone)
        remove(master, e);
    return gone;
}

state::Expectation of_master(const state::Index& index, state::Expectation expectation,
                             Slot master) {
    expectation.master = index.key(master);
    expectation.zone = zone_id(expectation.master.zone, index.extras(master));
    return expectation;
}

} // namespace encsync::sync
