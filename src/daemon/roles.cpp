// SPDX-License-Identifier: ISC
#include "daemon/roles.hpp"

#include "control/request.hpp"
#include "control/role_order.hpp"
#include "daemon/translate.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace encsync::daemon {

namespace json = boost::json;
using control::RoleOrder;
using sync::Role;

namespace {

// keepalived changes the roles of two nodes one after the other; HELLO carries the peer's role.
constexpr int kOddSeconds = 4;

} // namespace

Roles::Roles(const config::Setup& setup, const Directory& directory, const RunDir& run_dir,
             sync::Engine& engine, relay::Relay* relay, Turns& turns,
             std::optional<RequestedRole> requested)
    : setup_(setup), directory_(directory), run_dir_(run_dir), engine_(engine), relay_(relay),
      turns_(turns), requested_(requested) {}

Result<json::value> Roles::set(const json::object& fields) {
    const auto word = control::text(fields, "role");
    if (word.empty())
        return json::value{{"role", sync::to_string(engine_.role())}};
    RoleOrder order = RoleOrder::now();
    if (const auto text = control::text(fields, "order"); !text.empty()) {
        auto given = RoleOrder::parse(text);
        if (!given)
            return Error{fmt::format("role: {}", given.error().text)};
        if (given->ticks <= order.ticks) // a start time in the future is invalid
            order = *given;
    }
    if (requested_ && order.before(requested_->order)) {
        log::notice("role: '{}' of pid {} is refused: '{}' of pid {} has overtaken it", word,
                    order.pid, sync::to_string(requested_->role), requested_->order.pid);
        remember(); // a caller that found no daemon may have stored the former role there
        return json::value{{"role", sync::to_string(engine_.role())},
                           {"overtaken", true},
                           {"by", requested_->order.text()}};
    }
    for (const Role role : {Role::automatic, Role::active, Role::standby}) {
        if (word != sync::to_string(role))
            continue;
        const bool again = requested_ && requested_->role == role && requested_->order == order;
        requested_ = {role, order};
        if (!again || !stored_)
            remember();
        if (again)
            break;
        const auto reason = control::text(fields, "reason");
        log::notice("role: {} ({})", word,
                    reason.empty() ? fmt::format("encsync role, pid {}", order.pid) : reason);
        turns_.begin();
        apply(role);
    }
    json::object out{{"role", sync::to_string(engine_.role())}, {"stored", stored_}};
    if (!stored_)
        out["why"] = not_stored_;
    return json::value(std::move(out));
}

void Roles::apply(Role role) {
    engine_.set_role(role);
    if (relay_ != nullptr)
        relay_->set_active(role != Role::standby);
}

void Roles::store() {
    if (!stored_)
        remember();
}

void Roles::remember() {
    auto kept = run_dir_.remember_role(*requested_);
    if (kept && !stored_)
        log::notice("the role is stored");
    else if (!kept && stored_)
        log::warning("the role is not stored, and lost if encsyncd is started again: {}",
                     kept.error().text);
    stored_ = static_cast<bool>(kept);
    not_stored_ = kept ? "" : kept.error().text;
}

std::string Roles::take_configured() {
    const Role role = role_of(setup_.role);
    if (requested_) {
        auto kept = fmt::format(
            "role={} is not applied: the role was set to {} by command; encsync role "
            "{} changes it",
            sync::to_string(role), sync::to_string(requested_->role), sync::to_string(role));
        log::warning("reload: {}", kept);
        return kept;
    }
    log::notice("role: {} (configuration)", sync::to_string(role));
    apply(role);
    return fmt::format("role={} is in force", sync::to_string(role));
}

std::optional<Role> Roles::of_peer(PeerId peer) const {
    const sync::Peer& s = engine_.session(peer);
    if (!s.reachable() || !s.extended)
        return std::nullopt;
    return s.role;
}

std::string Roles::odd() const {
    std::vector<std::string_view> active, without_role;
    const auto look = [&](std::string_view name, Role role) {
        if (role == Role::active)
            active.push_back(name);
        else if (role == Role::automatic)
            without_role.push_back(name);
    };
    look(setup_.node, engine_.role());
    for (const PeerId peer : directory_.all())
        if (const auto role = of_peer(peer))
            look(directory_.name(peer), *role);
    if (active.size() > 1)
        return fmt::format("{} nodes are active: {}; flows change hands by role only while one is",
                           active.size(), fmt::join(active, ", "));
    if (active.size() == 1 && !without_role.empty())
        return fmt::format(
            "{0} is active, but {1} has not been given a role: while it runs, its flows "
            "do not become {0}'s by role",
            active.front(), fmt::join(without_role, ", "));
    return {};
}

void Roles::log_odd() {
    std::string now = odd();
    if (now != odd_) {
        if (now.empty() && odd_for_ >= kOddSeconds)
            log::notice("the roles fit together again");
        odd_ = std::move(now);
        odd_for_ = 0;
    }
    if (!odd_.empty() && ++odd_for_ == kOddSeconds)
        log::warning("{}", odd_);
}

} // namespace encsync::daemon
