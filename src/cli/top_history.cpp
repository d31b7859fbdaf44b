// SPDX-License-Identifier: ISC
#include "cli/top_history.hpp"

#include "cli/fields.hpp"
#include "cli/render.hpp"
#include "control/request.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <utility>

namespace encsync::cli {

namespace json = boost::json;

namespace {

constexpr std::size_t kCountedOn = 5; // that many back, what is counted goes on in its place

std::string word(const json::value& object, std::string_view name) {
    return clean(control::text(object, name));
}

// By how much a counter has grown; one that fell has begun anew.
std::uint64_t grown(const json::value* before, const json::value& now, std::string_view name) {
    const auto is = number(now, name).value_or(0);
    const auto was = before ? number(*before, name).value_or(0) : is;
    return is > was ? is - was : 0;
}

} // namespace

void TopHistory::add(std::string text, bool bad) {
    happened_.push_front({time_, std::move(text), bad});
    if (happened_.size() > kHappened)
        happened_.pop_back();
}

// A flood of one kind must not hide everything else.
void TopHistory::add_times(const std::string& text, std::uint64_t times) {
    const auto end =
        happened_.begin() + static_cast<std::ptrdiff_t>(std::min(kCountedOn, happened_.size()));
    const auto at = std::find_if(happened_.begin(), end,
                                 [&](const Happened& h) { return h.times != 0 && h.text == text; });
    if (at != end) {
        times += at->times;
        happened_.erase(at);
    }
    add(text, true);
    happened_.front().times = times;
}

void TopHistory::no_answer(const std::string& why, const std::string& time) {
    time_ = time;
    if (trouble_ != why)
        add(why, true);
    trouble_ = why;
}

void TopHistory::answer(json::value now, Clock::time_point when, const std::string& time) {
    time_ = time;
    if (!trouble_.empty())
        add("encsyncd answers again");
    trouble_.clear();
    const double seconds = std::chrono::duration<double>(when - last_).count();
    last_ = when;
    if (!status_.is_null() && seconds > 0) {
        if (number(now, "uptime").value_or(0) < number(status_, "uptime").value_or(0)) {
            add("encsyncd was started again");
            status_ = nullptr; // its counters have begun anew
            peers_.clear();
        } else {
            compare(now, seconds);
        }
    }
    status_ = std::move(now);
    std::erase_if(peers_, [&](const auto& each) { return !peer_of(status_, each.first); });
    for (const json::value& peer : array_of(status_, "peers")) {
        const auto* bulk = member(peer, "bulk");
        if (bulk == nullptr)
            continue;
        PeerHistory& of = peers_[word(peer, "name")];
        const auto progress = [&](std::optional<Bulk>& shown, std::optional<Began>& began,
                                  std::string_view running, std::string_view fields,
                                  std::string_view done) {
            const auto* states = member(*bulk, fields);
            if (!truth(*bulk, running).value_or(false) || states == nullptr) {
                shown.reset();
                began.reset();
                return;
            }
            const Bulk before = shown.value_or(Bulk{});
            shown = Bulk{number(*states, done).value_or(0), number(*states, "of")};
            if (!began || shown->states < before.states) // another one
                began = Began{shown->states, when};
            const double took = std::chrono::duration<double>(when - began->when).count();
            const auto since = static_cast<double>(shown->states - began->states);
            if (shown->of && *shown->of >= shown->states && took > 0 && since > 0)
                shown->seconds_left = static_cast<std::uint64_t>(
                    std::llround(static_cast<double>(*shown->of - shown->states) * took / since));
        };
        progress(of.sending, of.began_sending, "sending", "sending_states", "sent");
        progress(of.arriving, of.began_arriving, "arriving", "arriving_states", "received");
    }
}

void TopHistory::compare(const json::value& now, double seconds) {
    static const json::value none = json::object();
    const auto* table = member(now, "table");
    events_.push_back(
        static_cast<double>(grown(member(status_, "table"), table ? *table : none, "events")) /
        seconds);
    if (events_.size() > kRates)
        events_.pop_front();
    if (const auto role = word(now, "role"); role != word(status_, "role"))
        add(fmt::format("role {}, was {}", role, word(status_, "role")));
    const bool ready = truth(now, "ready").value_or(false);
    const bool was_ready = truth(status_, "ready").value_or(false);
    if (ready && !was_ready)
        add("ready to be promoted");
    else if (!ready && (was_ready || word(now, "why") != word(status_, "why")))
        add(fmt::format("not ready: {}", word(now, "why")), true);
    if (const auto odd = word(now, "role_warning");
        odd != word(status_, "role_warning") && !odd.empty())
        add(odd, true);
    const auto missing = number(now, "missing").value_or(0);
    if ((missing == 0) != (number(status_, "missing").value_or(0) == 0))
        add(missing == 0 ? "all copies are in the kernel"
                         : fmt::format("{} copies are not in the kernel", count(missing)),
            missing != 0);
    const auto* policy = member(now, "policy");
    const auto* policy_before = member(status_, "policy");
    if (policy != nullptr && policy_before != nullptr) {
        const bool installed = truth(*policy, "installed").value_or(true);
        if (installed != truth(*policy_before, "installed").value_or(true))
            add(installed ? "the policy is in place" : "the policy is NOT in place", !installed);
        compare_refusals("refused", member(*policy_before, "refused"), member(*policy, "refused"));
    }
    for (const json::value& complaint : array_of(now, "machine")) {
        const auto text = word(complaint, "text");
        const auto& before = array_of(status_, "machine");
        if (std::ranges::none_of(before, [&](const auto& c) { return word(c, "text") == text; }))
            add(text, true);
    }
    for (const json::value& peer : array_of(now, "peers")) {
        const auto name = word(peer, "name");
        compare_peer(name, peer_of(status_, name), peer, seconds);
    }
    for (const json::value& peer : array_of(status_, "peers"))
        if (const auto name = word(peer, "name"); peer_of(now, name) == nullptr)
            add(fmt::format("{}: no longer configured", name));
}

void TopHistory::compare_peer(const std::string& name, const json::value* before,
                              const json::value& now, double seconds) {
    const auto each = [&](std::string_view counter) {
        return static_cast<double>(grown(before, now, counter)) / seconds;
    };
    peers_[name].rate = {each("tx_messages"), each("rx_messages"), each("tx_bytes"),
                         each("rx_bytes"), each("refused")};
    if (before == nullptr)
        return add(fmt::format("{}: configured", name));
    const auto state = word(now, "state"), error = word(now, "last_error");
    if (state != word(*before, "state") || (error != word(*before, "last_error") && !error.empty()))
        add(error.empty() ? fmt::format("{}: {}", name, state)
                          : fmt::format("{}: {}: {}", name, state, error),
            state != "up");
    const bool in_step = truth(now, "in_step").value_or(false);
    if (in_step != truth(*before, "in_step").value_or(false))
        add(fmt::format("{}: {}", name, in_step ? "in step" : "not in step"), !in_step);
    if (const auto role = word(now, "role"); role != word(*before, "role") && role != "unknown")
        add(fmt::format("{}: role {}", name, role));
    if (const auto* bulk = member(now, "bulk"); bulk && member(*before, "bulk")) {
        if (grown(member(*before, "bulk"), *bulk, "sent") != 0)
            add(fmt::format("{}: all states sent", name));
        if (grown(member(*before, "bulk"), *bulk, "received") != 0)
            add(fmt::format("{}: all states received", name));
    }
    compare_refusals(name + ": refused", member(*before, "refusals"), member(now, "refusals"));
}

void TopHistory::compare_refusals(const std::string& what, const json::value* before,
                                  const json::value* now) {
    const auto* reasons = now ? now->if_object() : nullptr;
    if (reasons == nullptr || before == nullptr)
        return;
    for (const auto& [reason, times] : *reasons)
        if (const auto n = grown(before, *now, reason); n != 0)
            add_times(fmt::format("{} {}", what, clean(reason)), n);
}

TopHistory::Rate TopHistory::rate(const std::string& peer) const {
    const auto at = peers_.find(peer);
    return at == peers_.end() ? Rate{} : at->second.rate;
}

std::optional<TopHistory::Bulk> TopHistory::sending(const std::string& peer) const {
    const auto at = peers_.find(peer);
    return at == peers_.end() ? std::nullopt : at->second.sending;
}

std::optional<TopHistory::Bulk> TopHistory::arriving(const std::string& peer) const {
    const auto at = peers_.find(peer);
    return at == peers_.end() ? std::nullopt : at->second.arriving;
}

} // namespace encsync::cli
