// SPDX-License-Identifier: ISC
// pfsync's rule for stale updates, case by case: pfsync_upd_tcp() of OpenBSD and FreeBSD.
#include "sync/merge.hpp"
#include "sync/pf_states.hpp"

#include <gtest/gtest.h>

namespace encsync::sync {
namespace {

using pfsync::Dialect;

struct Row {
    Side ours, theirs;
    bool src, dst_equal_states, dst_since_syn_sent;
};

// Sequence numbers: lower, higher, and across 2^32.
constexpr std::uint32_t kLow = 1000, kHigh = 2000, kEnd = 0xfffffff0, kBegin = 0x10;

const Row kRows[] = {
    // If the state is lower, it decides alone, whatever the numbers are ...
    {{4, {}}, {2, {}}, true, true, true},
    {{2, {}}, {4, {}}, false, false, false},
    {{4, {}}, {4, {}}, false, false, false},
    {{4, kLow}, {2, kHigh}, true, true, true},
    {{7, kLow}, {4, kLow}, true, true, true},
    // ... and if it is higher, the numbers count in FreeBSD's dst only,
    {{2, kHigh}, {4, kLow}, false, false, true},
    {{4, kHigh}, {9, kLow}, false, false, true},
    {{2, kLow}, {4, kHigh}, false, false, false},
    // and there not before SYN_SENT.
    {{0, kHigh}, {4, kLow}, false, false, false},
    {{1, kHigh}, {4, kLow}, false, false, false},
    // In the same state the numbers decide.
    {{4, kHigh}, {4, kLow}, true, true, true},
    {{4, kLow}, {4, kLow}, false, false, false},
    {{4, kLow}, {4, kHigh}, false, false, false},
    {{0, kHigh}, {0, kLow}, true, true, false}, // FreeBSD: nothing was sent yet
    {{4, kHigh}, {4, {}}, false, false, false}, // unknown numbers
    {{4, {}}, {4, kLow}, false, false, false},
    // Modulo 2^32.
    {{4, kBegin}, {4, kEnd}, true, true, true},
    {{4, kEnd}, {4, kBegin}, false, false, false},
    {{4, 0x80000000}, {4, 1}, true, true, true},
    {{4, 0}, {4, 0x7fffffff}, false, false, false},
    {{4, 0x7fffffff}, {4, 0}, true, true, true},
    {{2, kBegin}, {4, kEnd}, false, false, true},
    {{2, kEnd}, {4, kBegin}, false, false, false},
    // synproxy's handshake ends with the first state of the real one, in src.
    {{11, kHigh}, {2, kLow}, false, true, true},
    {{12, {}}, {4, {}}, false, true, true},
    {{12, {}}, {11, {}}, true, true, true},
    {{10, {}}, {4, {}}, true, true, true},
};

TEST(StaleRule, EachCell) {
    for (const Row& row : kRows) {
        const std::string name = std::to_string(row.ours.state) + "@" +
                                 std::to_string(row.ours.seqlo.value_or(0)) + " against " +
                                 std::to_string(row.theirs.state) + "@" +
                                 std::to_string(row.theirs.seqlo.value_or(0));
        EXPECT_EQ(src_stale(row.ours, row.theirs), row.src) << name;
        for (const Dialect d : pfsync::kAllDialects) {
            const bool equal = traits(d).dst_stale == pfsync::DstStale::equal_states;
            EXPECT_EQ(dst_stale(d, row.ours, row.theirs),
                      equal ? row.dst_equal_states : row.dst_since_syn_sent)
                << name;
        }
    }
}

Windows windows(std::uint32_t src, std::uint32_t dst) {
    Windows out;
    store_be(&out.src[pfsync::common::peer::seqlo], src);
    store_be(&out.dst[pfsync::common::peer::seqlo], dst);
    return out;
}

TEST(PfStates, KeepsTheSidesThatAreNotStale) {
    PfStates states;
    EXPECT_EQ(states.windows(3), nullptr);
    EXPECT_TRUE(states.keep(3, windows(10, 20), false, false)); // the first is better than none
    EXPECT_FALSE(states.keep(3, windows(10, 20), true, true));  // no effect
    EXPECT_TRUE(states.keep(3, windows(11, 21), true, false));
    EXPECT_EQ(Windows::seqlo(states.windows(3)->src), 11u);
    EXPECT_EQ(Windows::seqlo(states.windows(3)->dst), 20u);
    EXPECT_FALSE(states.keep(3, windows(99, 99), false, false));
    states.erase(3);
    EXPECT_EQ(states.windows(3), nullptr);
    EXPECT_EQ(states.most(), 0u);
}

TEST(PfStates, AFreebsdHearsNoOlderDstThanItsOwn) {
    PfStates states;
    states.keep(3, windows(10, 20), true, true);
    const auto dst = [&] {
        return Windows::seqlo(states.with_latest_dst(3, *states.windows(3)).dst);
    };
    states.received_dst(3, windows(0, 19).dst); // lower than ours: nothing
    EXPECT_EQ(dst(), 20u);
    states.received_dst(3, windows(0, 30).dst);
    states.received_dst(3, windows(0, 25).dst);
    EXPECT_EQ(dst(), 30u);
    EXPECT_EQ(Windows::seqlo(states.windows(3)->dst), 20u); // an OpenBSD is sent ours
    states.keep(3, windows(10, 40), true, true);
    EXPECT_EQ(dst(), 40u);
    // OpenBSD's rule allows a lower dst if its state is higher.
    states.keep(3, windows(10, 35), true, true);
    EXPECT_EQ(Windows::seqlo(states.windows(3)->dst), 35u);
    EXPECT_EQ(dst(), 40u);
}

TEST(PfStates, NamesOfInterfacesAreFew) {
    PfStates states;
    states.bind(1, "all");
    EXPECT_EQ(states.interface(1), "");
    for (int n = 0; n < 1000; n++)
        states.bind(static_cast<state::Slot>(n), "em" + std::to_string(n));
    EXPECT_EQ(states.interface(7), "em7");
    EXPECT_EQ(states.interface(999), ""); // as for a state without an interface
    states.bind(7, "all");
    EXPECT_EQ(states.interface(7), "");
}

} // namespace
} // namespace encsync::sync
