// SPDX-License-Identifier: ISC
// How two encsync nodes find out that the one's flows and the other's copies of them are the same,
// and repair exactly what is not (pfsync/extension.hpp has the messages).
//
// Only the sum at the root needs a moment at which both mean the same: the owner says it when
// nothing else waits to be said, the hearer compares it if it has heard all before. On the way down
// a difference that is only on its way costs a question too many and no more: nothing is changed
// but by the owner's answer to a request for one state, which is its present word.
#include "sync/engine.hpp"

#include "pfsync/extension.hpp"
#include "sync/marks.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Record;
using state::Slot;
using Node = Digest::Node;
namespace ext = pfsync::extension;

namespace {

constexpr Instant kRootInterval = 1s;
// Flows may be changing hands while one sum is taken; hardly so twice in a row.
constexpr unsigned kDiffering = 2;
// Between searches that leave a difference: doubled each time.
constexpr Instant kSearchPause = 1s, kMaxSearchPause = 32s;
constexpr Instant kSearchTime = 5s; // then it has got stuck, and begins anew
constexpr Instant kWalkPause = 200ms;
constexpr std::size_t kMaxRequests = 4096, kMaxAbsent = 4096;
// Flows that a list may name; hundreds are in a leaf if there are millions.
constexpr std::size_t kMaxLeaf = 16384, kMaxNamed = 1'000'000;
// Messages of version 6 are at most 255 words long.
constexpr std::size_t kMaxListed = (255 * 4 - ext::list::size) / ext::list::flow::size;

} // namespace

// What the peer is to hold of our flows.
std::uint64_t Engine::own_sum(PeerId peer, Node node) const {
    return flows_.live_digest().sum(node) - flows_.withheld_digest(peer).sum(node);
}

// ---- the hearer ----------------------------------------------------------------------------

// Our copies are what they ought to be, once all that the peer has said is in.
bool Engine::comparable(const Session& s) const {
    return s.extended && s.in_step && now_ - reconciled_ >= kRolesSettle && !s.bulk_requested &&
           !s.bulk_arriving && index_.size() < options_.max_states;
}

void Engine::receive_root(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    Checks& c = s.checks;
    const auto count = load_be<std::uint64_t>(&m[ext::root::count]);
    if (!comparable(s) || !s.inbox.whole(load_be<std::uint64_t>(&m[ext::root::since])))
        return;
    s.counters.checks++;
    const Digest& copies = flows_.copies_digest(peer);
    if (count == copies.count() &&
        load_be<std::uint64_t>(&m[ext::root::sum]) == copies.sum(Digest::kRoot)) {
        c.equal = now_;
        c.differing = 0;
        c.search_pause = kSearchPause;
        end_search(s);
        return;
    }
    if (++c.differing < kDiffering || now_ < c.search_not_before ||
        (!c.asked.empty() && now_ - c.search_began < kSearchTime))
        return;
    c.search_not_before = c.too_many ? now_ : now_ + c.search_pause;
    c.search_pause = std::min(std::max(kSearchPause, c.search_pause * 2), kMaxSearchPause);
    c.search_began = now_;
    s.counters.repairs++;
    end_search(s);
    // Most of it is missing or too much: to ask for each would cost more than to be told all.
    if (const std::uint64_t more = std::max<std::uint64_t>(count, copies.count()),
        less = std::min<std::uint64_t>(count, copies.count());
        more - less > std::max<std::uint64_t>(Checks::kMaxAsked, less))
        request_bulk(peer);
    else
        ask(s, Digest::kRoot);
}

void Engine::end_search(Session& s) {
    s.checks.asked.clear();
    s.checks.questions.clear();
    s.checks.surplus.clear();
    s.checks.named.clear();
    s.checks.too_many = false;
}

void Engine::ask(Session& s, Node node) {
    if (s.checks.asked.size() >= Checks::kMaxAsked)
        s.checks.too_many = true;
    else if (s.checks.asked.insert(node).second)
        s.checks.questions.push_back(node);
}

void Engine::receive_sums(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    const auto node = load_be<std::uint32_t>(&m[ext::sums::node]);
    if (Digest::is_leaf(node) || s.checks.asked.erase(node) == 0) {
        refuse(Refused::unasked);
        return;
    }
    for (Node n = 0; n < Digest::kFanOut; n++) {
        const Node child = Digest::first_child(node) + n;
        if (load_be<std::uint64_t>(&m[ext::sums::children + n * 8]) !=
            flows_.copies_digest(peer).sum(child))
            ask(s, child);
    }
}

