// SPDX-License-Identifier: ISC
#include "daemon/readiness.hpp"

#include "util/log.hpp"

#include <fmt/format.h>

namespace encsync::daemon {

bool Readiness::ready(std::string* why) const {
    if (!in_place_) {
        *why = "the nftables ruleset is not in place";
        return false;
    }
    if (machine_ != nullptr)
        for (const Complaint& c : machine_->complaints())
            if (c.breaks) {
                *why = c.text;
                return false;
            }
    if (relay_ == nullptr)
        return engine_.ready(why);
    const auto unready = relay_->unready();
    if (!unready)
        return true;
    switch (unready->why) {
    case relay::Relay::Unready::Why::cable_down:
        *why = fmt::format("{} is not reached over its cable", directory_.name(unready->peer));
        break;
    case relay::Relay::Unready::Why::loop:
        *why =
            fmt::format("a loop: a gateway is on the cable of {}", directory_.name(unready->peer));
        break;
    case relay::Relay::Unready::Why::misunderstood:
        *why = fmt::format("peer {}: its packets are not understood: {}",
                           directory_.name(unready->peer), relay_->misunderstood(unready->peer));
        break;
    case relay::Relay::Unready::Why::no_gateway:
        *why = "no gateway of another site is up";
        break;
    case relay::Relay::Unready::Why::filling:
        *why = fmt::format("the states of {} are still arriving", directory_.name(unready->peer));
        break;
    }
    return false;
}

void Readiness::uphold_policy() {
    const auto in_place = ruleset_.verify();
    if (in_place && !*in_place) {
        in_place_ = false;
        log::warning("the nftables ruleset is gone or changed; putting it back");
        if (auto again = ruleset_.reinstall(); again)
            in_place_ = true;
        else
            log::error("the nftables ruleset cannot be put back: {}", again.error().text);
        return;
    }
    in_place_ = static_cast<bool>(in_place);
    if (!in_place)
        log::error("the nftables ruleset cannot be verified: {}", in_place.error().text);
}

policy::RulesetStatus Readiness::policy_status() {
    auto status = ruleset_.status();
    in_place_ = in_place_ && status && status->installed;
    return status ? std::move(*status) : policy::RulesetStatus{};
}

void Readiness::log_changes() {
    std::string why;
    const bool now = ready(&why);
    if (now && !was_ready_)
        log::notice("ready to be promoted");
    else if (!now && was_ready_)
        log::warning("no longer ready to be promoted: {}", why);
    was_ready_ = now;
}

void Readiness::log_missing_edges() {
    std::set<std::string> missing;
    for (const auto& edge : engine_.missing_edges())
        missing.insert(engine_.describe(edge));
    for (const std::string& edge : missing)
        if (!missing_edges_.contains(edge))
            log::warning("{}", edge);
    missing_edges_ = std::move(missing);
}

} // namespace encsync::daemon
