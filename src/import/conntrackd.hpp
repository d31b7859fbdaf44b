// SPDX-License-Identifier: ISC
// What the reader of conntrackd.conf(5) collects before it can decide: links and filters.
#pragma once

#include "import/braces.hpp"

namespace encsync::importer {

// A UDP, TCP or Multicast block: one link to the peer.
struct Channel {
    std::string transport;
    unsigned line = 0, port_line = 0;
    bool preferred = false; // "Default"
    std::string address;    // of this firewall; in a Multicast block of the group
    std::string destination;
    std::string own;       // Multicast: IPv4_interface
    std::string interface; // its name
    std::string port;
    unsigned address_line = 0, destination_line = 0;
};

// Of the links, conntrackd uses one at a time: the preferred one first. That one becomes left and
// right, or if it is multicast, one that names the peer. The others are noted.
void take_channels(Migration& found, const std::vector<Channel>& channels);

// "Protocol Accept { ... }" and "Address Ignore { ... }": rules of nosync, or notes.
void take_protocols(Migration& found, const Statement& filter, bool accept);
void take_addresses(Migration& found, const Statement& filter, bool accept);

} // namespace encsync::importer
