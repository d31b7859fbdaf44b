// SPDX-License-Identifier: ISC
// What the engine is given about this node and each of its peers when it starts.
#pragma once

#include "pfsync/dialect.hpp"
#include "policy/verdict.hpp"
#include "state/index.hpp"
#include "state/nosync.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"
#include "util/peer_id.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace encsync::sync {

using policy::Reason;

enum class Role : std::uint8_t { automatic = 0, active = 1, standby = 2 };
const char* to_string(Role role); // "auto", "active", "standby"

// The first 8 bytes of the SHA-256 of a public key.
using KeyPrint = std::uint64_t;

struct PeerOptions {
    std::string name;
    // Send HELLO, and use our own messages once the peer sends HELLO too (wire=encsync, auto).
    // Otherwise only what the dialect has.
    bool extended = true;
    // None: the dialect of the packets that the peer sends (wire=auto).
    std::optional<pfsync::Dialect> dialect = pfsync::kOwnDialect;
    state::NoSync nosync{};          // what this peer is not sent
    std::uint8_t maxupd = 1;         // changes of one state in one update; 0 and 1: none ever waits
    policy::Rules rules{};           // what it may send
    std::vector<KeyPrint> trusted{}; // the keys with which it may authenticate
};

// How a node's conntrack judges TCP: nf_conntrack_tcp_loose, nf_conntrack_tcp_be_liberal.
struct TcpTracking {
    bool loose = false, liberal = false;
    bool operator==(const TcpTracking&) const = default;
};

struct Options {
    std::uint32_t creatorid = 0; // not 0
    state::Seed id_secret{};     // names this node's flows; the same after a restart
    state::Seed index_seed{};    // random with each start
    std::uint64_t session = 0;   // random with each start, not 0
    Role role = Role::automatic;
    // The table is the one that an earlier process served (same boot): a flow of ours that is
    // missing from it has ended. Otherwise peers may hold flows that we have lost.
    bool table_kept = false;
    std::chrono::seconds join_wait{30}; // without any peer for so long: serve alone
    std::size_t max_states = 8'000'000; // what peers may make us hold
    // Lets the packet go that defer() has taken by this token.
    std::function<void(std::uint32_t token)> release{};
    // A flow of ours has ended, because another node gave the same NAT port to that one.
    std::function<void(const state::Flow& ended, const state::Flow& other)> on_clash{};
    Duration delay{0};              // a flow must have lived so long before it is sent
    std::vector<PeerOptions> peers; // by PeerId
};

} // namespace encsync::sync
