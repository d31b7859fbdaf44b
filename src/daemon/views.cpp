// SPDX-License-Identifier: ISC
// What `encsync` is shown, and the few things it may ask for.
#include "control/describe.hpp"
#include "control/filter.hpp"
#include "daemon/node.hpp"
#include "daemon/table_view.hpp"
#include "table/conntrack/counters.hpp"

#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <unistd.h>

namespace encsync::daemon {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

namespace {

std::uint64_t seconds_since(Clock::time_point then) {
    return static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - then).count());
}

std::string hex(std::uint32_t spi) {
    return fmt::format("{:08x}", spi);
}

const char* cipher_name(esp::Cipher cipher) {
    switch (cipher) {
    case esp::Cipher::aes128gcm16:
        return "aes128gcm16";
    case esp::Cipher::aes256gcm16:
        return "aes256gcm16";
    case esp::Cipher::chacha20poly1305:
        break;
    }
    return "chacha20poly1305";
}

const char* mtu_source(link::PathMtu::Source source) {
    switch (source) {
    case link::PathMtu::Source::configured:
        break;
    case link::PathMtu::Source::told:
        return "told";
    case link::PathMtu::Source::searched:
        return "searched";
    }
    return "configured";
}

std::uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t size = 0, resident = 0;
    statm >> size >> resident;
    return resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

} // namespace

void Node::offer_commands() {
    control_->handle("status",
                     [this](const json::object&) -> Result<json::value> { return status(); });
    control_->handle("peers", [this](const json::object&) -> Result<json::value> {
        return json::value(peers());
    });
    control_->handle(
        "sas", [this](const json::object&) -> Result<json::value> { return json::value(sas()); });
    control_->handle("policy", [this](const json::object&) -> Result<json::value> {
        return json::value(policy());
    });
    control_->handle("policy-verify", [this](const json::object&) -> Result<json::value> {
        auto in_place = ruleset_->verify();
        if (!in_place)
            return in_place.error();
        if (!*in_place)
            return json::value{{"verified", false},
                               {"why", "the nftables ruleset is gone or was changed"}};
        return json::value{{"verified", true}};
    });
    control_->handle("role", [this](const json::object& fields) { return set_role(fields); });
    control_->handle("bulk", [this](const json::object& fields) -> Result<json::value> {
        auto peer = named(control::text(fields, "peer"));
        if (!peer)
            return peer.error();
        turn();
        json::array asked;
        for (PeerId n = 0; n < config_.conns.size(); n++)
            if (used(n) && (*peer == kNoPeer || *peer == n)) {
                if (*peer == n && !engine_->session(n).reachable())
                    return Error{fmt::format("peer {} is not up", config_.conns[n].name)};
                engine_->request_bulk(n);
                asked.emplace_back(config_.conns[n].name);
            }
        return json::value{{"peers", asked}};
    });
    control_->handle("rekey", [this](const json::object& fields) -> Result<json::value> {
        auto peer = named(control::text(fields, "peer"));
        if (!peer)
            return peer.error();
        json::array asked;
        for (PeerId n = 0; n < config_.conns.size(); n++)
            if (used(n) && (*peer == kNoPeer || *peer == n) && engine_->session(n).link_up) {
                charon_->rekey(n, false);
                asked.emplace_back(config_.conns[n].name);
            }
        // One that is not up is negotiated with all the time, with fresh keys.
        if (asked.empty())
            return *peer == kNoPeer
                       ? Error{"no peer is up"}
                       : Error{fmt::format("peer {} is not up", config_.conns[*peer].name)};
        return json::value{{"peers", asked}};
    });
    control_->handle("reload-keys", [this](const json::object&) -> Result<json::value> {
        if (auto done = reload_keys(); !done)
            return done.error();
        return json::value{{"reloaded", true}};
    });
    control_->handle("reload", [this](const json::object&) -> Result<json::value> {
        auto done = reload();
        if (!done)
            return done.error();
        return json::value{{"added", json::value_from(done->added)},
                           {"changed", json::value_from(done->changed)},
                           {"removed", json::value_from(done->removed)},
                           {"role", done->role},
                           {"warnings", done->warnings}};
    });
    control_->handle_stream("states", [this](const json::object& fields) {
        return states(control::text(fields, "filter"));
    });
}

