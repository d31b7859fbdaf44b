// SPDX-License-Identifier: ISC
// What the kernel's table counts, as `encsync status --json` shows it under "table".
#pragma once

#include "table/conntrack.hpp"

#include <boost/json/object.hpp>

namespace encsync::daemon {

boost::json::object describe(const table::ConntrackCounters& conntrack,
                             const table::WriterCounters& writer,
                             const table::ExpectationCounters& expectations);
// By name; those that never happened are there, too.
boost::json::object describe(const std::array<std::uint64_t, table::ctnetlink::kFaults>& faults);

} // namespace encsync::daemon
