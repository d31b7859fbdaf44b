// SPDX-License-Identifier: ISC
// What would become of captured packets, message by message: a peer's Verdict, asked as the engine
// asks it, without a session and without a table of states.
//
//     Trial trial(verdict, filter, extended);
//     const auto checked = verdict.packet(inner, selectors, dialect, time);
//     for (const Judged& each : trial.messages(checked.payload, dialect, time))
//         if (each.why != Reason::accept) ...
//
// So what depends on these is accepted: whether a request is for a state that is here, who owns a
// state, and whether the packet is of the present session. Each state that the packets have not
// named before counts as a new one.
#pragma once

#include "policy/verdict.hpp"
#include "table/filter.hpp"

#include <set>
#include <string>
#include <vector>

namespace encsync::policy {

struct Judged {
    std::uint8_t action = 0;
    std::string what; // the flow, id or creatorid that it is about; empty: none
    Reason why = Reason::accept;
};

class Trial {
  public:
    // extended: the peer may be an encsync node. Both outlive it.
    Trial(Verdict& verdict, const table::Filter& filter, bool extended)
        : verdict_(verdict), filter_(filter), extended_(extended) {}

    // Of a packet that was accepted, from its pfsync header on.
    std::vector<Judged> messages(Bytes payload, pfsync::Expected dialect, Time now);

  private:
    void message(const pfsync::Section& section, Bytes message, Time now, Judged& out);
    void state(const state::Flow& flow, Time now);

    Verdict& verdict_;
    const table::Filter& filter_;
    const bool extended_;
    std::set<state::StateId> known_;
};

} // namespace encsync::policy