void Engine::receive_list(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    Checks& c = s.checks;
    const auto leaf = load_be<std::uint32_t>(&m[ext::list::leaf]);
    const unsigned part = load_be<std::uint16_t>(&m[ext::list::part]);
    if (!Digest::is_leaf(leaf) || !c.asked.contains(leaf)) {
        refuse(Refused::unasked);
        return;
    }
    if (part == 0)
        c.list = {leaf, 0, 0, {}};
    else if (c.list.leaf != leaf || c.list.next_part != part)
        return; // a part before it was lost, and so the list will come again
    if (c.list.named.size() > kMaxLeaf) {
        refuse(Refused::unasked);
        c.asked.erase(leaf);
        return;
    }
    c.list.next_part = part + 1;
    for (Bytes rest = m.subspan(ext::list::size); rest.size() >= ext::list::flow::size;
         rest = rest.subspan(ext::list::flow::size)) {
        const state::StateId id{load_be<std::uint64_t>(&rest[ext::list::flow::id]),
                                load_be<std::uint32_t>(&rest[ext::list::flow::creatorid])};
        if (id.creatorid == 0)
            continue; // nothing stands here
        c.list.named.push_back(id);
        const Slot slot = index_.find(id);
        const bool copy = slot != kNoSlot && index_.record(slot).owner == peer;
        const std::uint64_t check = copy ? check_of(index_, book_, slot) : 0;
        c.list.sum += check;
        if (!copy || static_cast<std::uint32_t>(check) !=
                         load_be<std::uint32_t>(&rest[ext::list::flow::check]))
            ask_state(s, id);
    }
    if ((m[ext::list::flags] & ext::list::kLast) == 0)
        return;
    c.asked.erase(leaf);
    if (c.list.sum != flows_.copies_digest(peer).sum(leaf) && c.named.size() < kMaxNamed) {
        c.surplus.insert(leaf);
        c.named.insert(c.list.named.begin(), c.list.named.end());
    }
    c.list = {};
    if (c.asked.empty())
        ask_surplus(peer);
}

void Engine::ask_state(Session& s, state::StateId id) {
    if (s.requests.size() >= kMaxRequests) {
        s.checks.too_many = true;
        return;
    }
    s.requests.push_back(id);
    s.counters.differing++;
}

// What we take for the peer's and the peer did not name.
void Engine::ask_surplus(PeerId peer) {
    Session& s = *sessions_[peer];
    if (s.checks.surplus.empty())
        return;
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        if (record.owner == peer && s.checks.surplus.contains(leaf_of(record.id)) &&
            !s.checks.named.contains(record.id))
            ask_state(s, record.id);
    }
    s.checks.surplus.clear();
    s.checks.named.clear();
}

void Engine::receive_absent(PeerId peer, Bytes m) {
    const Slot slot = index_.find(pfsync::read_id(m));
    if (slot == kNoSlot || index_.record(slot).owner != peer)
        return;
    // Otherwise it may have been the peer's for a while, and we are still to hear of its end.
    if (!sessions_[peer]->inbox.whole(load_be<std::uint64_t>(&m[ext::absent::since])))
        return;
    if (index_.record(slot).is.given) { // and so it did not take it: ours again
        claim(slot);
        return;
    }
    remember_gone(index_.key(slot));
    discard(slot);
    sessions_[peer]->counters.removed++;
}

// ---- the owner -----------------------------------------------------------------------------

void Engine::receive_ask(PeerId peer, Bytes m) {
    Session& s = *sessions_[peer];
    const auto node = load_be<std::uint32_t>(&m[ext::ask::node]);
    if (!s.extended || node >= Digest::kNodes || s.checks.wanted.size() >= Checks::kMaxAsked)
        refuse(Refused::bad_ask);
    else
        s.checks.wanted.insert(node);
}

void Engine::answer_absent(PeerId peer, state::StateId id) {
    Checks& c = sessions_[peer]->checks;
    if (sessions_[peer]->extended && c.absent.size() < kMaxAbsent)
        c.absent.push_back(id);
}

void Engine::walk_leaves(PeerId peer) {
    Checks& c = sessions_[peer]->checks;
    c.walk_not_before = now_ + kWalkPause;
    for (const Slot slot : index_.slots()) {
        const Record& record = index_.record(slot);
        if (record.owner != kHere || has(record.withheld, peer))
            continue;
        if (const Node leaf = leaf_of(record.id); c.wanted.contains(leaf))
            c.listing.push_back({leaf, slot});
    }
    for (const Node leaf : c.wanted)
        c.listing.push_back({leaf, kNoSlot});
    std::sort(c.listing.begin(), c.listing.end());
    c.wanted.clear();
    c.listing_part = 0;
}

