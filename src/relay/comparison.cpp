// SPDX-License-Identifier: ISC
#include "relay/comparison.hpp"

#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

namespace encsync::relay {

using namespace std::chrono_literals;
using sync::Digest;
namespace ext = pfsync::extension;

namespace {

constexpr unsigned kDiffering = 2;
constexpr sync::Duration kSearchTime = 5s; // then an answer was lost, and it starts over
constexpr std::size_t kMaxAsked = 4096, kMaxNamed = 1'000'000;
// What the smallest packet holds.
constexpr std::size_t kMaxListed =
    (sync::kMinRoom - pfsync::Builder::kMinRoom - ext::list::size) / ext::list::flow::size;
// To fetch so many one by one costs more than a bulk update.
constexpr std::uint64_t kMaxMissing = 1000;

} // namespace

std::uint64_t Own::count() const {
    std::uint64_t count = 0;
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        count += (cables_ >> peer & 1) != 0 ? store_.digest(peer).count() : 0;
    return count;
}

std::uint64_t Own::sum(Digest::Node node) const {
    std::uint64_t sum = 0;
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        sum += (cables_ >> peer & 1) != 0 ? store_.digest(peer).sum(node) : 0;
    return sum;
}

// ---- of its states, here ---------------------------------------------------------------------

bool Comparison::has_restarted(Bytes m) {
    const auto session = load_be<std::uint64_t>(&m[ext::relay_root::session]);
    if (session == session_)
        return false;
    end_search();
    if (std::exchange(session_, session) == 0)
        return false;
    store_.make_orphans(leg_.peer());
    return true;
}

Comparison::Found Comparison::receive_root(Bytes m, sync::Instant now) {
    const auto count = load_be<std::uint64_t>(&m[ext::relay_root::count]);
    const Digest& here = store_.digest(leg_.peer());
    if (count == here.count() &&
        load_be<std::uint64_t>(&m[ext::relay_root::sum]) == here.sum(Digest::kRoot)) {
        equal_ = now;
        differing_ = 0;
        end_search();
        return Found::nothing;
    }
    if (++differing_ < kDiffering || (!asked_.empty() && now - search_began_ < kSearchTime))
        return Found::nothing;
    search_began_ = now;
    differing_ = 0; // the answers take their time
    end_search();
    if (count > here.count() + std::max(kMaxMissing, here.count()))
        return Found::everything_missing;
    ask(Digest::kRoot);
    return Found::nothing;
}

void Comparison::end_search() {
    asked_.clear();
    listed_.clear();
    named_.clear();
}

void Comparison::ask(Node node) {
    if (asked_.size() >= kMaxAsked || !asked_.insert(node).second)
        return;
    std::array<std::uint8_t, ext::ask::size> m;
    store_be(&m[ext::ask::node], node);
    leg_.push_own(ext::kAsk, m);
}

void Comparison::fetch(state::StateId id) {
    std::array<std::uint8_t, ext::fetch::size> m;
    pfsync::write_id(m.data(), id);
    store_be(&m[ext::fetch::ended], store_.removed_ago(id).value_or(ext::fetch::kNotEnded));
    leg_.push_own(ext::kFetch, m);
    leg_.counters.repaired++;
}

void Comparison::receive_sums(Bytes m) {
    const auto node = load_be<std::uint32_t>(&m[ext::sums::node]);
    if (Digest::is_leaf(node) || asked_.erase(node) == 0) {
        leg_.counters.refused++;
        return;
    }
    const Digest& here = store_.digest(leg_.peer());
    for (Node n = 0; n < Digest::kFanOut; n++)
        if (const Node child = Digest::first_child(node) + n;
            load_be<std::uint64_t>(&m[ext::sums::children + n * 8]) != here.sum(child))
            ask(child);
}

void Comparison::receive_list(Bytes m) {
    const auto leaf = load_be<std::uint32_t>(&m[ext::list::leaf]);
    const unsigned part = load_be<std::uint16_t>(&m[ext::list::part]);
    if (!Digest::is_leaf(leaf) || !asked_.contains(leaf)) {
        leg_.counters.refused++;
        return;
    }
    if (part == 0)
        list_ = {leaf, 0};
    else if (list_.leaf != leaf || list_.next_part != part)
        return; // a part before it was lost: the search will start over
    list_.next_part = part + 1;
    for (Bytes rest = m.subspan(ext::list::size); rest.size() >= ext::list::flow::size;
         rest = rest.subspan(ext::list::flow::size)) {
        const state::StateId id{load_be<std::uint64_t>(&rest[ext::list::flow::id]),
                                load_be<std::uint32_t>(&rest[ext::list::flow::creatorid])};
        if (named_.size() < kMaxNamed)
            named_.insert(id);
        const Slot slot = store_.find(id);
        if (slot == kNoSlot || store_.origin(slot) != leg_.peer() ||
            static_cast<std::uint32_t>(store_.check(slot)) !=
                load_be<std::uint32_t>(&rest[ext::list::flow::check]))
            fetch(id);
    }
    if ((m[ext::list::flags] & ext::list::kLast) == 0)
        return;
    asked_.erase(leaf);
    listed_.insert(leaf);
    if (asked_.empty())
        fetch_surplus();
}

// What we take for the gateway's and it did not name.
void Comparison::fetch_surplus() {
    if (named_.size() < kMaxNamed)
        for (Slot slot = store_.next(kNoSlot); slot != kNoSlot; slot = store_.next(slot))
            if (const state::StateId id = store_.id(slot); store_.origin(slot) == leg_.peer() &&
                                                           listed_.contains(sync::leaf_of(id)) &&
                                                           !named_.contains(id))
                fetch(id);
    end_search();
}

void Comparison::receive_absent(Bytes m) {
    const Slot slot = store_.find(pfsync::read_id(m));
    if (slot != kNoSlot && store_.origin(slot) == leg_.peer())
        store_.make_orphan(slot);
}

// ---- of our states, there --------------------------------------------------------------------

void Comparison::receive_ask(Bytes m, const Own& own) {
    const auto node = load_be<std::uint32_t>(&m[ext::ask::node]);
    if (node >= Digest::kNodes || wanted_.size() >= kMaxAsked) {
        leg_.counters.refused++;
        return;
    }
    if (Digest::is_leaf(node)) {
        wanted_.insert(node);
        return;
    }
    std::array<std::uint8_t, ext::sums::size> sums{};
    store_be(&sums[ext::sums::node], node);
    for (Node n = 0; n < Digest::kFanOut; n++)
        store_be(&sums[ext::sums::children + n * 8], own.sum(Digest::first_child(node) + n));
    leg_.push_own(ext::kSums, sums);
}

void Comparison::answer(state::StateId id, const Own& own) {
    const Slot slot = store_.find(id);
    if (slot != kNoSlot && own.has(slot)) {
        leg_.push_reference(slot, id);
        leg_.counters.answered++;
        return;
    }
    std::array<std::uint8_t, ext::absent::size> answer{};
    pfsync::write_id(answer.data(), id);
    if (slot == kNoSlot && store_.removed(id))
        leg_.push(*pfsync::action_of(leg_.dialect(), pfsync::Kind::remove_c),
                  Bytes(answer).first(pfsync::common::kIdSize));
    else
        leg_.push_own(ext::kAbsent, answer);
}

void Comparison::send_root(std::uint64_t session, const Own& own) {
    std::array<std::uint8_t, ext::relay_root::size> m;
    store_be(&m[ext::relay_root::session], session);
    store_be(&m[ext::relay_root::sum], own.sum(Digest::kRoot));
    store_be(&m[ext::relay_root::count], own.count());
    leg_.push_own(ext::kRelayRoot, m);
}

void Comparison::send_lists(const Own& own) {
    std::vector<std::pair<Node, Slot>> listing;
    for (Slot slot = store_.next(kNoSlot); slot != kNoSlot; slot = store_.next(slot))
        if (const Node leaf = sync::leaf_of(store_.id(slot));
            wanted_.contains(leaf) && own.has(slot))
            listing.emplace_back(leaf, slot);
    std::ranges::sort(listing);
    auto at = listing.begin();
    std::vector<std::uint8_t> m;
    for (const Node leaf : wanted_) {
        const auto end = std::ranges::find_if(
            at, listing.end(), [leaf](const auto& each) { return each.first != leaf; });
        std::uint16_t part = 0;
        do {
            const auto n = std::min<std::ptrdiff_t>(end - at, kMaxListed);
            m.assign(ext::list::size + static_cast<std::size_t>(n) * ext::list::flow::size, 0);
            store_be(&m[ext::list::leaf], leaf);
            store_be(&m[ext::list::part], part++);
            std::uint8_t* flow = m.data() + ext::list::size;
            for (const auto last = at + n; at != last; ++at, flow += ext::list::flow::size) {
                const state::StateId id = store_.id(at->second);
                store_be(flow + ext::list::flow::id, id.id);
                store_be(flow + ext::list::flow::creatorid, id.creatorid);
                store_be(flow + ext::list::flow::check,
                         static_cast<std::uint32_t>(store_.check(at->second)));
            }
            m[ext::list::flags] = at == end ? ext::list::kLast : 0;
            leg_.push_own(ext::kList, m);
        } while (at != end);
    }
    wanted_.clear();
}

} // namespace encsync::relay
