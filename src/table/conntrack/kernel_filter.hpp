// SPDX-License-Identifier: ISC
// The part of nosync that the kernel can filter. filter.hpp checks everything that passes against
// all rules again, so rules that do not fit here still apply.
//     socket.attach(build_event_filter(requests.port(), nosync.rules()));
//     build_dump(buffer, seq, expected_marks(nosync.rules()));
//     build_dump(buffer, seq, expected_marks(nosync.rules()));
//
// Events: a socket filter (net/bpf.hpp) runs before they are queued. It drops the echoes of our own
// requests (by the netlink port id in them); every event of a flow that matches a rule without a
// mark, because that never changes; and the event of a new flow that matches a rule with a mark. A
// later event of such a flow passes, because its mark may have just changed. Events dropped there
// are not counted. Attributes are searched by their type (the kernel's own SKF_AD_NLATTR), not
// expected at a certain offset. A message without one passes, and the parser refuses it with a
// reason.
//
// Dumps: the kernel can select entries by mark and mask. Rules of one bit each ("mark 0x10/0x10")
// can be inverted into that; others cannot.
#pragma once

#include "state/nosync.hpp"

#include <cstdint>
#include <linux/filter.h>
#include <optional>
#include <span>
#include <vector>

namespace encsync::table {

// The kernel accepts a filter only if its translation fits net.core.optmem_max, which was 20480
// bytes for a long time: about this many instructions.
inline constexpr std::size_t kMaxFilterSize = 400;

// own_port 0: echoes pass. Includes as many rules as fit, in order.
std::vector<sock_filter> build_event_filter(std::uint32_t own_port,
                                            std::span<const state::NoSyncRule> rules);

// The marks of the flows that are worth dumping; nothing: any.
std::optional<state::MarkMatch> expected_marks(std::span<const state::NoSyncRule> rules);

} // namespace encsync::table
