// SPDX-License-Identifier: ISC
#include "policy/verdict.hpp"

#include "policy/sections.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <numeric>

namespace encsync::policy {

using pfsync::Fault;

Verdict::Verdict(Rules rules, std::uint32_t own_creatorid)
    : rules_(std::move(rules)), own_creatorid_(own_creatorid), packets_(rules_.max_packets),
      inserts_(rules_.max_inserts), requests_(rules_.max_requests), clears_(rules_.max_clears) {
    std::ranges::sort(rules_.creators);
}

// ---- a packet ------------------------------------------------------------------------------

Checked Verdict::packet(Bytes inner, const Selectors& selectors, pfsync::Expected dialect,
                        Time now) {
    return limited(check(inner, selectors, dialect), now);
}

Checked Verdict::payload(Bytes payload, pfsync::Expected dialect, Time now) {
    const Reason why = reason_of(pfsync::check(payload, dialect));
    return limited({why, why == Reason::accept ? payload : Bytes{}}, now);
}

Checked Verdict::limited(Checked checked, Time now) {
    if (checked.why == Reason::accept && !packets_.take(now))
        checked = {Reason::packet_rate, {}};
    if (checked.why == Reason::accept)
        counters_.accepted++;
    else
        refuse(checked.why);
    return checked;
}

std::uint64_t Verdict::refused_packets() const {
    const auto& all = counters_.refused;
    return std::accumulate(all.begin() + 1,
                           all.begin() + static_cast<std::ptrdiff_t>(index_of(kFirstMessageReason)),
                           std::uint64_t{0});
}

// ---- its messages --------------------------------------------------------------------------

bool Verdict::section(const pfsync::Section& section) {
    const std::size_t own = extension_size(section);
    const std::size_t least = own != 0 ? own : pfsync::message_size({section.kind, section.layout});
    return holds(least != 0, Reason::unknown_action) &&
           holds(section.stride >= least, Reason::short_message);
}

bool Verdict::sound(Fault fault) {
    return holds(fault == Fault::none, reason_of(fault));
}

bool Verdict::speaks_for(std::uint32_t creatorid) {
    return holds(rules_.creators.empty() || std::ranges::binary_search(rules_.creators, creatorid),
                 Reason::foreign_creatorid);
}

bool Verdict::read(pfsync::Dialect layout, Bytes message, pfsync::FullState& out) {
    return sound(pfsync::read(layout, message, out)) && speaks_for(out.flow.id.creatorid);
}

bool Verdict::read(pfsync::Dialect layout, Bytes message, pfsync::CompressedUpdate& out) {
    return sound(pfsync::read(layout, message, out)) && speaks_for(out.id.creatorid);
}

bool Verdict::read(Bytes message, pfsync::Clear& out, Time now) {
    return sound(pfsync::read(message, out)) &&
           holds(out.creatorid != own_creatorid_, Reason::own_creatorid) &&
           speaks_for(out.creatorid) && holds(clears_.take(now), Reason::clear_rate);
}

bool Verdict::read_removal(Bytes message, state::StateId& out) {
    out = pfsync::read_id(message);
    return speaks_for(out.creatorid);
}

bool Verdict::read_request(Bytes message, state::StateId& out, Time now) {
    out = pfsync::read_id(message);
    return holds(requests_.take(now), Reason::request_rate);
}

// ---- its states ----------------------------------------------------------------------------

std::optional<table::Ignored> Verdict::state(const state::Flow& flow,
                                             std::optional<table::Ignored> in_the_table) const {
    if (in_the_table)
        return in_the_table;
    if (rules_.refuse.matches(flow))
        return table::Ignored::refuse;
    if (!rules_.accept.empty() && !rules_.accept.matches(flow))
        return table::Ignored::not_accepted;
    return std::nullopt;
}

Reason Verdict::place(std::size_t held) const {
    if (rules_.max_states != 0 && held >= rules_.max_states)
        return Reason::peer_limit;
    return held >= share_ ? Reason::share : Reason::accept;
}

bool Verdict::insert(std::size_t held, Time now) {
    const Reason why = place(held);
    return holds(why == Reason::accept, why) && holds(inserts_.take(now), Reason::insert_rate);
}

// ---- in words ------------------------------------------------------------------------------

std::vector<std::string> in_words(const Rules& rules) {
    std::vector<std::string> out;
    if (!rules.creators.empty())
        out.push_back(fmt::format("speaks of states of {:08x} only (creators)",
                                  fmt::join(rules.creators, ", ")));
    const auto rate = [&](std::uint32_t most, const char* what, const char* option) {
        out.push_back(most == 0 ? fmt::format("any number of {} a second ({}=0)", what, option)
                                : fmt::format("at most {} {} a second ({})", most, what, option));
    };
    rate(rules.max_packets, "packets", "maxpackets");
    rate(rules.max_inserts, "new states", "maxinserts");
    rate(rules.max_requests, "requests for states", "maxrequests");
    rate(rules.max_clears, "CLR", "maxclears");
    if (rules.max_states != 0)
        out.push_back(fmt::format("at most {} states (maxstates)", rules.max_states));
    out.push_back(fmt::format("at most {}% of what the table may hold of all peers (maxshare), and "
                              "no more than an even part while another lacks room",
                              rules.max_share));
    if (!rules.accept.empty())
        out.push_back(fmt::format("only states that match one of {} rules (accept)",
                                  rules.accept.rules().size()));
    if (!rules.refuse.empty())
        out.push_back(fmt::format("no states that match one of {} rules (refuse)",
                                  rules.refuse.rules().size()));
    return out;
}

} // namespace encsync::policy
