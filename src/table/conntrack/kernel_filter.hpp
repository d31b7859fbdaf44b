// SPDX-License-Identifier: ISC
// What of nosync the kernel does for us. Whatever it lets pass is held against all rules again
// by filter.hpp, so a rule that it cannot take is obeyed no less.
//
//     socket.attach(build_event_filter(requests.port(), nosync.rules()));
//     build_dump(buffer, seq, wanted_marks(nosync.rules()));
//
// Events: a socket filter (net/bpf.hpp) runs before they are queued. It drops the echoes
// of our own requests (by the netlink port id in them); every event of a flow that fits a rule
// without a mark, because it does so all its life; and the event of a new flow that fits a rule
// with a mark. A later event of such a flow passes: its mark may be what has just changed. What is
// dropped there is counted nowhere. Attributes are searched by their type (the kernel's own
// SKF_AD_NLATTR), none is expected at a certain place. A message in which one is missing passes, to
// be refused by its reader by name.
//
// Dumps: the kernel leaves out what does not have a certain mark under a certain mask. Rules of
// one bit each ("mark 0x10/0x10") can be turned round into that; others cannot.
#pragma once

#include "state/nosync.hpp"

#include <cstdint>
#include <linux/filter.h>
#include <optional>
#include <span>
#include <vector>

namespace encsync::table {

// The kernel takes a filter only if what it becomes fits net.core.optmem_max, 20480 bytes for
// long: about this many instructions.
inline constexpr std::size_t kMaxFilterSize = 400;

// own_port 0: echoes pass. Rules are taken from the front, as many as there is room for.
std::vector<sock_filter> build_event_filter(std::uint32_t own_port,
                                            std::span<const state::NoSyncRule> rules);

// What the mark of a flow must be to be worth dumping; nothing: any.
std::optional<state::MarkMatch> wanted_marks(std::span<const state::NoSyncRule> rules);

} // namespace encsync::table
