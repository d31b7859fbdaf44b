// SPDX-License-Identifier: ISC
// Which metrics there are: all counters of the registry, and the gauges below, which are what
// `encsync status --json` shows besides. docs/metrics.md lists them.
//
//     const Sample sample = sample_of(what, label, true);     // of a counter of a peer
//     out.add(sample.family, {{"peer", name}, {sample.label, sample.value}}, n);
#pragma once

#include "metrics/exposition.hpp"
#include "util/counters.hpp"

#include <string>
#include <string_view>

namespace encsync::daemon {

// A counter as a metric. Its name is that of the answers: peers[].bulk.sent is peer_bulk_sent.
// Sections that count by reason are one family each.
struct Sample {
    metrics::Family family;
    std::string_view label; // empty: none
    std::string value;      // of the label
};
Sample sample_of(const counters::Description& what, std::string_view label, bool of_peer);

struct Gauge {
    std::string_view name, help;
    std::string_view labels{}; // besides "peer", which those have whose name begins so
    std::string_view unit{};
};

// ---- of the node ---------------------------------------------------------------------------

inline constexpr Gauge kBuildInfo{"build_info", "The version of encsyncd, and the name of the node",
                                  "version, node"};
inline constexpr Gauge kUptime{"uptime_seconds", "Since encsyncd started", {}, "seconds"};
inline constexpr Gauge kReady{"ready", "Whether this node may be promoted"};
inline constexpr Gauge kUnready{"unready", "Why it may not: 1 for the first reason that applies",
                                "reason"};
inline constexpr Gauge kRole{"role", "The role of this node: 1 for the present one", "role"};
inline constexpr Gauge kRoleConflict{
    "role_conflict",
    "Whether the roles do not fit together: several nodes are active, or one has not been given a "
    "role"};
inline constexpr Gauge kStates{"states", "States known here", {}, "states"};
inline constexpr Gauge kOwnStates{"own_states", "Of these, those that are live here", {}, "states"};
inline constexpr Gauge kCopiedStates{
    "copied_states", "Of these, copies of other nodes' states", {}, "states"};
inline constexpr Gauge kMissingEdges{"missing_edges",
                                     "Nodes with states that a peer hears and this node does not"};
inline constexpr Gauge kRulesetInPlace{"ruleset_in_place", "Whether the nftables ruleset is there"};
inline constexpr Gauge kMachineComplaint{
    "machine_complaint", "Whether a setting of the system, or another program, disturbs syncing",
    "name"};
inline constexpr Gauge kCharonUp{"charon_up", "Whether charon runs, for IKE"};
inline constexpr Gauge kEspInKernel{"esp_in_kernel",
                                    "Whether the kernel encrypts, and not encsyncd"};
inline constexpr Gauge kResidentMemory{"resident_memory_bytes", "Memory of encsyncd", {}, "bytes"};
inline constexpr Gauge kIndexBytes{"index_bytes", "Of it, the index of states", {}, "bytes"};
inline constexpr Gauge kIdentityAge{
    "identity_age_seconds", "Since this node's identity was made", {}, "seconds"};
inline constexpr Gauge kIdentityOverdue{
    "identity_overdue", "Whether rotate= should have replaced the identity, and a peer keeps it"};
inline constexpr Gauge kCertificateEnd{"certificate_not_after_timestamp_seconds",
                                       "When the certificate expires, as Unix time", "file",
                                       "seconds"};
inline constexpr Gauge kDeferWaiting{
    "defer_waiting_packets", "First packets that are held", {}, "packets"};
inline constexpr Gauge kExpectationsKnown{
    "known_expectations", "Expectations known here", {}, "expectations"};
inline constexpr Gauge kRelayStates{"relay_states", "States that this gateway knows", {}, "states"};
inline constexpr Gauge kRelayBytes{"relay_bytes", "Memory of these", {}, "bytes"};

// ---- of each peer --------------------------------------------------------------------------

inline constexpr Gauge kPeerUp{"peer_up", "Whether the peer is reached and understood"};
inline constexpr Gauge kPeerReady{"peer_ready", "Whether the peer says that it may be promoted"};
inline constexpr Gauge kPeerInStep{"peer_in_step", "Whether all states of the peer are here"};
inline constexpr Gauge kPeerNotUnderstood{
    "peer_not_understood", "Whether the peer is up, and none of its packets arrives or is read"};
inline constexpr Gauge kPeerTakenForPf{
    "peer_taken_for_pf", "Whether the peer sends plain pfsync, though wire= says encsync"};
inline constexpr Gauge kPeerError{"peer_error", "Whether encsync peers shows an error of the peer"};
inline constexpr Gauge kPeerRole{"peer_role", "The role of the peer: 1 for the present one",
                                 "role"};
inline constexpr Gauge kPeerSince{
    "peer_state_seconds", "Since the peer came up, or went down", {}, "seconds"};
inline constexpr Gauge kPeerSilence{
    "peer_silence_seconds", "Since something of the peer was received", {}, "seconds"};
inline constexpr Gauge kPeerLag{
    "peer_lag_seconds",
    "How long the oldest change has waited that the peer has not acknowledged; 0: none. Only of "
    "encsync nodes",
    {},
    "seconds"};
inline constexpr Gauge kPeerWaiting{
    "peer_waiting_changes", "Changes that wait to be sent to the peer", {}, "changes"};
inline constexpr Gauge kPeerChecked{
    "peer_checked_seconds",
    "Since all states of the peer were found to equal their copies here",
    {},
    "seconds"};
inline constexpr Gauge kPeerCheckedThere{
    "peer_checked_there_seconds",
    "Since the peer found all states of this node to equal its copies",
    {},
    "seconds"};
inline constexpr Gauge kPeerCopiedStates{
    "peer_copied_states", "Copies of the peer's states here", {}, "states"};
inline constexpr Gauge kPeerMissingStates{"peer_missing_states",
                                          "Of these, those that the kernel's table does not hold",
                                          "reason", "states"};
inline constexpr Gauge kPeerKeptOutStates{
    "peer_kept_out_states", "States of the peer that are not accepted at present", {}, "states"};
inline constexpr Gauge kPeerSuppressedStates{
    "peer_suppressed_states", "States of this node that are not sent to the peer", {}, "states"};
inline constexpr Gauge kPeerBulkSending{"peer_bulk_sending",
                                        "Whether a bulk update is being sent to the peer"};
inline constexpr Gauge kPeerBulkArriving{"peer_bulk_arriving",
                                         "Whether a bulk update of the peer is arriving"};
inline constexpr Gauge kPeerBulkGaveUp{
    "peer_bulk_gave_up", "Whether a pf firewall has answered no request for its states"};
inline constexpr Gauge kPeerSaAge{"peer_sa_age_seconds", "Age of the keys in use with the peer",
                                  "direction", "seconds"};
inline constexpr Gauge kPeerMtu{
    "peer_mtu_bytes", "Largest packet that the path to the peer carries", {}, "bytes"};
inline constexpr Gauge kPeerMtuConfigured{
    "peer_mtu_configured_bytes", "What mtu= of the conn says of it", {}, "bytes"};
inline constexpr Gauge kPeerRelayWaiting{
    "peer_relay_waiting_bytes", "Messages that wait for this leg of a gateway", {}, "bytes"};
inline constexpr Gauge kPeerRelayStates{
    "peer_relay_states", "States that came over this leg of a gateway", {}, "states"};

inline constexpr metrics::Type kGauge = metrics::Type::gauge;
inline metrics::Family family_of(const Gauge& gauge) {
    return {std::string(gauge.name), kGauge, gauge.unit, gauge.help};
}

// The only histogram.
inline constexpr Gauge kPeerAckLatency{
    "peer_ack_latency_seconds",
    "From the oldest change in a packet to the peer until that is acknowledged",
    {},
    "seconds"};

// Each as Markdown: what docs/metrics.md has between its first and its last table.
std::string metrics_as_markdown();

} // namespace encsync::daemon
