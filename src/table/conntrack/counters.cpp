// SPDX-License-Identifier: ISC
#include "table/conntrack/counters.hpp"

#include "table/conntrack/conntrack.hpp"

#include <fmt/core.h>

namespace encsync::table {

void add_faults(Counters& to, std::string_view group,
                const std::array<std::uint64_t, ctnetlink::kFaults>& faults) {
    for (std::size_t n = 1; n < faults.size(); n++) // 0 is none
        to.emplace_back(fmt::format("{}.{}", group, to_string(static_cast<ctnetlink::Fault>(n))),
                        faults[n]);
}

Counters name_counters(const ConntrackCounters& c, const WriterCounters& w,
                       const ExpectationCounters& e) {
    Counters out{{"own_echoes", c.own_echoes},
                 {"overruns", c.overruns},
                 {"removed_by_others", c.removed_by_others},
                 {"dumps", c.dumps},
                 {"dump_failures", c.dump_failures},
                 {"created", w.created},
                 {"updated", w.updated},
                 {"replaced", w.replaced},
                 {"deleted", w.deleted},
                 {"lost_answers", w.lost_answers},
                 {"without_helper", w.without_helper},
                 {"without_labels", w.without_labels},
                 {"expectations.events", e.events},
                 {"expectations.overruns", e.overruns},
                 {"expectations.made", e.made},
                 {"expectations.removed", e.removed},
                 {"expectations.no_master", e.no_master},
                 {"expectations.no_helper", e.no_helper},
                 {"expectations.no_room", e.no_room},
                 {"expectations.refused", e.refused},
                 {"expectations.not_taken", c.expectations_ignored}};
    add_faults(out, "expectations.faults", e.faults);
    add_faults(out, "faults", c.faults);
    add_faults(out, "answer_faults", w.faults);
    for (std::size_t n = 0; n < c.ignored.size(); n++)
        out.emplace_back(fmt::format("ignored.{}", to_string(static_cast<Ignored>(n))),
                         c.ignored[n]);
    return out;
}

} // namespace encsync::table
