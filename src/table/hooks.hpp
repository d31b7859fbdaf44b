// SPDX-License-Identifier: ISC
// Whether connection tracking is at work in this network namespace. The kernel hooks it into a
// namespace only when something there asks for it: a rule that looks at `ct`, or NAT.
#pragma once

#include <optional>

namespace encsync::table {

// For IPv4 or IPv6. None: the kernel cannot say (nfnetlink_hook is in Linux since 5.14, a module).
std::optional<bool> tracks_connections();

} // namespace encsync::table