// A PeerId; kNoPeer for no name: all of them.
Result<PeerId> Node::named(std::string_view name) const {
    if (name.empty())
        return kNoPeer;
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        if (used(peer) && config_.conns[peer].name == name)
            return peer;
    return Error{fmt::format("there is no conn '{}'", name)};
}

bool Node::ready(std::string* why) const {
    if (!policy_in_place_) {
        *why = "the nftables ruleset is not in place";
        return false;
    }
    if (machine_)
        for (const Complaint& c : machine_->complaints())
            if (c.breaks) {
                *why = c.text;
                return false;
            }
    return engine_->ready(why);
}

void Node::log_readiness() {
    std::string why;
    const bool now = ready(&why);
    if (now && !was_ready_)
        log::notice("ready to be promoted");
    else if (!now && was_ready_)
        log::warning("no longer ready to be promoted: {}", why);
    was_ready_ = now;
}

// Also of a node that serves, whose readiness does not depend on it.
void Node::log_missing_edges() {
    std::set<std::string> missing;
    for (const auto& edge : engine_->missing_edges())
        missing.insert(engine_->describe(edge));
    for (const std::string& edge : missing)
        if (!missing_edges_.contains(edge))
            log::warning("{}", edge);
    missing_edges_ = std::move(missing);
}

// The first of a kind from each peer; the rest is counted. What the configuration says is no news.
void Node::log_refused_states() {
    for (PeerId peer = 0; peer < config_.conns.size(); peer++) {
        if (!used(peer))
            continue;
        const auto& counts = engine_->session(peer).counters.refused_states;
        for (int n = 0; n < table::kIgnored; n++) {
            const auto why = static_cast<table::Ignored>(n);
            if (counts[static_cast<std::size_t>(n)] == 0 ||
                !lives_[peer].refused_states.insert(why).second)
                continue;
            const bool configured = why == table::Ignored::prefix || why == table::Ignored::refuse;
            log::write(configured ? log::Level::info : log::Level::warning,
                       fmt::format("peer {}: tells of flows that are not taken from a peer: {}",
                                   config_.conns[peer].name, table::to_string(why)));
        }
    }
}

json::value Node::status() {
    const auto ruleset = ruleset_->status();
    policy_in_place_ = policy_in_place_ && ruleset && ruleset->installed;
    std::string why;
    const bool is_ready = ready(&why);
    std::size_t missing = 0;
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        missing += used(peer) ? engine_->missing_of(peer) : 0;
    json::object out{{"node", config_.setup.node},
                     {"role", sync::to_string(engine_->role())},
                     {"role_warning", odd_roles()},
                     {"ready", is_ready},
                     {"why", why},
                     {"version", ENCSYNC_VERSION},
                     {"uptime", seconds_since(started_)},
                     {"states", engine_->index().size()},
                     {"own", engine_->live()},
                     {"copies", engine_->index().size() - engine_->live()},
                     {"missing", missing}};
    json::array edges;
    for (const auto& edge : engine_->missing_edges())
        edges.emplace_back(engine_->describe(edge));
    out["missing_edges"] = std::move(edges);
    out["ipsec"] = json::object{
        {"mode", ipsec_.mode()}, {"configured", ipsec_.configured}, {"why", ipsec_.why}};
    out["peers"] = peers();
    out["policy"] =
        json::object{{"installed", policy_in_place_},
                     {"refused", refused(ruleset ? *ruleset : policy::RulesetStatus{})}};
    out["table"] = table_counters();
    json::array complaints;
    if (machine_)
        for (const Complaint& c : machine_->complaints())
            complaints.push_back(
                json::object{{"name", c.name}, {"text", c.text}, {"breaks_sync", c.breaks}});
    out["machine"] = std::move(complaints);
    if (queue_)
        out["defer"] = deferral();
    out["charon"] = json::object{
        {"pid", charon_->pid()}, {"up", charon_->up()}, {"restarts", charon_->counters().restarts}};
    out["memory"] = resident_bytes();
    out["index_bytes"] = engine_->index().memory_bytes();
    return out;
}

