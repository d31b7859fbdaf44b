// SPDX-License-Identifier: ISC
#include "daemon/readiness.hpp"

#include "util/log.hpp"

#include <fmt/format.h>

namespace encsync::daemon {

namespace {

using Why = relay::Relay::Unready::Why;

constexpr std::string_view kRuleset = "ruleset_missing", kMachine = "machine";
constexpr Why kOfRelay[] = {Why::cable_down, Why::loop, Why::misunderstood, Why::no_gateway,
                            Why::filling};

std::string_view to_string(Why why) {
    switch (why) {
    case Why::cable_down:
        return "cable_down";
    case Why::loop:
        return "loop";
    case Why::misunderstood:
        return "not_understood";
    case Why::no_gateway:
        return "no_gateway";
    case Why::filling:
        break;
    }
    return "filling";
}

} // namespace

std::vector<std::string_view> Readiness::reasons(bool relay) {
    std::vector<std::string_view> out{kRuleset, kMachine};
    if (relay)
        for (const Why why : kOfRelay)
            out.push_back(to_string(why));
    else
        for (int n = 1; n < sync::kUnready; n++)
            out.emplace_back(sync::to_string(static_cast<sync::Unready>(n)));
    return out;
}

std::string_view Readiness::unready(std::string* why) const {
    if (!in_place_) {
        *why = "the nftables ruleset is not in place";
        return kRuleset;
    }
    if (machine_ != nullptr)
        for (const Complaint& c : machine_->complaints())
            if (c.breaks) {
                *why = c.text;
                return kMachine;
            }
    if (relay_ == nullptr) {
        const sync::Unready reason = engine_.unready(why);
        return reason == sync::Unready::no ? std::string_view() : sync::to_string(reason);
    }
    const auto unready = relay_->unready();
    if (!unready)
        return {};
    switch (unready->why) {
    case Why::cable_down:
        *why = fmt::format("{} is not reached over its cable", directory_.name(unready->peer));
        break;
    case Why::loop:
        *why =
            fmt::format("a loop: a gateway is on the cable of {}", directory_.name(unready->peer));
        break;
    case Why::misunderstood:
        *why = fmt::format("peer {}: its packets are not understood: {}",
                           directory_.name(unready->peer), relay_->misunderstood(unready->peer));
        break;
    case Why::no_gateway:
        *why = "no gateway of another site is up";
        break;
    case Why::filling:
        *why = fmt::format("the states of {} are still arriving", directory_.name(unready->peer));
        break;
    }
    return to_string(unready->why);
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
