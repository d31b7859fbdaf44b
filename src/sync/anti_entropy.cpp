// SPDX-License-Identifier: ISC
#include "sync/anti_entropy.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
using state::kNoSlot;
using state::Slot;
using Node = Digest::Node;
namespace ext = pfsync::extension;

namespace {

constexpr Duration kRootInterval = 1s;
// Flows may be changing hands while one sum is taken; hardly so twice in a row.
constexpr unsigned kDiffering = 2;
// Between searches that leave a difference: doubled each time.
constexpr Duration kSearchPause = 1s, kMaxSearchPause = 32s;
constexpr Duration kSearchTime = 5s; // then it is stuck, and starts over
constexpr Duration kWalkPause = 200ms;
constexpr std::size_t kMaxRequests = 4096, kMaxAbsent = 4096;
// Flows that a list may name; hundreds are in a leaf if there are millions.
constexpr std::size_t kMaxLeaf = 16384, kMaxNamed = 1'000'000;
// Messages of version 6 are at most 255 words long.
constexpr std::size_t kMaxListed = (255 * 4 - ext::list::size) / ext::list::flow::size;

} // namespace

// ---- the hearer ----------------------------------------------------------------------------

// Our copies match, once all that the peer has sent is processed.
bool AntiEntropy::comparable(const Peer& peer) const {
    return peer.extended && peer.in_step && ownership_.settled() && !peer.bulk.requested &&
           !peer.bulk.arriving && ownership_.has_place(peer);
}

bool AntiEntropy::receive_root(Peer& peer, const Inbox& inbox, Bytes m) {
    Checks& c = peer.checks;
    const auto count = load_be<std::uint64_t>(&m[ext::root::count]);
    if (!comparable(peer) || !inbox.whole(load_be<std::uint64_t>(&m[ext::root::since])))
        return false;
    peer.counters.checks++;
    const Digest& copies = ctx_.flows.copies_digest(peer.id);
    if (count == copies.count() &&
        load_be<std::uint64_t>(&m[ext::root::sum]) == copies.sum(Digest::kRoot)) {
        c.equal = ctx_.now;
        c.differing = 0;
        c.search_pause = kSearchPause;
        end_search(peer);
        return false;
    }
    if (++c.differing < kDiffering || ctx_.now < c.search_not_before ||
        (!c.asked.empty() && ctx_.now - c.search_began < kSearchTime))
        return false;
    c.search_not_before = c.too_many ? ctx_.now : ctx_.now + c.search_pause;
    c.search_pause = std::min(std::max(kSearchPause, c.search_pause * 2), kMaxSearchPause);
    c.search_began = ctx_.now;
    peer.counters.repairs++;
    end_search(peer);
    // Most of it is missing or too much: to request each would cost more than a bulk update.
    if (const std::uint64_t more = std::max<std::uint64_t>(count, copies.count()),
        less = std::min<std::uint64_t>(count, copies.count());
        more - less > std::max<std::uint64_t>(Checks::kMaxAsked, less))
        return true;
    ask(peer, Digest::kRoot);
    return false;
}

void AntiEntropy::end_search(Peer& peer) {
    peer.checks.asked.clear();
    peer.checks.questions.clear();
    peer.checks.surplus.clear();
    peer.checks.named.clear();
    peer.checks.too_many = false;
}

void AntiEntropy::ask(Peer& peer, Node node) {
    if (peer.checks.asked.size() >= Checks::kMaxAsked)
        peer.checks.too_many = true;
    else if (peer.checks.asked.insert(node).second)
        peer.checks.questions.push_back(node);
}

void AntiEntropy::receive_sums(Peer& peer, Bytes m) {
    const auto node = load_be<std::uint32_t>(&m[ext::sums::node]);
    if (Digest::is_leaf(node) || peer.checks.asked.erase(node) == 0) {
        peer.verdict.refuse(Reason::unasked);
        return;
    }
    for (Node n = 0; n < Digest::kFanOut; n++) {
        const Node child = Digest::first_child(node) + n;
        if (load_be<std::uint64_t>(&m[ext::sums::children + n * 8]) !=
            ctx_.flows.copies_digest(peer.id).sum(child))
            ask(peer, child);
    }
}