json::array Node::peers() const {
    json::array out;
    const auto all = link_->sas();
    const sync::Instant now = Clock::now().time_since_epoch();
    const std::string odd = odd_roles();
    for (PeerId peer = 0; peer < config_.conns.size(); peer++) {
        if (!used(peer))
            continue;
        const auto role = role_of_peer(peer);
        const sync::Peer& s = engine_->session(peer);
        const PeerLife& life = lives_[peer];
        std::string spi_in, spi_out;
        for (const link::SaInfo& sa : all)
            if (sa.peer == peer && !sa.retiring) {
                if (sa.direction == esp::Direction::inbound)
                    spi_in = hex(sa.spi);
                else if (sa.sending)
                    spi_out = hex(sa.spi);
            }
        const link::PeerStats* stats = link_->peer_stats(peer);
        const bool up = s.link_up && (s.extended ? !s.silent : s.is_pf());
        const char* state = up ? "up" : s.link_up || life.connecting ? "connecting" : "down";
        json::object bulk{{"sending", s.bulk.sending},     {"arriving", s.bulk.arriving},
                          {"sent", s.counters.bulks_sent}, {"received", s.counters.bulks_received},
                          {"swept", s.counters.swept},     {"gave_up", s.bulk.gave_up}};
        // How far it is: states, of about so many.
        if (s.bulk.sending)
            bulk["sending_states"] =
                json::object{{"sent", s.bulk.sent}, {"of", engine_->index().size()}};
        if (s.bulk.arriving) {
            json::object arriving{{"received", s.bulk.received}};
            if (s.extended) // pfsync does not tell how many there are
                arriving["of"] = s.peer_states;
            bulk["arriving_states"] = std::move(arriving);
        }
        json::object o{
            {"name", config_.conns[peer].name},
            {"state", state},
            {"ready", up && (s.extended ? s.peer_ready : s.in_step)},
            {"in_step", s.in_step && s.reachable() && engine_->holds_all_of(peer)},
            {"role", role ? sync::to_string(*role) : "unknown"},
            {"role_warning", role && *role != sync::Role::standby ? odd : ""},
            {"spi_in", spi_in},
            {"spi_out", spi_out},
            {"rx_packets", stats != nullptr ? stats->rx_packets : 0},
            {"tx_packets", stats != nullptr ? stats->tx_packets : 0},
            {"rx_bytes", stats != nullptr ? stats->rx_bytes : 0},
            {"tx_bytes", stats != nullptr ? stats->tx_bytes : 0},
            {"refused", life.guard_refused + (stats != nullptr ? stats->refused_total() : 0)},
            {"since", seconds_since(life.since)},
            {"last_error", last_error(peer)},
            {"bulk", std::move(bulk)}};
        const auto since = [&](const char* name, sync::Instant then) {
            if (then > sync::Instant::zero())
                o[name] = std::chrono::duration_cast<std::chrono::seconds>(now - then).count();
        };
        since("last_heard", s.last_heard);
        since("checked_seconds_ago", s.checks.equal);
        since("peer_checked_seconds_ago", s.checks.peer_equal);
        if (s.extended)
            o["check"] = json::object{{"equal", s.checks.differing == 0},
                                      {"checks", s.counters.checks},
                                      {"repairs", s.counters.repairs},
                                      {"differing", s.counters.differing},
                                      {"removed", s.counters.removed}};
        o["address"] = config::to_string(config_.conns[peer].right);
        if (life.key)
            o["key"] = keys::fingerprint(*life.key);
        o["wire"] = s.extended ? "encsync" : pfsync::to_string(s.dialect);
        o["copies"] = engine_->copies_of(peer);
        o["missing"] = missing(peer);
        json::array hears;
        for (const sync::Neighbour& node : s.told.neighbours)
            hears.push_back(json::object{{"name", node.name},
                                         {"creatorid", hex(node.creatorid)},
                                         {"role", sync::to_string(node.role)},
                                         {"owns", node.owns}});
        o["hears"] = std::move(hears);
        o["accepts"] = accepted_keys(peer);
        json::object refused_states{{"now", engine_->refused_of(peer)}};
        for (int n = 0; n < table::kIgnored; n++)
            if (const auto count = s.counters.refused_states[static_cast<std::size_t>(n)])
                refused_states[table::to_string(static_cast<table::Ignored>(n))] = count;
        o["refused_states"] = std::move(refused_states);
        o["withheld"] = engine_->live() - engine_->live_for(peer);
        o["zone_withheld"] = s.counters.zone_withheld;
        o["rx_messages"] = s.counters.rx_messages;
        o["tx_messages"] = s.counters.tx_messages;
        o["collapsed"] = s.counters.collapsed;
        o["waiting"] = s.outbox.queued() + s.outbox.removals();
        o["stale"] = s.counters.stale;
        o["late"] = s.counters.late_packets;
        o["lost"] = s.counters.lost_packets;
        if (stats != nullptr) {
            o["mtu"] = stats->mtu;
            o["path"] = json::object{{"mtu", stats->mtu},
                                     {"configured", config_.conns[peer].mtu},
                                     {"found", mtu_source(stats->mtu_source)},
                                     {"confirmed", stats->mtu_answers},
                                     {"lowered", stats->mtu_lowered},
                                     {"raised", stats->mtu_raised},
                                     {"probes", stats->mtu_probes},
                                     {"refused", stats->icmp_refused}};
            o["not_sent"] = json::object{
                {"no_sa", stats->no_sa},
                {"sequence_exhausted", stats->sequence_exhausted},
                {"too_big", stats->too_big},
                {"unreachable", stats->unreachable},
                {"other", stats->not_sent},
                {"last_error", stats->last_errno != 0 ? std::strerror(stats->last_errno) : ""}};
        }
        out.push_back(std::move(o));
    }
    return out;
}

