// SPDX-License-Identifier: ISC
// HELLO as it stands on the wire (pfsync/extension.hpp has the offsets): what a node announces of
// itself every second. Reading and writing only; sessions.hpp acts on it.
#pragma once

#include "state/flow.hpp"
#include "sync/options.hpp"
#include "util/bytes.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace encsync::sync {

// A node from which a peer receives.
struct Neighbour {
    std::uint32_t creatorid = 0;
    Role role = Role::automatic;
    bool owns = false; // flows
    std::string name;  // as the peer calls it

    // A takeover that does not know its flows loses them.
    bool matters() const { return role == Role::active || owns; }
};
using NeighbourName = state::BasicName<14>;

// What follows the first 44 bytes.
struct HelloTail {
    std::vector<Neighbour> neighbours; // the nodes from which the sender receives
    std::vector<KeyPrint> trusted;     // the receiver's keys that the sender trusts

    std::size_t hello_size() const;
    void write(std::uint8_t* hello) const;
    static std::optional<HelloTail> read(Bytes hello); // none: it is malformed
};

struct Hello {
    std::uint64_t session = 0, peer_session = 0; // the sender's, and the receiver's that it knows
    std::uint32_t creatorid = 0;
    std::uint16_t version = 0;
    Role role = Role::automatic;
    bool ready = false, in_step = false, lost = false, reads_reply_zone = false;
    std::optional<TcpTracking> tracking;
    std::uint64_t states = 0, live = 0;
    std::optional<std::chrono::seconds> checked; // ago: both sides were found to hold the same
    HelloTail tail;

    void write(std::uint8_t* message) const; // of tail.hello_size() bytes
    // The version, and all else unless it is another version than ours. None: it is malformed.
    static std::uint16_t version_of(Bytes message);
    static std::optional<Hello> read(Bytes message);
};

} // namespace encsync::sync
