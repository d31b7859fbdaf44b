// SPDX-License-Identifier: ISC
#include "daemon/registry.hpp"

#include "table/conntrack/conntrack.hpp"

#include <string>

namespace encsync::daemon {

namespace json = boost::json;
using counters::Description;
using counters::Shape;

namespace {

void add(json::object& out, std::string_view name, std::uint64_t value) {
    json::value& sum = out[name];
    sum = value + (sum.is_null() ? 0 : sum.to_number<std::uint64_t>());
}

} // namespace

// From the outermost layer inwards: refusals are shown in this order.
void Registry::each(const counters::Visit& visit) const {
    counters::each(link::kLinkCounters, parts_.link.tunnel.stats(), visit);
    counters::each(sync::kCounters, parts_.engine.counters(), visit);
    parts_.table.each_counter(visit);
    if (parts_.queue != nullptr)
        counters::each(table::kPacketQueueCounters, parts_.queue->counters(), visit);
    counters::each(supervisor::kCounters, parts_.charon.counters(), visit);
    counters::each(control::kCounters, parts_.control.counters(), visit);
    counters::each(metrics::kCounters,
                   parts_.metrics != nullptr ? parts_.metrics->counters() : metrics::Counters{},
                   visit);
}

void Registry::each(PeerId peer, const counters::Visit& visit) const {
    const sync::Peer& session = parts_.engine.session(peer);
    counters::each(sync::kPeerCounters, session.counters, visit);
    counters::each(policy::kVerdictCounters, session.verdict.counters(), visit);
    counters::each(kIkeCounters, parts_.peers.counters(peer), visit);
    const link::PeerStats* stats = parts_.link.peer_stats(peer);
    counters::each(link::kPeerCounters, stats != nullptr ? *stats : link::PeerStats{}, visit);
    if (parts_.relay != nullptr) {
        counters::each(relay::kLegCounters, parts_.relay->counters(peer), visit);
        counters::each(relay::kLossCounters, parts_.relay->losses(peer), visit);
    }
}

void Registry::each_of_node(const counters::Visit& visit) {
    counters::each(link::kLinkCounters, link::LinkStats{}, visit);
    counters::each(sync::kCounters, sync::Counters{}, visit);
    counters::each(table::kConntrackCounters, table::ConntrackCounters{}, visit);
    counters::each(table::kWriterCounters, table::WriterCounters{}, visit);
    counters::each(table::kExpectationCounters, table::ExpectationCounters{}, visit);
    counters::each(table::kPacketQueueCounters, table::PacketQueueCounters{}, visit);
    counters::each(supervisor::kCounters, supervisor::Counters{}, visit);
    counters::each(control::kCounters, control::Counters{}, visit);
    counters::each(metrics::kCounters, metrics::Counters{}, visit);
}

void Registry::each_of_peer(const counters::Visit& visit) {
    counters::each(sync::kPeerCounters, sync::PeerCounters{}, visit);
    counters::each(policy::kVerdictCounters, policy::VerdictCounters{}, visit);
    counters::each(kIkeCounters, IkeCounters{}, visit);
    counters::each(link::kPeerCounters, link::PeerStats{}, visit);
    counters::each(relay::kLegCounters, relay::LegCounters{}, visit);
    counters::each(relay::kLossCounters, relay::LossCounters{}, visit);
}

void Registry::show(json::object& out, std::string_view section) const {
    const auto one = [&](const Description& what, std::string_view label, std::uint64_t value) {
        if (what.section == section)
            daemon::show(out, what, label, value);
    };
    each(one);
    for (const PeerId peer : parts_.directory.all())
        each(peer, one);
}

void Registry::show(json::object& out, std::string_view section, PeerId peer) const {
    each(peer, [&](const Description& what, std::string_view label, std::uint64_t value) {
        if (what.section == section)
            daemon::show(out, what, label, value);
    });
}

void show(json::object& out, const Description& what, std::string_view label, std::uint64_t value) {
    if (value == 0 && !what.zeros)
        return;
    switch (what.shape) {
    case Shape::single:
        return add(out, what.name, value);
    case Shape::flat:
        return add(out, std::string(what.prefix).append(label), value);
    case Shape::object:
        json::value& object = out[what.name];
        if (!object.is_object())
            object.emplace_object();
        return add(object.as_object(), label, value);
    }
}

} // namespace encsync::daemon