// Reason to count, of the peer's flows that the table here does not hold.
json::object Node::missing(PeerId peer) const {
    json::object out;
    for (int n = 1; n < sync::kMissingReasons; n++) {
        const auto why = static_cast<sync::Missing>(n);
        if (const std::size_t flows = engine_->missing_of(peer, why); flows != 0)
            out[sync::to_string(why)] = flows;
    }
    return out;
}

// Those of this node's keys with which the peer is known to let it in.
json::array Node::accepted_keys(PeerId peer) const {
    json::array out;
    const auto& vouched = lives_[peer].vouched;
    const auto& trusted = engine_->session(peer).told.trusted;
    for (const keys::RawKey& key : own_keys_)
        if (std::ranges::find(vouched, key) != vouched.end() ||
            std::ranges::find(trusted, keys::key_print(key)) != trusted.end())
            out.emplace_back(keys::fingerprint(key));
    return out;
}

json::array Node::sas() const {
    json::array out;
    for (const link::SaInfo& sa : link_->sas())
        out.push_back(
            json::object{{"peer", used(sa.peer) ? config_.conns[sa.peer].name : "?"},
                         {"direction", sa.direction == esp::Direction::inbound ? "in" : "out"},
                         {"spi", hex(sa.spi)},
                         {"cipher", cipher_name(sa.cipher)},
                         {"esn", sa.esn},
                         {"mode", sa.transport ? "transport" : "tunnel"},
                         {"age", sa.age},
                         {"packets", sa.packets},
                         {"bytes", sa.bytes},
                         {"replayed", sa.replayed},
                         {"failed", sa.failed},
                         {"retiring", sa.retiring}});
    return out;
}

// Reason to count, from every layer that refuses, the outermost first. Reasons that never
// happened are left out.
json::object Node::refused(const policy::RulesetStatus& ruleset) const {
    json::object out;
    const auto add = [&out](std::string_view reason, std::uint64_t n) {
        if (n != 0)
            out[reason] = n;
    };
    for (const auto& [name, n] : ruleset.counters)
        if (name.starts_with("not_through_tunnel"))
            add(name, n);
    add("dropped_in_kernel", link_->kernel_drops());
    add("unknown_source", link_->stats().unknown_source);
    add("unknown_spi", link_->stats().unknown_spi);
    add("runt", link_->stats().runt);
    std::array<std::uint64_t, esp::kVerdicts> esp_refused{};
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        if (const auto* stats = link_->peer_stats(peer))
            for (std::size_t n = 0; n < esp_refused.size(); n++)
                esp_refused[n] += stats->refused[n];
    for (std::size_t n = 0; n < esp_refused.size(); n++)
        add(fmt::format("esp_{}", esp::to_string(static_cast<esp::Verdict>(n))), esp_refused[n]);
    for (int n = 1; n < policy::kVerdicts; n++) {
        const auto verdict = static_cast<policy::Verdict>(n);
        add(policy::to_string(verdict), guard_.of(verdict));
    }
    const sync::Counters& counters = engine_->counters();
    for (int n = 1; n < sync::kRefused; n++)
        add(sync::to_string(static_cast<sync::Refused>(n)),
            counters.refused[static_cast<std::size_t>(n)]);
    for (int n = 1; n < pfsync::kFaults; n++)
        add(pfsync::to_string(static_cast<pfsync::Fault>(n)),
            counters.faults[static_cast<std::size_t>(n)]);
    for (const auto& [reason, n] : charon_->counters().refused)
        add("charon: " + reason, n);
    return out;
}

