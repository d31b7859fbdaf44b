// SPDX-License-Identifier: ISC
// What is counted here, by name, as Table::counters() has it. What never happened is there, too.
#pragma once

#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/table.hpp"

#include <array>
#include <string_view>

namespace encsync::table {

struct ConntrackCounters;
struct WriterCounters;
struct ExpectationCounters;

Counters name_counters(const ConntrackCounters& conntrack, const WriterCounters& writer,
                       const ExpectationCounters& expectations);
// Messages refused, as the group of that name.
void add_faults(Counters& to, std::string_view group,
                const std::array<std::uint64_t, ctnetlink::kFaults>& faults);

} // namespace encsync::table
