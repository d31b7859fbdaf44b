// SPDX-License-Identifier: ISC
// The role of this node, whoever tells it, and what is odd about the roles of all.
#include "control/role_order.hpp"
#include "daemon/node.hpp"
#include "daemon/translate.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace encsync::daemon {

namespace json = boost::json;
using control::RoleOrder;
using sync::Role;

namespace {

// keepalived on the two nodes changes them one after the other, and a peer says so with its hello.
constexpr int kOddSeconds = 4;

} // namespace

Role Node::first_role() {
    told_role_ = run_dir_.role();
    return told_role_ ? told_role_->role : role_of(config_.setup.role);
}

Result<json::value> Node::set_role(const json::object& fields) {
    const auto word = control::text(fields, "role");
    if (word.empty())
        return json::value{{"role", sync::to_string(engine_->role())}};
    RoleOrder order = RoleOrder::now();
    if (const auto text = control::text(fields, "order"); !text.empty()) {
        auto given = RoleOrder::parse(text);
        if (!given)
            return Error{fmt::format("role: {}", given.error().text)};
        if (given->ticks <= order.ticks) // nobody speaks from the future
            order = *given;
    }
    if (told_role_ && order.before(told_role_->order)) {
        log::notice("role: '{}' of pid {} is refused: '{}' of pid {} has overtaken it", word,
                    order.pid, sync::to_string(told_role_->role), told_role_->order.pid);
        remember_role(); // who found no daemon may have left the former one there
        return json::value{{"role", sync::to_string(engine_->role())},
                           {"overtaken", true},
                           {"by", told_role_->order.text()}};
    }
    for (const Role role : {Role::automatic, Role::active, Role::standby}) {
        if (word != sync::to_string(role))
            continue;
        const bool again = told_role_ && told_role_->role == role && told_role_->order == order;
        told_role_ = {role, order};
        if (!again || !role_stored_)
            remember_role();
        if (again)
            break;
        const auto reason = control::text(fields, "reason");
        log::notice("role: {} ({})", word,
                    reason.empty() ? fmt::format("encsync role, pid {}", order.pid) : reason);
        turn();
        engine_->set_role(role);
    }
    json::object out{{"role", sync::to_string(engine_->role())}, {"stored", role_stored_}};
    if (!role_stored_)
        out["why"] = role_not_stored_;
    return json::value(std::move(out));
}

// Once a second until it succeeds.
void Node::remember_role() {
    auto kept = run_dir_.remember_role(*told_role_);
    if (kept && !role_stored_)
        log::notice("the role is stored");
    else if (!kept && role_stored_)
        log::warning("the role is not stored, and lost if encsyncd is started again: {}",
                     kept.error().text);
    role_stored_ = static_cast<bool>(kept);
    role_not_stored_ = kept ? "" : kept.error().text;
}

// A role that was told stays; else the configuration's is in force, as after a restart.
std::optional<std::string> Node::take_configured_role(config::Role before) {
    if (config_.setup.role == before)
        return std::nullopt;
    const Role role = role_of(config_.setup.role);
    if (told_role_) {
        auto kept = fmt::format("role={} is not taken up: the role was told to be {}; encsync role "
                                "{} changes it",
                                sync::to_string(role), sync::to_string(told_role_->role),
                                sync::to_string(role));
        log::warning("reload: {}", kept);
        return kept;
    }
    log::notice("role: {} (configuration)", sync::to_string(role));
    engine_->set_role(role);
    return fmt::format("role={} is in force", sync::to_string(role));
}

// Whose role is known: one that is here, speaks our own messages and says it.
std::optional<Role> Node::role_of_peer(PeerId peer) const {
    const sync::Peer& s = engine_->session(peer);
    if (!used(peer) || !s.reachable() || !s.extended)
        return std::nullopt;
    return s.role;
}

// Empty: nothing.
std::string Node::odd_roles() const {
    std::vector<std::string_view> active, untold;
    const auto look = [&](std::string_view name, Role role) {
        if (role == Role::active)
            active.push_back(name);
        else if (role == Role::automatic)
            untold.push_back(name);
    };
    look(config_.setup.node, engine_->role());
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        if (const auto role = role_of_peer(peer))
            look(config_.conns[peer].name, *role);
    if (active.size() > 1)
        return fmt::format("{} nodes are active: {}; flows change hands by role only while one is",
                           active.size(), fmt::join(active, ", "));
    if (active.size() == 1 && !untold.empty())
        return fmt::format("{0} is active, but no role was told to {1}: while that runs, its flows "
                           "do not become {0}'s by role",
                           active.front(), fmt::join(untold, ", "));
    return {};
}

void Node::log_roles() {
    std::string odd = odd_roles();
    if (odd != odd_roles_) {
        if (odd.empty() && odd_for_ >= kOddSeconds)
            log::notice("the roles fit together again");
        odd_roles_ = std::move(odd);
        odd_for_ = 0;
    }
    if (!odd_roles_.empty() && ++odd_for_ == kOddSeconds)
        log::warning("{}", odd_roles_);
}

} // namespace encsync::daemon
