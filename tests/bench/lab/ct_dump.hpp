// SPDX-License-Identifier: ISC
// ct_dump: one dump of the kernel's conntrack table of a network namespace, for comparison.
//
//     Result<std::vector<Entry>> entries = dump("/run/netns/mickey");
//
// Reads ctnetlink itself and not through encsync's own table: a benchmark that used the code under
// test to count its losses would not detect a fault in that code.
#pragma once

#include "util/result.hpp"

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <vector>

namespace encsync::bench {

// Both directions of a flow: a copy with another reply tuple (NAT) is not a copy.
struct FlowKey {
    struct Side {
        std::array<std::uint8_t, 16> from{};
        std::array<std::uint8_t, 16> to{};
        std::uint16_t from_port = 0; // or the ICMP id
        std::uint16_t to_port = 0;   // or ICMP type and code

        auto operator<=>(const Side&) const = default;
    };
    Side original;
    Side reply;
    std::uint16_t zone = 0;
    std::uint8_t family = 0;
    std::uint8_t protocol = 0;

    auto operator<=>(const FlowKey&) const = default;
};

struct Entry {
    FlowKey key;
    // When this kernel created the entry, CLOCK_REALTIME in ns; 0 unless
    // net.netfilter.nf_conntrack_timestamp=1 was set in the namespace.
    std::uint64_t start_ns = 0;
};

// `netns`: path of a namespace (/run/netns/NAME). The thread stays in that namespace.
Result<std::vector<Entry>> dump(const std::string& netns);

} // namespace encsync::bench
