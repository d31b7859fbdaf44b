// SPDX-License-Identifier: ISC
#include "daemon/metric_families.hpp"

#include "daemon/registry.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

namespace encsync::daemon {

namespace {

using counters::Description;
using counters::Shape;
using metrics::Family;
using metrics::Type;

constexpr const Gauge* kOfNode[] = {
    &kBuildInfo,         &kUptime,           &kReady,           &kUnready,        &kRole,
    &kRoleConflict,      &kStates,           &kOwnStates,       &kCopiedStates,   &kMissingEdges,
    &kRulesetInPlace,    &kMachineComplaint, &kCharonUp,        &kEspInKernel,    &kResidentMemory,
    &kIndexBytes,        &kIdentityAge,      &kIdentityOverdue, &kCertificateEnd, &kDeferWaiting,
    &kExpectationsKnown, &kRelayStates,      &kRelayBytes};
constexpr const Gauge* kOfPeer[] = {&kPeerUp,
                                    &kPeerReady,
                                    &kPeerInStep,
                                    &kPeerNotUnderstood,
                                    &kPeerTakenForPf,
                                    &kPeerError,
                                    &kPeerRole,
                                    &kPeerSince,
                                    &kPeerSilence,
                                    &kPeerLag,
                                    &kPeerWaiting,
                                    &kPeerChecked,
                                    &kPeerCheckedThere,
                                    &kPeerCopiedStates,
                                    &kPeerMissingStates,
                                    &kPeerKeptOutStates,
                                    &kPeerSuppressedStates,
                                    &kPeerBulkSending,
                                    &kPeerBulkArriving,
                                    &kPeerBulkGaveUp,
                                    &kPeerSaAge,
                                    &kPeerMtu,
                                    &kPeerMtuConfigured,
                                    &kPeerRelayWaiting,
                                    &kPeerRelayStates};

// Sections whose counters are reasons of one and the same thing.
struct Merged {
    std::string_view section;
    bool of_peer;
    std::string_view unit, help;
};
constexpr Merged kMerged[] = {
    {"refused", false, "packets", "What was refused and belongs to no peer"},
    {"refused", true, "packets or messages", "What the peer sent and was not accepted"},
    {"refused_states", true, "states", "States of the peer that were not accepted"},
    {"not_sent", true, "packets", "Packets for the peer that were not sent"},
};

// These are part of the peer itself in the answers.
bool has_no_name(std::string_view section) {
    return section.empty() || section == "traffic" || section == "messages";
}

struct Line {
    std::string name;
    Type type;
    std::string labels;
    std::string_view help;
};

std::string table(const std::vector<Line>& lines) {
    std::string out = "| metric | type | labels | |\n|---|---|---|---|\n";
    for (const Line& line : lines)
        out += fmt::format("| `{}` | {} | {} | {} |\n", line.name, to_string(line.type),
                           line.labels, line.help);
    return out;
}

std::string all_labels(bool of_peer, std::string_view others) {
    return fmt::format("{}{}{}", of_peer ? "peer" : "", of_peer && !others.empty() ? ", " : "",
                       others);
}

Line line_of(const Gauge& gauge, bool of_peer, Type type = kGauge) {
    Family family = family_of(gauge);
    family.type = type;
    return {sample_name(family), type, all_labels(of_peer, gauge.labels), gauge.help};
}

std::vector<Line> counters_of(bool of_peer) {
    std::vector<Line> lines;
    std::set<std::string> seen;
    const auto note = [&](const Description& what, std::string_view label, std::uint64_t) {
        const Sample sample = sample_of(what, label, of_peer);
        if (seen.insert(sample.family.name).second)
            lines.push_back({sample_name(sample.family), Type::counter,
                             all_labels(of_peer, sample.label), sample.family.help});
    };
    of_peer ? Registry::each_of_peer(note) : Registry::each_of_node(note);
    return lines;
}

} // namespace

Sample sample_of(const Description& what, std::string_view label, bool of_peer) {
    const std::string_view scope = of_peer ? "peer_" : "";
    for (const Merged& merged : kMerged)
        if (merged.section == what.section && merged.of_peer == of_peer)
            return {{fmt::format("{}{}", scope, merged.section), Type::counter, merged.unit,
                     merged.help},
                    "reason",
                    label.empty() ? std::string(what.name)
                                  : std::string(what.prefix).append(label)};
    const bool alone = has_no_name(what.section);
    return {{fmt::format("{}{}{}{}", scope, alone ? "" : what.section, alone ? "" : "_", what.name),
             Type::counter, what.unit, what.help},
            what.label,
            std::string(label)};
}

std::string metrics_as_markdown() {
    std::vector<Line> node, peer;
    for (const Gauge* gauge : kOfNode)
        node.push_back(line_of(*gauge, false));
    for (const Gauge* gauge : kOfPeer)
        peer.push_back(line_of(*gauge, true));
    peer.push_back(line_of(kPeerAckLatency, true, Type::histogram));
    return "## Of the node\n" + table(node) + "\n## Of each peer\n" + table(peer) +
           "\n## Counters of the node\n" + table(counters_of(false)) +
           "\n## Counters of each peer\n" + table(counters_of(true));
}

} // namespace encsync::daemon