// False: the packet is full. So with all below.
bool Engine::say_list(Session& s, pfsync::Builder& packet) {
    Checks& c = s.checks;
    const Node leaf = c.listing.front().leaf;
    std::size_t n = 0;
    while (n < kMaxListed && c.listing[n].slot != kNoSlot)
        n++;
    const std::size_t wanted = n;
    const auto size = [&] { return ext::list::size + n * ext::list::flow::size; };
    while (n > 0 && !packet.fits(ext::kList, size()))
        n--;
    if (n == 0 && (wanted != 0 || !packet.fits(ext::kList, size())))
        return false;
    std::uint8_t* m = packet.add(ext::kList, size());
    store_be(m + ext::list::leaf, leaf);
    store_be(m + ext::list::part, c.listing_part++);
    for (std::uint8_t* at = m + ext::list::size; n > 0; n--, c.listing.pop_front()) {
        const Slot slot = c.listing.front().slot;
        const state::StateId id = index_.used(slot) ? index_.record(slot).id : state::StateId{};
        if (leaf_of(id) != leaf) // it has ended since; nothing stands there instead
            continue;
        store_be(at + ext::list::flow::id, id.id);
        store_be(at + ext::list::flow::creatorid, id.creatorid);
        store_be(at + ext::list::flow::check,
                 static_cast<std::uint32_t>(check_of(index_, book_, slot)));
        at += ext::list::flow::size;
    }
    if (c.listing.front().slot == kNoSlot) {
        m[ext::list::flags] = ext::list::kLast;
        c.listing.pop_front();
        c.listing_part = 0;
    }
    note(s, {.kind = Item::Kind::list, .slot = leaf});
    return true;
}

bool Engine::say_sums(Session& s, PeerId peer, pfsync::Builder& packet) {
    std::set<Node>& wanted = s.checks.wanted;
    while (!wanted.empty() && !Digest::is_leaf(*wanted.begin())) {
        std::uint8_t* m = packet.add(ext::kSums, ext::sums::size);
        if (m == nullptr)
            return false;
        const Node node = *wanted.begin();
        wanted.erase(wanted.begin());
        store_be(m + ext::sums::node, node);
        const Digest::Sums live = flows_.live_digest().children(node),
                           withheld = flows_.withheld_digest(peer).children(node);
        for (std::size_t n = 0; n < live.size(); n++)
            store_be(m + ext::sums::children + n * 8, live[n] - withheld[n]);
        note(s, {.kind = Item::Kind::sums, .slot = node});
    }
    return true;
}

// Comes last in a packet: so all that waited has been said, here or before.
bool Engine::say_checks(Session& s, PeerId peer, pfsync::Builder& packet) {
    Checks& c = s.checks;
    for (; !c.absent.empty(); c.absent.pop_front()) {
        std::uint8_t* m = packet.add(ext::kAbsent, ext::absent::size);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, c.absent.front());
        store_be(m + ext::absent::since, s.outstanding.first_with_items());
        note(s, {.kind = Item::Kind::absent, .id = c.absent.front()});
    }
    for (; !c.questions.empty(); c.questions.pop_front()) {
        std::uint8_t* m = packet.add(ext::kAsk, ext::ask::size);
        if (m == nullptr)
            return false;
        store_be(m + ext::ask::node, c.questions.front());
        note(s, {.kind = Item::Kind::question, .slot = c.questions.front()});
    }
    if (!say_sums(s, peer, packet))
        return false;
    if (c.walk_due(now_))
        walk_leaves(peer);
    while (!c.listing.empty())
        if (!say_list(s, packet))
            return false;
    if (!s.root_due(now_))
        return true;
    std::uint8_t* m = packet.add(ext::kRoot, ext::root::size);
    if (m == nullptr)
        return false;
    c.root_due = now_ + kRootInterval;
    store_be(m + ext::root::since, s.outstanding.first_with_items());
    store_be(m + ext::root::sum, own_sum(peer, Digest::kRoot));
    store_be(m + ext::root::count,
             flows_.live_digest().count() - flows_.withheld_digest(peer).count());
    return true;
}

} // namespace encsync::sync