void AntiEntropy::receive_list(Peer& peer, Bytes m) {
    Checks& c = peer.checks;
    const auto leaf = load_be<std::uint32_t>(&m[ext::list::leaf]);
    const unsigned part = load_be<std::uint16_t>(&m[ext::list::part]);
    if (!Digest::is_leaf(leaf) || !c.asked.contains(leaf)) {
        peer.verdict.refuse(Reason::unasked);
        return;
    }
    if (part == 0)
        c.list = {leaf, 0, 0, {}};
    else if (c.list.leaf != leaf || c.list.next_part != part)
        return; // a part before it was lost, and so the list will come again
    if (c.list.named.size() > kMaxLeaf) {
        peer.verdict.refuse(Reason::unasked);
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
        const Slot slot = ctx_.index.find(id);
        const bool copy = slot != kNoSlot && ctx_.index.record(slot).owner == peer.id;
        const std::uint64_t check =
            copy ? check_of(ctx_.index, ctx_.flows.expectations(), slot) : 0;
        c.list.sum += check;
        if (!copy || static_cast<std::uint32_t>(check) !=
                         load_be<std::uint32_t>(&rest[ext::list::flow::check]))
            ask_state(peer, id);
    }
    if ((m[ext::list::flags] & ext::list::kLast) == 0)
        return;
    c.asked.erase(leaf);
    if (c.list.sum != ctx_.flows.copies_digest(peer.id).sum(leaf) && c.named.size() < kMaxNamed) {
        c.surplus.insert(leaf);
        c.named.insert(c.list.named.begin(), c.list.named.end());
    }
    c.list = {};
    if (c.asked.empty())
        ask_surplus(peer);
}

void AntiEntropy::ask_state(Peer& peer, state::StateId id) {
    if (outbound_.requests(peer) >= kMaxRequests) {
        peer.checks.too_many = true;
        return;
    }
    outbound_.request_again(peer, id);
    peer.counters.differing++;
}

// What we take for the peer's and the peer did not name.
void AntiEntropy::ask_surplus(Peer& peer) {
    if (peer.checks.surplus.empty())
        return;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.index.record(slot);
        if (record.owner == peer.id && peer.checks.surplus.contains(leaf_of(record.id)) &&
            !peer.checks.named.contains(record.id))
            ask_state(peer, record.id);
    }
    peer.checks.surplus.clear();
    peer.checks.named.clear();
}

void AntiEntropy::receive_absent(Peer& peer, const Inbox& inbox, Bytes m) {
    const Slot slot = ctx_.index.find(pfsync::read_id(m));
    if (slot == kNoSlot || ctx_.index.record(slot).owner != peer.id)
        return;
    // Otherwise it may have been the peer's for a while, and its removal is still to come.
    if (!inbox.whole(load_be<std::uint64_t>(&m[ext::absent::since])))
        return;
    if (ctx_.index.record(slot).is.handed_over) { // and so it did not take it: ours again
        ownership_.claim(slot);
        return;
    }
    lifecycle_.remember_ended(ctx_.index.key(slot));
    lifecycle_.erase_from_table(slot);
    peer.counters.removed++;
}

// ---- the owner -----------------------------------------------------------------------------

void AntiEntropy::ask_again(Peer& peer, Node node) {
    if (peer.checks.asked.contains(node))
        peer.checks.questions.push_back(node);
}

bool AntiEntropy::root_due(const Peer& peer) const {
    return peer.extended && peer.peer_in_step && !peer.bulk.sending &&
           ctx_.now >= peer.checks.root_due;
}

bool AntiEntropy::anything_to_send(const Peer& peer) const {
    return peer.checks.anything_to_send(ctx_.now) || root_due(peer);
}

Instant AntiEntropy::deadline(const Peer& peer) const {
    const bool sums = peer.extended && peer.peer_in_step && !peer.bulk.sending;
    return std::min(peer.checks.walk_at(), sums ? peer.checks.root_due : Instant::max());
}

void AntiEntropy::receive_ask(Peer& peer, Bytes m) {
    const auto node = load_be<std::uint32_t>(&m[ext::ask::node]);
    if (!peer.extended || node >= Digest::kNodes || peer.checks.wanted.size() >= Checks::kMaxAsked)
        peer.verdict.refuse(Reason::bad_ask);
    else
        peer.checks.wanted.insert(node);
}

