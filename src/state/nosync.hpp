// SPDX-License-Identifier: ISC
// The flows that are not sent to peers: the option nosync, for all peers or for one.
//
//     const NoSync nosync({NoSyncRule{.mark = MarkMatch{0x10, 0xf0}}});
//     if (nosync.matches(flow)) ...      // not to be announced
//
// A rule matches a flow that meets all of its conditions; a flow is not synced if any rule matches.
// Each end of a flow has an address before and after NAT, and a condition is met if either address
// meets it. Everything except the mark stays the same for the life of a flow.
#pragma once

#include "net/prefix.hpp"
#include "net/protocol.hpp"
#include "state/flow.hpp"

#include <optional>
#include <span>
#include <vector>

namespace encsync::state {

struct MarkMatch {
    std::uint32_t value = 0, mask = 0xffffffff; // no bit of value is outside of mask
    bool contains(std::uint32_t mark) const { return (mark & mask) == value; }
    bool operator==(const MarkMatch&) const = default;
};

// A rule without any condition would match every flow.
struct NoSyncRule {
    std::optional<MarkMatch> mark{};
    std::optional<net::Prefix> src{}, dst{}; // initiator and responder of the flow
    std::vector<net::Prefix> nets{};         // each holds one of its ends
    std::optional<net::PortRange> ports{};   // destination; only for protocols with ports
    std::optional<std::uint8_t> proto{};
    std::optional<std::uint16_t> zone{};

    bool matches(const Flow& flow) const;
    bool operator==(const NoSyncRule&) const = default;
};

class NoSync {
  public:
    NoSync() = default;
    explicit NoSync(std::vector<NoSyncRule> rules);

    bool matches(const Flow& flow) const { return matches_for_life(flow) || matches_by_mark(flow); }
    // By a rule without a mark: this cannot change.
    bool matches_for_life(const Flow& flow) const;
    // By a rule with one.
    bool matches_by_mark(const Flow& flow) const;
    bool empty() const { return rules_.empty(); }
    // Those without a mark first.
    std::span<const NoSyncRule> rules() const { return rules_; }

  private:
    std::vector<NoSyncRule> rules_;
    std::size_t lasting_ = 0; // how many of them have no mark
};

} // namespace encsync::state
