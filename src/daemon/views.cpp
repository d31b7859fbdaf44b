// SPDX-License-Identifier: ISC
#include "daemon/views.hpp"

#include "control/describe.hpp"
#include "control/filter.hpp"
#include "daemon/resident.hpp"
#include "daemon/talkers.hpp"
#include "daemon/translate.hpp"

#include <cstring>
#include <fmt/format.h>
#include <numeric>

namespace encsync::daemon {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

namespace {

// A filter that matches one flow in a million must not delay other events.
constexpr std::size_t kFlowsAtATime = 16;
constexpr std::size_t kTalkers = 100;

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
    case link::PathMtu::Source::reported:
        return "reported";
    case link::PathMtu::Source::searched:
        return "searched";
    }
    return "configured";
}

// What keeps the keys of a peer's IKE SA from whoever records it and has a quantum computer later.
std::string post_quantum(const Peers::Life& life) {
    const bool mlkem = life.key_exchanges.find("mlkem") != std::string::npos;
    if (mlkem)
        return life.ppk ? "ml-kem, ppk" : "ml-kem";
    return life.ppk ? "ppk" : "no";
}

} // namespace

json::value Views::status() const {
    const policy::RulesetStatus ruleset = parts_.readiness.policy_status();
    std::string why;
    const bool is_ready = parts_.readiness.ready(&why);
    std::size_t missing = 0;
    for (const PeerId peer : parts_.directory.all())
        missing += parts_.engine.missing_of(peer);
    json::object out{{"node", parts_.setup.node},
                     {"role", sync::to_string(parts_.engine.role())},
                     {"role_warning", parts_.roles.odd()},
                     {"ready", is_ready},
                     {"why", why},
                     {"version", ENCSYNC_VERSION},
                     {"uptime", seconds_since(started_)},
                     {"states", parts_.engine.index().size()},
                     {"own", parts_.engine.live()},
                     {"copies", parts_.engine.index().size() - parts_.engine.live()},
                     {"missing", missing}};
    json::array edges;
    for (const auto& edge : parts_.engine.missing_edges())
        edges.emplace_back(parts_.engine.describe(edge));
    out["missing_edges"] = std::move(edges);
    out["ipsec"] = json::object{{"mode", parts_.ipsec.mode()},
                                {"configured", parts_.ipsec.configured},
                                {"why", parts_.ipsec.why}};
    out["peers"] = peers();
    out["policy"] = json::object{{"installed", parts_.readiness.policy_in_place()},
                                 {"refused", refused(ruleset)},
                                 {"cables", cables()}};
    out["table"] = table_counters();
    json::array complaints;
    if (parts_.machine != nullptr)
        for (const Complaint& c : parts_.machine->complaints())
            complaints.push_back(
                json::object{{"name", c.name}, {"text", c.text}, {"breaks_sync", c.breaks}});
    out["machine"] = std::move(complaints);
    out["key_ages"] = json::value_from(parts_.keys.ages());
    if (parts_.metrics != nullptr)
        out["metrics"] = json::object{{"listen", to_string(parts_.setup.metricslisten)},
                                      {"trouble", parts_.metrics->trouble()}};
    if (parts_.queue != nullptr)
        out["defer"] = deferral();
    json::object charon{{"pid", parts_.charon.pid()}, {"up", parts_.charon.up()}};
    parts_.registry.show(charon, "charon");
    out["charon"] = std::move(charon);
    out["memory"] = resident_bytes();
    out["index_bytes"] = parts_.engine.index().memory_bytes();
    if (parts_.relay != nullptr)
        out["relay"] = json::object{{"states", parts_.relay->store().size()},
                                    {"bytes", parts_.relay->store().memory_bytes()}};
    return out;
}

json::array Views::peers() const {
    json::array out;
    const auto sas = parts_.link.tunnel.sas();
    for (const PeerId each : parts_.directory.all())
        out.push_back(peer(each, sas));
    return out;
}