void AntiEntropy::answer_absent(Peer& peer, state::StateId id) {
    Checks& c = peer.checks;
    if (peer.extended && c.absent.size() < kMaxAbsent)
        c.absent.push_back(id);
}

void AntiEntropy::walk_leaves(Peer& peer) {
    Checks& c = peer.checks;
    c.walk_not_before = ctx_.now + kWalkPause;
    for (const Slot slot : ctx_.index.slots()) {
        const Record& record = ctx_.index.record(slot);
        if (record.owner != kHere || has(record.suppressed, peer.id))
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
bool AntiEntropy::write_list(Peer& peer, pfsync::Builder& packet) {
    Checks& c = peer.checks;
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
        const state::StateId id =
            ctx_.index.used(slot) ? ctx_.index.record(slot).id : state::StateId{};
        if (leaf_of(id) != leaf) // it has ended since; nothing stands there instead
            continue;
        store_be(at + ext::list::flow::id, id.id);
        store_be(at + ext::list::flow::creatorid, id.creatorid);
        store_be(at + ext::list::flow::check,
                 static_cast<std::uint32_t>(check_of(ctx_.index, ctx_.flows.expectations(), slot)));
        at += ext::list::flow::size;
    }
    if (c.listing.front().slot == kNoSlot) {
        m[ext::list::flags] = ext::list::kLast;
        c.listing.pop_front();
        c.listing_part = 0;
    }
    peer.protocol->sent({.kind = Item::Kind::list, .slot = leaf});
    return true;
}

bool AntiEntropy::write_sums(Peer& peer, pfsync::Builder& packet) {
    std::set<Node>& wanted = peer.checks.wanted;
    while (!wanted.empty() && !Digest::is_leaf(*wanted.begin())) {
        std::uint8_t* m = packet.add(ext::kSums, ext::sums::size);
        if (m == nullptr)
            return false;
        const Node node = *wanted.begin();
        wanted.erase(wanted.begin());
        store_be(m + ext::sums::node, node);
        const Digest::Sums live = ctx_.flows.live_digest().children(node),
                           suppressed = ctx_.flows.suppressed_digest(peer.id).children(node);
        for (std::size_t n = 0; n < live.size(); n++)
            store_be(m + ext::sums::children + n * 8, live[n] - suppressed[n]);
        peer.protocol->sent({.kind = Item::Kind::sums, .slot = node});
    }
    return true;
}

// Must come last in a packet, when everything queued has been sent, here or before.
bool AntiEntropy::write(Peer& peer, const Outstanding& outstanding, pfsync::Builder& packet) {
    Checks& c = peer.checks;
    for (; !c.absent.empty(); c.absent.pop_front()) {
        std::uint8_t* m = packet.add(ext::kAbsent, ext::absent::size);
        if (m == nullptr)
            return false;
        pfsync::write_id(m, c.absent.front());
        store_be(m + ext::absent::since, outstanding.first_with_items());
        peer.protocol->sent({.kind = Item::Kind::absent, .id = c.absent.front()});
    }
    for (; !c.questions.empty(); c.questions.pop_front()) {
        std::uint8_t* m = packet.add(ext::kAsk, ext::ask::size);
        if (m == nullptr)
            return false;
        store_be(m + ext::ask::node, c.questions.front());
        peer.protocol->sent({.kind = Item::Kind::question, .slot = c.questions.front()});
    }
    if (!write_sums(peer, packet))
        return false;
    if (c.walk_due(ctx_.now))
        walk_leaves(peer);
    while (!c.listing.empty())
        if (!write_list(peer, packet))
            return false;
    if (!root_due(peer))
        return true;
    std::uint8_t* m = packet.add(ext::kRoot, ext::root::size);
    if (m == nullptr)
        return false;
    c.root_due = ctx_.now + kRootInterval;
    store_be(m + ext::root::since, outstanding.first_with_items());
    store_be(m + ext::root::sum, ctx_.flows.live_digest().sum(Digest::kRoot) -
                                     ctx_.flows.suppressed_digest(peer.id).sum(Digest::kRoot));
    store_be(m + ext::root::count,
             ctx_.flows.live_digest().count() - ctx_.flows.suppressed_digest(peer.id).count());
    return true;
}

} // namespace encsync::sync
