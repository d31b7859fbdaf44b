// SPDX-License-Identifier: ISC
#include "sync/digest.hpp"

#include "pfsync/expectation.hpp"
#include "pfsync/extension.hpp"
#include "state/mix.hpp"
#include "sync/merge.hpp"
#include "util/bytes.hpp"

#include <algorithm>
#include <cstring>

namespace encsync::sync {

using state::fold;

namespace {

std::uint64_t mix(const state::Extras& extras) {
    const auto word = [](const auto& bytes, std::size_t at) {
        std::array<std::uint8_t, 8> eight;
        std::memcpy(eight.data(), &bytes[at], eight.size());
        return load_be<std::uint64_t>(eight.data());
    };
    const std::uint64_t labels =
        fold(word(extras.labels, 0) ^ state::kMix[0], word(extras.labels, 8) ^ state::kMix[1]);
    const auto& helper = extras.helper.padded();
    std::uint64_t sum = fold(labels ^ word(helper, 0) ^ state::kMix[2],
                             word(helper, 8) ^ extras.lifetime ^ state::kMix[3]);
    if (extras.seq_adjust != state::SeqAdjusts{})
        for (const state::SeqAdjust& adjust : extras.seq_adjust)
            sum = fold(sum ^ adjust.position,
                       (std::uint64_t{adjust.before} << 32 | adjust.after) ^ state::kMix[1]);
    if (extras.reply_zone)
        sum = fold(sum ^ *extras.reply_zone, state::kMix[0]);
    return sum;
}

// In the form in which they are sent, so that only that is compared. Their order does not matter.
std::uint64_t mix(const std::vector<ExpectationBook::Entry>& entries) {
    std::uint64_t sum = 0;
    for (const auto& entry : entries) {
        state::Expectation expectation = entry.expectation;
        expectation.timeout = 0;
        std::array<std::uint8_t, pfsync::extension::expect::size> wire{};
        pfsync::write_expect(wire.data(), {}, 0, 0, expectation);
        static_assert(wire.size() % 8 == 0);
        std::uint64_t one = state::kMix[1];
        for (std::size_t at = 0; at < wire.size(); at += 8)
            one = fold(one ^ load_be<std::uint64_t>(&wire[at]), state::kMix[2]);
        sum += one;
    }
    return sum;
}

} // namespace

void Digest::change(Node leaf, std::uint64_t by) {
    if (!tree_)
        tree_ = std::make_unique<Tree>();
    auto& block = tree_->leaves[(leaf - kFirstLeaf) / kBlock];
    if (!block)
        block = std::make_unique<Leaves>();
    (*block)[(leaf - kFirstLeaf) % kBlock] += by;
    Node node = leaf;
    while (node != kRoot) {
        node = (node - 1) / kFanOut;
        tree_->inner[node] += by;
    }
}

Digest::Sums Digest::children(Node node) const {
    static_assert(kBlock % kFanOut == 0); // so those of a node are in one block
    Sums sums{};
    if (const std::uint64_t* first = tree_ ? tree_->find(first_child(node)) : nullptr)
        std::memcpy(sums.data(), first, sizeof sums);
    return sums;
}

bool Digest::operator==(const Digest& other) const {
    static const Tree kEmpty;
    static constexpr Leaves kNone{};
    const Tree &ours = tree_ ? *tree_ : kEmpty, &theirs = other.tree_ ? *other.tree_ : kEmpty;
    const auto same = [](const auto& a, const auto& b) {
        return a == b || (a ? *a : kNone) == (b ? *b : kNone);
    };
    return count_ == other.count_ && ours.inner == theirs.inner &&
           std::ranges::equal(ours.leaves, theirs.leaves, same);
}

Digest::Node leaf_of(state::StateId id) {
    // A pf firewall counts its ids, so their own bits would fill few leaves.
    const std::uint64_t mixed = fold(id.id ^ state::kMix[0], id.creatorid ^ state::kMix[1]);
    return Digest::kFirstLeaf + static_cast<Digest::Node>(mixed >> 48);
}

std::uint64_t check_of(const state::Index& index, const ExpectationBook& book, state::Slot slot) {
    const state::Record& r = index.record(slot);
    const state::Index::Fingerprint print = index.fingerprint(slot);
    // A short update carries no flags: the receiver concludes them.
    const auto flags = static_cast<std::uint8_t>(
        (r.flags | progress_flags(print.proto, r.src_state, r.dst_state)) &
        (state::kSeenReply | state::kAssured));
    const std::uint64_t progress = std::uint64_t{r.src_state} << 24 |
                                   std::uint64_t{r.dst_state} << 16 | std::uint64_t{flags} << 8 |
                                   r.term;
    const std::uint64_t name = fold(r.id.id ^ state::kMix[2], r.id.creatorid ^ print.hash);
    std::uint64_t more = state::kMix[3];
    if (const state::Extras& extras = index.extras(slot); !extras.empty())
        more ^= mix(extras);
    if (const auto& expected = book.of(slot); !expected.empty())
        more ^= fold(mix(expected) ^ state::kMix[0], state::kMix[3]);
    return fold(name ^ more, (std::uint64_t{r.mark} << 32 | progress) ^ state::kMix[0]);
}

} // namespace encsync::sync