json::object Views::peer(PeerId peer, const std::vector<link::SaInfo>& sas) const {
    const sync::Instant now = Clock::now();
    const std::string odd = parts_.roles.odd();
    const auto role = parts_.roles.of_peer(peer);
    const sync::Peer& s = parts_.engine.session(peer);
    const Peers::Life& life = parts_.peers.life(peer);
    std::string spi_in, spi_out;
    for (const link::SaInfo& sa : sas)
        if (sa.peer == peer && !sa.retiring) {
            if (sa.direction == esp::Direction::inbound)
                spi_in = hex(sa.spi);
            else if (sa.sending)
                spi_out = hex(sa.spi);
        }
    const link::PeerStats* stats = parts_.link.peer_stats(peer);
    const bool up = parts_.peers.up(peer);
    const char* state = up ? "up" : s.link_up || life.connecting ? "connecting" : "down";
    json::object bulk{{"sending", s.bulk.sending}, {"arriving", s.bulk.arriving}};
    parts_.registry.show(bulk, "bulk", peer);
    bulk["gave_up"] = s.bulk.gave_up;
    // Progress: states sent, of about this number.
    if (s.bulk.sending)
        bulk["sending_states"] =
            json::object{{"sent", s.bulk.sent}, {"of", parts_.engine.index().size()}};
    if (s.bulk.arriving) {
        json::object arriving{{"received", s.bulk.received}};
        if (s.extended) // plain pfsync does not carry the number
            arriving["of"] = s.peer_states;
        bulk["arriving_states"] = std::move(arriving);
    }
    json::object o{{"name", parts_.directory.name(peer)},
                   {"state", state},
                   {"ready", parts_.peers.ready(peer)},
                   {"in_step", parts_.peers.in_step(peer)},
                   {"role", role ? sync::to_string(*role) : "unknown"},
                   {"role_warning", role && *role != sync::Role::standby ? odd : ""},
                   {"spi_in", spi_in},
                   {"spi_out", spi_out}};
    parts_.registry.show(o, "traffic", peer);
    o["refused"] = s.verdict.refused_packets() + (stats != nullptr ? stats->refused_total() : 0);
    o["refusals"] = refusals(peer);
    o["since"] = seconds_since(life.since);
    o["last_error"] = parts_.peers.last_error(peer);
    o["bulk"] = std::move(bulk);
    const auto since = [&](const char* name, sync::Instant then) {
        if (then > sync::Instant{})
            o[name] = std::chrono::duration_cast<std::chrono::seconds>(now - then).count();
    };
    since("last_received", s.last_received);
    if (const auto lag = parts_.engine.lag(peer, now); lag && parts_.relay == nullptr)
        o["lag"] = std::chrono::duration<double>(*lag).count();
    since("checked_seconds_ago", s.checks.equal);
    since("peer_checked_seconds_ago", s.checks.peer_equal);
    if (s.extended) {
        json::object check{{"equal", s.checks.differing == 0}};
        parts_.registry.show(check, "check", peer);
        o["check"] = std::move(check);
    }
    const config::Conn& conn = parts_.directory.conn(peer);
    o["address"] = config::to_string(conn.right);
    if (conn.is_cable())
        o["speakers"] = json::value_from(describe_senders(conn));
    if (life.key)
        o["key"] = keys::fingerprint(*life.key);
    const auto phase = parts_.keys.ppk_phase(peer);
    if (phase != keysync::PpkPhase::off)
        o["ppk"] = json::object{{"used", life.ppk && up ? keys::to_text(*life.ppk) : ""},
                                {"step", keysync::to_string(phase)},
                                {"required", parts_.keys.requires_ppk(peer)}};
    if (!parts_.directory.conn(peer).is_cable()) {
        json::object ike;
        parts_.registry.show(ike, "ike", peer);
        o["ike"] = std::move(ike);
    }
    if (up && !life.key_exchanges.empty()) {
        o["key_exchange"] = life.key_exchanges;
        o["post_quantum"] = post_quantum(life);
    }
    o["wire"] = s.extended ? "encsync" : pfsync::to_string(s.dialect);
    o["copies"] = parts_.engine.copies_of(peer);
    o["missing"] = missing(peer);
    json::array hears;
    for (const sync::Neighbour& node : s.hello_tail.neighbours)
        hears.push_back(json::object{{"name", node.name},
                                     {"creatorid", hex(node.creatorid)},
                                     {"role", sync::to_string(node.role)},
                                     {"owns", node.owns}});
    o["hears"] = std::move(hears);
    o["accepts"] = json::value_from(parts_.keys.accepted(peer));
    json::object refused_states{{"now", parts_.engine.refused_of(peer)}};
    parts_.registry.show(refused_states, "refused_states", peer);
    o["refused_states"] = std::move(refused_states);
    o["suppressed"] = parts_.engine.live() - parts_.engine.live_for(peer);
    o["waiting"] = s.outbox.queued() + s.outbox.removals();
    parts_.registry.show(o, "messages", peer);
    if (parts_.relay != nullptr) {
        json::object relay{{"waiting_bytes", parts_.relay->waiting(peer)},
                           {"states", parts_.relay->states_of(peer)}};
        if (const auto equal = parts_.relay->since_equal(peer))
            relay["equal_seconds_ago"] =
                std::chrono::duration_cast<std::chrono::seconds>(*equal).count();
        parts_.registry.show(relay, "relay", peer);
        o["relay"] = std::move(relay);
        since("last_received", parts_.relay->heard(peer));
    }
    if (stats != nullptr) {
        o["mtu"] = stats->mtu;
        json::object path{{"mtu", stats->mtu},
                          {"configured", parts_.directory.conn(peer).mtu},
                          {"found", mtu_source(stats->mtu_source)},
                          {"confirmed", stats->mtu_answers}};
        parts_.registry.show(path, "path", peer);
        o["path"] = std::move(path);
        json::object not_sent;
        parts_.registry.show(not_sent, "not_sent", peer);
        not_sent["last_error"] = stats->last_errno != 0 ? std::strerror(stats->last_errno) : "";
        o["not_sent"] = std::move(not_sent);
    }
    return o;
}

