// SPDX-License-Identifier: ISC
// Sums over the flows of one owner, by which two nodes find out that they hold the same, and if
// not, where the difference is.
//
//     Digest mine;
//     mine.add(leaf_of(id), check);              // subtract() takes it out again
//     if (mine.sum(node) != theirs)              // then look at the children of `node`
//
// A tree with 16 children a node and 65,536 leaves; each node is the sum (modulo 2^64) of the
// checks of the flows below it, kept up with every change, so that asking costs nothing. Leaves
// take memory from the first flow near them on. A leaf follows from the id of a flow alone. Sums
// are linear: what is not sent to a peer is summed apart and subtracted. The checks are not keyed:
// only nodes that trust each other compare them, and what they guard against is accident.
#pragma once

#include "state/index.hpp"
#include "sync/expectations.hpp"

#include <array>
#include <cstdint>
#include <memory>

namespace encsync::sync {

class Digest {
  public:
    using Node = std::uint32_t; // 0 is the root; the children of n are 16 n + 1 to 16 n + 16
    static constexpr Node kFanOut = 16, kLeaves = 65536;
    static constexpr Node kRoot = 0, kFirstLeaf = 1 + 16 + 256 + 4096;
    static constexpr Node kNodes = kFirstLeaf + kLeaves;
    using Sums = std::array<std::uint64_t, kFanOut>;

    static constexpr bool is_leaf(Node node) { return node >= kFirstLeaf; }
    static constexpr Node first_child(Node node) { return kFanOut * node + 1; }

    void add(Node leaf, std::uint64_t check) {
        count_++;
        change(leaf, check);
    }
    void subtract(Node leaf, std::uint64_t check) {
        count_--;
        change(leaf, -check);
    }
    std::uint64_t count() const { return count_; }
    std::uint64_t sum(Node node) const {
        const std::uint64_t* sum = tree_ ? tree_->find(node) : nullptr;
        return sum != nullptr ? *sum : 0;
    }
    Sums children(Node node) const; // of a node that is no leaf
    bool operator==(const Digest& other) const;

  private:
    void change(Node leaf, std::uint64_t by);

    static constexpr std::size_t kBlock = 256; // leaves
    using Leaves = std::array<std::uint64_t, kBlock>;
    struct Tree {
        std::array<std::uint64_t, kFirstLeaf> inner{};
        std::array<std::unique_ptr<Leaves>, kLeaves / kBlock> leaves{};

        // Null: it is 0, and so are those beside it.
        const std::uint64_t* find(Node node) const {
            if (!is_leaf(node))
                return &inner[node];
            const Node leaf = node - kFirstLeaf;
            const Leaves* block = leaves[leaf / kBlock].get();
            return block != nullptr ? &(*block)[leaf % kBlock] : nullptr;
        }
    };
    std::unique_ptr<Tree> tree_; // 37 kB and 2 kB a block, when there is something to sum
    std::uint64_t count_ = 0;
};

// Where a flow of this name is summed.
Digest::Node leaf_of(state::StateId id);

// What two nodes must agree on about a flow, in 64 bits: its name, its addresses, how far it has
// come, mark, extras, term and what is expected of it. The same on every node.
std::uint64_t check_of(const state::Index& index, const ExpectationBook& book, state::Slot slot);

} // namespace encsync::sync
