// SPDX-License-Identifier: ISC
#include "policy/trial.hpp"

#include "policy/sections.hpp"

#include <fmt/format.h>

namespace encsync::policy {

using pfsync::Kind;

namespace {

std::string name(state::StateId id) {
    return fmt::format("{:016x}/{:08x}", id.id, id.creatorid);
}

} // namespace

std::vector<Judged> Trial::messages(Bytes payload, pfsync::Expected dialect, Time now) {
    std::vector<Judged> out;
    pfsync::Parser parser(payload, dialect);
    while (const pfsync::Section* section = parser.next()) {
        if (has_no_messages(*section))
            continue;
        verdict_.begin();
        if (!verdict_.section(*section)) {
            out.push_back({section->action, {}, verdict_.last()});
            continue;
        }
        for (std::uint16_t n = 0; n < section->count; n++) {
            out.push_back({section->action, {}, {}});
            verdict_.begin();
            if (extension_size(*section) == 0)
                message(*section, section->message(n), now, out.back());
            else if (!extended_ && !is_number(*section))
                verdict_.refuse(Reason::unknown_action);
            out.back().why = verdict_.last();
        }
    }
    if (parser.fault() != pfsync::Fault::none) {
        verdict_.refuse(parser.fault());
        out.push_back({0, {}, verdict_.last()});
    }
    return out;
}

void Trial::message(const pfsync::Section& section, Bytes m, Time now, Judged& out) {
    state::StateId id;
    switch (section.kind) {
    case Kind::insert:
    case Kind::update:
    case Kind::remove: {
        pfsync::FullState full;
        if (!extended_)
            m = m.first(state_size(section.layout)); // what a pf peer appends is not our tail
        const bool accepted = verdict_.read(section.layout, m, full);
        if (accepted || verdict_.last() == Reason::foreign_creatorid)
            out.what = state::to_string(full.flow);
        if (accepted && section.kind == Kind::remove)
            known_.erase(full.flow.id);
        else if (accepted)
            state(full.flow, now);
        return;
    }
    case Kind::update_c: {
        pfsync::CompressedUpdate update;
        verdict_.read(section.layout, m, update);
        out.what = name(update.id);
        return;
    }
    case Kind::clear: {
        pfsync::Clear clear;
        verdict_.read(m, clear, now);
        out.what = fmt::format("{:08x}", clear.creatorid);
        return;
    }
    case Kind::request:
        verdict_.read_request(m, id, now);
        out.what = id == state::StateId{} ? "all states" : name(id);
        return;
    case Kind::remove_c:
        if (verdict_.read_removal(m, id))
            known_.erase(id);
        out.what = name(id);
        return;
    case Kind::bulk: {
        pfsync::BulkStatus status;
        verdict_.sound(pfsync::read(m, status));
        out.what = status.end ? "end" : "start";
        return;
    }
    default:
        return;
    }
}

// In the engine, too, a state that is not put into the table has a place in the index.
void Trial::state(const state::Flow& flow, Time now) {
    if (!known_.contains(flow.id)) {
        if (!verdict_.insert(known_.size(), now))
            return;
        known_.insert(flow.id);
    }
    if (const auto why = verdict_.state(flow, filter_.refused(flow)))
        verdict_.refuse(reason_of(*why));
}

} // namespace encsync::policy