// Counts by reason of the peer's flows that the table here does not hold.
json::object Views::missing(PeerId peer) const {
    json::object out;
    for (int n = 1; n < sync::kMissingReasons; n++) {
        const auto why = static_cast<sync::Missing>(n);
        if (const std::size_t flows = parts_.engine.missing_of(peer, why); flows != 0)
            out[sync::to_string(why)] = flows;
    }
    return out;
}

json::array Views::sas() const {
    json::array out;
    for (const link::SaInfo& sa : parts_.link.tunnel.sas()) {
        const bool used = parts_.directory.used(sa.peer);
        out.push_back(json::object{
            {"peer", used ? parts_.directory.name(sa.peer) : "?"},
            {"direction", sa.direction == esp::Direction::inbound ? "in" : "out"},
            {"spi", hex(sa.spi)},
            {"cipher", cipher_name(sa.cipher)},
            {"esn", sa.esn},
            {"mode", sa.transport ? "transport" : "tunnel"},
            // Of the IKE SA; one that is being replaced may have had others.
            {"key_exchange", used && !sa.retiring ? parts_.peers.life(sa.peer).key_exchanges : ""},
            {"age", sa.age},
            {"packets", sa.packets},
            {"bytes", sa.bytes},
            {"replayed", sa.replayed},
            {"failed", sa.failed},
            {"retiring", sa.retiring}});
    }
    return out;
}

// Refusals of all layers by reason, from the outermost layer inwards. Reasons that never happened
// are left out.
json::object Views::refused(const policy::RulesetStatus& ruleset) const {
    json::object out;
    const auto add = [&out](std::string_view reason, std::uint64_t n) {
        if (n != 0)
            out[reason] = n;
    };
    for (const auto& [name, n] : ruleset.counters)
        if (name != "tap_copies") // which are ours
            add(name, n);
    add("dropped_in_kernel", parts_.link.tunnel.kernel_drops() + parts_.link.cables.kernel_drops());
    parts_.registry.show(out, "refused");
    for (const auto& [reason, n] : parts_.charon.counters().refused)
        add("charon: " + reason, n);
    return out;
}

json::object Views::policy() const {
    const policy::RulesetStatus ruleset = parts_.readiness.policy_status();
    json::object counters;
    for (const auto& [name, n] : ruleset.counters)
        counters[name] = n;
    return {{"installed", parts_.readiness.policy_in_place()},
            {"ruleset", parts_.ruleset.text()},
            {"counters", counters},
            {"refused", refused(ruleset)},
            {"cables", cables()},
            {"peers", rules()}};
}

