// SPDX-License-Identifier: ISC
// The lifetimes that the kernel gives entries in this network namespace, from
// /proc/sys/net/netfilter/nf_conntrack_*timeout*; the kernel's defaults if a file is missing.
//
//     Timeouts timeouts;
//     timeouts.reload();                       // cheap: about 30 small files
//     std::uint32_t s = timeouts.natural(flow);
#pragma once

#include "state/flow.hpp"

#include <array>
#include <cstdint>
#include <string>

namespace encsync::table {

class Timeouts {
  public:
    explicit Timeouts(std::string directory = "/proc/sys/net/netfilter");
    void reload();

    // Seconds that an entry of this protocol and progress lives without traffic.
    std::uint32_t natural(const state::Flow& flow) const;
    // The largest timeout that a packet of this flow may set.
    std::uint32_t longest(const state::Flow& flow) const;
    // Longer than traffic could set it, but within the extra time of a copy: a copy that no packet
    // has used. Entries with even more time left have a timeout policy.
    bool is_untouched(const state::Flow& flow) const;

    static constexpr std::size_t kFiles = 34;

  private:
    std::string directory_;
    std::array<std::uint32_t, kFiles> seconds_{};
    bool follows_dccp_ = false;
};

} // namespace encsync::table
