// SPDX-License-Identifier: ISC
#include "daemon/table_view.hpp"

#include <utility>

namespace encsync::daemon {

namespace json = boost::json;

json::object describe(const std::array<std::uint64_t, table::ctnetlink::kFaults>& faults) {
    json::object out;
    for (std::size_t n = 1; n < faults.size(); n++) // 0 is none
        out[table::ctnetlink::to_string(static_cast<table::ctnetlink::Fault>(n))] = faults[n];
    return out;
}

json::object describe(const table::ConntrackCounters& c, const table::WriterCounters& w,
                      const table::ExpectationCounters& e) {
    json::object ignored;
    for (std::size_t n = 0; n < c.ignored.size(); n++)
        ignored[table::to_string(static_cast<table::Ignored>(n))] = c.ignored[n];
    return {{"own_echoes", c.own_echoes},
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
            {"expectations", json::object{{"events", e.events},
                                          {"overruns", e.overruns},
                                          {"made", e.made},
                                          {"removed", e.removed},
                                          {"no_master", e.no_master},
                                          {"no_helper", e.no_helper},
                                          {"no_room", e.no_room},
                                          {"refused", e.refused},
                                          {"faults", describe(e.faults)}}},
            {"faults", describe(c.faults)},
            {"answer_faults", describe(w.faults)},
            {"ignored", std::move(ignored)}};
}

} // namespace encsync::daemon