// What each peer may send, in words, and what it sent beyond.
json::array Views::rules() const {
    json::array out;
    for (const PeerId peer : parts_.directory.all())
        out.push_back(json::object{
            {"name", parts_.directory.name(peer)},
            {"rules",
             json::value_from(policy::in_words(parts_.engine.session(peer).verdict.rules()))},
            {"accepted", parts_.engine.session(peer).verdict.counters().accepted},
            {"refusals", refusals(peer)}});
    return out;
}

// All that was not accepted from a peer, by reason: packets, messages and states.
json::object Views::refusals(PeerId peer) const {
    json::object out;
    parts_.registry.show(out, "refused", peer);
    parts_.registry.show(out, "refused_states", peer);
    return out;
}

// What is let pass in clear, and for whom.
json::array Views::cables() const {
    json::array out;
    for (const PeerId peer : parts_.directory.all())
        if (const config::Conn& conn = parts_.directory.conn(peer); conn.is_cable())
            out.emplace_back(fmt::format("{} on {}", conn.name, describe_cable(conn)));
    return out;
}

json::object Views::table_counters() const {
    json::object out;
    parts_.registry.show(out, "table");
    if (!parts_.table.capabilities().expectations)
        return out;
    json::object expectations;
    parts_.registry.show(expectations, "expectations");
    expectations["known"] = parts_.engine.expectations().size();
    expectations["early"] = parts_.engine.early_expectations();
    out["expectations"] = std::move(expectations);
    return out;
}

json::object Views::deferral() const {
    const table::PacketQueueCounters& counters = parts_.queue->counters();
    json::object out{{"waiting", parts_.engine.deferred()}};
    parts_.registry.show(out, "defer");
    out["unreadable"] =
        std::accumulate(counters.faults.begin(), counters.faults.end(), counters.unreadable);
    return out;
}

Result<control::Generator> Views::states(std::string_view text) const {
    auto filter = control::Filter::parse(text);
    if (!filter)
        return filter.error();
    return control::Generator([this, filter = std::move(*filter),
                               slot = state::kNoSlot]() mutable -> std::optional<json::value> {
        for (std::size_t n = 0; n < kFlowsAtATime; n++) {
            slot = parts_.engine.index().next(slot);
            if (slot == state::kNoSlot)
                return std::nullopt;
            const state::Flow flow = parts_.engine.index().flow(slot, parts_.engine.seconds());
            const std::uint8_t owner = parts_.engine.index().record(slot).owner;
            std::string_view name = parts_.setup.node, filter_name;
            if (parts_.directory.used(owner))
                name = filter_name = parts_.directory.name(owner);
            else if (owner != sync::kHere)
                name = filter_name = "nobody";
            if (filter.matches(flow, filter_name)) {
                json::object state = control::describe(flow, name);
                if (const auto why = parts_.engine.index().record(slot).refused())
                    state["refused"] = table::to_string(*why);
                const auto& all = parts_.engine.expectations().of(slot);
                if (const auto unused =
                        std::ranges::count(all, false, &sync::ExpectationBook::Entry::used);
                    unused != 0)
                    state["expectations"] = unused;
                return state;
            }
        }
        return json::value(nullptr);
    });
}

control::Generator Views::talkers(std::string_view by) const {
    struct Walk {
        Talkers talkers;
        state::Slot slot = state::kNoSlot;
        bool counted = false;
        std::vector<std::pair<std::string, std::uint64_t>> top{}; // those not told yet
    };
    const auto walk =
        std::make_shared<Walk>(Walk{Talkers(by == "destination" ? TalkersBy::destination
                                            : by == "service"   ? TalkersBy::service
                                                                : TalkersBy::source)});
    return [this, walk]() -> std::optional<json::value> {
        for (std::size_t n = 0; !walk->counted && n < kFlowsAtATime; n++) {
            walk->slot = parts_.engine.index().next(walk->slot);
            walk->counted = walk->slot == state::kNoSlot;
            if (!walk->counted)
                walk->talkers.add(parts_.engine.index().key(walk->slot));
            else
                walk->top = walk->talkers.top(kTalkers);
        }
        if (!walk->counted)
            return json::value(nullptr);
        if (walk->top.empty())
            return std::nullopt;
        const auto [name, states] = walk->top.front();
        walk->top.erase(walk->top.begin());
        return json::object{{"name", name}, {"states", states}};
    };
}

} // namespace encsync::daemon