json::object Node::policy() {
    const auto ruleset = ruleset_->status();
    json::object counters;
    if (ruleset)
        for (const auto& [name, n] : ruleset->counters)
            counters[name] = n;
    return {{"installed", policy_in_place_ && ruleset && ruleset->installed},
            {"ruleset", ruleset_->text()},
            {"counters", counters},
            {"refused", refused(ruleset ? *ruleset : policy::RulesetStatus{})}};
}

json::object Node::table_counters() const {
    const sync::Counters& counters = engine_->counters();
    json::object out{
        {"events", counters.events},           {"refreshed", counters.refreshed},
        {"adopted", counters.adopted},         {"dropped_unclaimed", counters.dropped_unclaimed},
        {"leases_over", counters.leases_over}, {"stranded", counters.stranded},
        {"put_back", counters.put_back},       {"clashes", counters.clashes},
        {"relaxed", counters.relaxed}};
    for (int n = 0; n < table::kRefusals; n++)
        out[fmt::format("refused_{}", table::to_string(static_cast<table::Refusal>(n)))] =
            counters.table_refused[static_cast<std::size_t>(n)];
    add(out, table_->counters());
    if (!table_->capabilities().expectations)
        return out;
    json::object& expectations = out["expectations"].as_object();
    expectations["known"] = engine_->expectations().size();
    expectations["ambiguous_master"] = counters.ambiguous_masters;
    expectations["early"] = engine_->early_expectations();
    expectations["without_master"] = counters.expectations_without_master;
    expectations["over_limit"] = counters.expectations_over_limit;
    return out;
}

json::object Node::deferral() const {
    const sync::Counters& counters = engine_->counters();
    const table::PacketQueueCounters& c = queue_->counters();
    std::uint64_t unreadable = c.unreadable;
    for (const std::uint64_t n : c.faults)
        unreadable += n;
    json::object out{{"waiting", engine_->deferred()},
                     {"packets", c.packets},
                     {"held", counters.deferred},
                     {"acknowledged", counters.defer_acknowledged},
                     {"timed_out", counters.defer_timed_out},
                     {"over_limit", counters.defer_over_limit},
                     {"unconfirmed", counters.defer_unconfirmed},
                     {"unreadable", unreadable}};
    table::Counters faults;
    table::add_faults(faults, "faults", c.faults);
    add(out, faults);
    return out;
}

Result<control::Generator> Node::states(std::string_view text) const {
    auto filter = control::Filter::parse(text);
    if (!filter)
        return filter.error();
    return control::Generator([this, filter = std::move(*filter), slot = state::kNoSlot,
                               begun = false]() mutable -> std::optional<json::value> {
        // A few at a time: who asks for one flow in a million must not hold up the others.
        for (int n = 0; n < 16; n++) {
            slot = engine_->index().next(slot);
            if (slot == state::kNoSlot)
                return std::nullopt;
            begun = true;
            const state::Flow flow = engine_->index().flow(slot, engine_->seconds());
            const std::uint8_t owner = engine_->index().record(slot).owner;
            std::string_view name = config_.setup.node, filter_name;
            if (used(owner))
                name = filter_name = config_.conns[owner].name;
            else if (owner != 0xff)
                name = filter_name = "nobody";
            if (filter.matches(flow, filter_name)) {
                json::object state = control::describe(flow, name);
                if (const std::uint8_t why = engine_->index().record(slot).refused; why != 0)
                    state["refused"] = table::to_string(static_cast<table::Ignored>(why - 1));
                if (const auto& all = engine_->expectations().of(slot); !all.empty())
                    state["expectations"] = all.size();
                return state;
            }
        }
        return json::value(nullptr);
    });
}

} // namespace encsync::daemon
