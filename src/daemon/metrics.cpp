// SPDX-License-Identifier: ISC
#include "daemon/metrics.hpp"

#include "daemon/metric_families.hpp"
#include "daemon/resident.hpp"

#include <algorithm>

namespace encsync::daemon {

using metrics::Exposition;
using metrics::Label;
using Clock = std::chrono::steady_clock;

namespace {

constexpr sync::Role kRoles[] = {sync::Role::active, sync::Role::standby, sync::Role::automatic};

template<class Value>
void add(Exposition& out, const Gauge& gauge, metrics::Labels labels, Value value) {
    if constexpr (std::is_floating_point_v<Value>)
        out.add(family_of(gauge), labels, static_cast<double>(value));
    else
        out.add(family_of(gauge), labels, static_cast<std::uint64_t>(value));
}

double seconds(Clock::duration duration) {
    return std::chrono::duration<double>(duration).count();
}

// Of no peer, for a reason that is not in the registry.
void add_refusal(Exposition& out, std::string_view reason, std::uint64_t value) {
    counters::Description what{};
    what.section = "refused";
    what.name = reason;
    const Sample sample = sample_of(what, {}, false);
    out.add(sample.family, {{sample.label, sample.value}}, value);
}

} // namespace

std::string Metrics::text(metrics::Format format) const {
    Exposition out;
    add_node(out);
    add_readiness(out);
    add_machine(out);
    add_keys(out);
    add_optional_parts(out);
    for (const PeerId peer : parts_.directory.all()) {
        add_peer(out, peer);
        add_progress(out, peer);
        add_states(out, peer);
        add_path(out, peer);
    }
    add_sas(out);
    add_counters(out);
    add_refusals(out);
    return out.text(format);
}

// ---- the node ------------------------------------------------------------------------------

void Metrics::add_node(Exposition& out) const {
    const sync::Engine& engine = parts_.engine;
    add(out, kBuildInfo, {{"version", ENCSYNC_VERSION}, {"node", parts_.setup.node}}, 1);
    add(out, kUptime, {}, seconds(Clock::now() - started_));
    for (const sync::Role role : kRoles)
        add(out, kRole, {{"role", sync::to_string(role)}}, role == engine.role());
    add(out, kRoleConflict, {}, !parts_.roles.odd().empty());
    add(out, kStates, {}, engine.index().size());
    add(out, kOwnStates, {}, engine.live());
    add(out, kCopiedStates, {}, engine.index().size() - engine.live());
    add(out, kMissingEdges, {}, engine.missing_edges().size());
    add(out, kCharonUp, {}, parts_.charon.up());
    add(out, kEspInKernel, {}, parts_.ipsec.kernel);
    add(out, kResidentMemory, {}, resident_bytes());
    add(out, kIndexBytes, {}, engine.index().memory_bytes());
}

void Metrics::add_readiness(Exposition& out) const {
    std::string why;
    const std::string_view reason = parts_.readiness.unready(&why);
    add(out, kReady, {}, reason.empty());
    for (const std::string_view each : Readiness::reasons(parts_.relay != nullptr))
        add(out, kUnready, {{"reason", each}}, each == reason);
    add(out, kRulesetInPlace, {}, parts_.readiness.policy_in_place());
}

void Metrics::add_machine(Exposition& out) const {
    if (parts_.machine == nullptr)
        return;
    for (const std::string_view name : kComplaints)
        add(out, kMachineComplaint, {{"name", name}},
            std::ranges::count_if(parts_.machine->complaints(), [&](const Complaint& complaint) {
                return complaint.name.substr(0, complaint.name.find(' ')) == name;
            }));
}

void Metrics::add_keys(Exposition& out) const {
    const keys::UnixTime now = keys::unix_now(), made = parts_.keys.created();
    add(out, kIdentityAge, {}, now > made ? now - made : 0);
    add(out, kIdentityOverdue, {}, !keys::overdue(made, parts_.setup.rotate, now).empty());
    std::vector<std::string_view> seen; // a file may be that of several conns
    for (const Dated& each : parts_.keys.certificates())
        if (std::ranges::find(seen, each.file) == seen.end()) {
            add(out, kCertificateEnd, {{"file", each.file}}, each.validity.until);
            seen.push_back(each.file);
        }
}

void Metrics::add_optional_parts(Exposition& out) const {
    if (parts_.queue != nullptr)
        add(out, kDeferWaiting, {}, parts_.engine.deferred());
    if (parts_.table.capabilities().expectations)
        add(out, kExpectationsKnown, {}, parts_.engine.expectations().size());
    if (parts_.relay != nullptr) {
        add(out, kRelayStates, {}, parts_.relay->store().size());
        add(out, kRelayBytes, {}, parts_.relay->store().memory_bytes());
    }
}

// ---- a peer --------------------------------------------------------------------------------

void Metrics::add_peer(Exposition& out, PeerId peer) const {
    const Label name{"peer", parts_.directory.name(peer)};
    add(out, kPeerUp, {name}, parts_.peers.up(peer));
    add(out, kPeerReady, {name}, parts_.peers.ready(peer));
    add(out, kPeerInStep, {name}, parts_.peers.in_step(peer));
    add(out, kPeerNotUnderstood, {name},
        parts_.relay != nullptr ? !parts_.relay->misunderstood(peer).empty()
                                : parts_.engine.misunderstood(peer));
    add(out, kPeerTakenForPf, {name}, parts_.peers.taken_for_pf(peer));
    add(out, kPeerError, {name}, !parts_.peers.last_error(peer).empty());
    const auto role = parts_.roles.of_peer(peer);
    for (const sync::Role each : kRoles)
        add(out, kPeerRole, {name, {"role", sync::to_string(each)}}, role == each);
    add(out, kPeerSince, {name}, seconds(Clock::now() - parts_.peers.life(peer).since));
}

void Metrics::add_progress(Exposition& out, PeerId peer) const {
    const Label name{"peer", parts_.directory.name(peer)};
    const sync::Instant now = Clock::now();
    const sync::Peer& s = parts_.engine.session(peer);
    const auto since = [&](const Gauge& gauge, sync::Instant then) {
        if (then > sync::Instant{})
            add(out, gauge, {name}, seconds(now - then));
    };
    since(kPeerSilence, parts_.relay != nullptr ? parts_.relay->heard(peer) : s.last_received);
    if (parts_.relay != nullptr) {
        add(out, kPeerRelayWaiting, {name}, parts_.relay->waiting(peer));
        add(out, kPeerRelayStates, {name}, parts_.relay->states_of(peer));
        return;
    }
    since(kPeerChecked, s.checks.equal);
    since(kPeerCheckedThere, s.checks.peer_equal);
    if (const auto lag = parts_.engine.lag(peer, now))
        add(out, kPeerLag, {name}, seconds(*lag));
    add(out, kPeerWaiting, {name}, s.outbox.queued() + s.outbox.removals() + s.outbox.waiting());
    add(out, kPeerBulkSending, {name}, s.bulk.sending);
    add(out, kPeerBulkArriving, {name}, s.bulk.arriving);
    add(out, kPeerBulkGaveUp, {name}, s.bulk.gave_up);
    metrics::Family latency = family_of(kPeerAckLatency);
    latency.type = metrics::Type::histogram;
    out.add(latency, {name}, parts_.engine.acknowledge_latency(peer));
}

void Metrics::add_states(Exposition& out, PeerId peer) const {
    const Label name{"peer", parts_.directory.name(peer)};
    const sync::Engine& engine = parts_.engine;
    add(out, kPeerCopiedStates, {name}, engine.copies_of(peer));
    for (int n = 1; n < sync::kMissingReasons; n++) {
        const auto why = static_cast<sync::Missing>(n);
        add(out, kPeerMissingStates, {name, {"reason", sync::to_string(why)}},
            engine.missing_of(peer, why));
    }
    add(out, kPeerKeptOutStates, {name}, engine.refused_of(peer));
    add(out, kPeerSuppressedStates, {name}, engine.live() - engine.live_for(peer));
}

void Metrics::add_path(Exposition& out, PeerId peer) const {
    const Label name{"peer", parts_.directory.name(peer)};
    if (const link::PeerStats* stats = parts_.link.peer_stats(peer)) {
        add(out, kPeerMtu, {name}, stats->mtu);
        add(out, kPeerMtuConfigured, {name}, parts_.directory.conn(peer).mtu);
    }
}

// Those in use: not one that only receives what is still on its way.
void Metrics::add_sas(Exposition& out) const {
    for (const link::SaInfo& sa : parts_.link.tunnel.sas()) {
        const bool inbound = sa.direction == esp::Direction::inbound;
        if (!parts_.directory.used(sa.peer) || sa.retiring || (!inbound && !sa.sending))
            continue;
        add(out, kPeerSaAge,
            {{"peer", parts_.directory.name(sa.peer)}, {"direction", inbound ? "in" : "out"}},
            sa.age);
    }
}

// ---- counters ------------------------------------------------------------------------------

void Metrics::add_counters(Exposition& out) const {
    parts_.registry.each([&](const auto& what, std::string_view label, std::uint64_t value) {
        const Sample sample = sample_of(what, label, false);
        if (sample.label.empty())
            out.add(sample.family, {}, value);
        else
            out.add(sample.family, {{sample.label, sample.value}}, value);
    });
    for (const PeerId peer : parts_.directory.all()) {
        const Label name{"peer", parts_.directory.name(peer)};
        parts_.registry.each(
            peer, [&](const auto& what, std::string_view label, std::uint64_t value) {
                const Sample sample = sample_of(what, label, true);
                if (sample.label.empty())
                    out.add(sample.family, {name}, value);
                else
                    out.add(sample.family, {name, {sample.label, sample.value}}, value);
            });
    }
}

// By the kernel and by charon's messages.
void Metrics::add_refusals(Exposition& out) const {
    for (const auto& [reason, packets] : parts_.readiness.policy_status().counters)
        if (reason != "tap_copies") // which are ours
            add_refusal(out, reason, packets);
    add_refusal(out, "dropped_in_kernel",
                parts_.link.tunnel.kernel_drops() + parts_.link.cables.kernel_drops());
    std::uint64_t of_charon = 0;
    for (const auto& [reason, messages] : parts_.charon.counters().refused)
        of_charon += messages;
    add_refusal(out, "charon", of_charon);
}

} // namespace encsync::daemon
