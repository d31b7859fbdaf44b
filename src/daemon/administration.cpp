// SPDX-License-Identifier: ISC
#include "daemon/administration.hpp"

#include "control/request.hpp"

#include <fmt/format.h>

namespace encsync::daemon {

namespace json = boost::json;
using json::object;
using Answer = Result<json::value>;

void Administration::offer(control::Server& server) {
    server.handle("status", [this](const object&) -> Answer { return views_.status(); });
    server.handle("peers", [this](const object&) -> Answer { return json::value(views_.peers()); });
    server.handle("sas", [this](const object&) -> Answer { return json::value(views_.sas()); });
    server.handle("policy",
                  [this](const object&) -> Answer { return json::value(views_.policy()); });
    server.handle_stream("states", [this](const object& fields) {
        return views_.states(control::text(fields, "filter"));
    });
    server.handle_stream("talkers", [this](const object& fields) {
        return Result(views_.talkers(control::text(fields, "by")));
    });
    server.handle("metrics", [this](const object& fields) -> Answer {
        const bool old = control::text(fields, "format") == "prometheus";
        return json::value(
            metrics_.text(old ? metrics::Format::prometheus : metrics::Format::openmetrics));
    });
    server.handle("policy-verify", [this](const object&) { return verify_policy(); });
    server.handle("role", [this](const object& fields) { return parts_.roles.set(fields); });
    server.handle("bulk", [this](const object& fields) { return bulk(fields); });
    server.handle("flush", [this](const object& fields) { return flush(fields); });
    server.handle("rekey", [this](const object& fields) { return rekey(fields); });
    server.handle("rotate-ppk", [this](const object& fields) { return rotate_ppk(fields); });
    server.handle("reload-keys", [this](const object&) { return reload_keys(); });
    server.handle("reload", [this](const object&) { return reload(); });
}

// All peers if none is named.
Result<std::vector<PeerId>> Administration::named(const object& fields) const {
    const auto name = control::text(fields, "peer");
    if (name.empty())
        return parts_.directory.all();
    if (const auto peer = parts_.directory.find(name))
        return std::vector{*peer};
    return Error{fmt::format("there is no conn '{}'", name)};
}

Answer Administration::verify_policy() {
    auto in_place = parts_.ruleset.verify();
    if (!in_place)
        return in_place.error();
    if (!*in_place)
        return json::value{{"verified", false},
                           {"why", "the nftables ruleset is gone or was changed"}};
    return json::value{{"verified", true}};
}

Answer Administration::bulk(const object& fields) {
    auto peers = named(fields);
    if (!peers)
        return peers.error();
    const bool by_name = !control::text(fields, "peer").empty();
    parts_.turns.begin();
    json::array asked;
    for (const PeerId peer : *peers) {
        const std::string& name = parts_.directory.name(peer);
        if (by_name && !parts_.engine.session(peer).reachable())
            return Error{fmt::format("peer {} is not up", name)};
        parts_.engine.request_bulk(peer);
        asked.emplace_back(name);
    }
    return json::value{{"peers", asked}};
}

Answer Administration::flush(const object& fields) {
    const auto name = control::text(fields, "peer");
    const auto peer = parts_.directory.find(name);
    if (!peer)
        return Error{name.empty() ? std::string("which peer's states?")
                                  : fmt::format("there is no conn '{}'", name)};
    parts_.turns.begin();
    const std::size_t removed = parts_.engine.remove_states_of(*peer);
    log::notice("{} states that {} had brought are removed, as the administrator wanted", removed,
                name);
    return json::value{{"peer", name}, {"removed", removed}};
}

Answer Administration::rekey(const object& fields) {
    auto peers = named(fields);
    if (!peers)
        return peers.error();
    json::array asked;
    for (const PeerId peer : *peers)
        if (parts_.engine.session(peer).link_up) {
            parts_.charon.rekey(peer, false);
            asked.emplace_back(parts_.directory.name(peer));
        }
    // A peer that is down gets new keys anyway: it is being negotiated with all the time.
    if (asked.empty()) {
        const auto name = control::text(fields, "peer");
        return name.empty() ? Error{"no peer is up"}
                            : Error{fmt::format("peer {} is not up", name)};
    }
    return json::value{{"peers", asked}};
}

Answer Administration::rotate_ppk(const object& fields) {
    auto peers = named(fields);
    if (!peers)
        return peers.error();
    json::array asked;
    for (const PeerId peer : *peers)
        if (parts_.keys.rotate_ppk(peer))
            asked.emplace_back(parts_.directory.name(peer));
    if (asked.empty()) {
        const auto name = control::text(fields, "peer");
        return Error{fmt::format("{} that makes preshared keys with this node: it must be an "
                                 "encsync node with keysync=yes, and its conn must not say ppk=no, "
                                 "there as here",
                                 name.empty() ? "no peer is up"
                                              : fmt::format("peer {} is not up as one", name))};
    }
    return json::value{{"peers", asked}};
}

Answer Administration::reload_keys() {
    if (auto done = parts_.keys.reload(); !done)
        return done.error();
    return json::value{{"reloaded", true}};
}

Answer Administration::reload() {
    auto done = parts_.reload.run();
    if (!done)
        return done.error();
    return json::value{{"added", json::value_from(done->added)},
                       {"changed", json::value_from(done->changed)},
                       {"removed", json::value_from(done->removed)},
                       {"role", done->role},
                       {"warnings", done->warnings}};
}

} // namespace encsync::daemon
