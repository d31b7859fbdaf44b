// SPDX-License-Identifier: ISC
// The nftables ruleset behind the guard: in the kernel, every pfsync packet that did not come
// out of the tunnel is dropped and counted, whatever interface it comes from or goes to.
//
//     auto ruleset = Ruleset::install({.syncdev = "enc0"});     // no ruleset, no start
//     each second, and when a Watch sees a change: auto in_place = ruleset->verify(); if (in_place
//     && !*in_place) ruleset->reinstall();
//
// The exception are cables, whose packets pass on their interface, between their addresses.
//
// Two tables, `inet encsync` and `bridge encsync`, replaced as a whole in one transaction. Packets
// that userspace ESP delivers never pass them: they go to the daemon, not to the kernel's IP stack.
// Packets that kernel ESP delivers do, on syncdev, with their state still known (nft(8), "ipsec
// expression"). The copies for tcpdump that the daemon writes into its TUN device also do, and are
// dropped here, with a counter of their own. Our own IKE and ESP datagrams are kept out of
// conntrack.
//
// No hook of an interface (netdev) is used: what comes out of a VLAN or a tunnel passes the hooks
// of `inet` like everything else, and rules of the other kind name each interface, so that a new
// one would be open until it is named.
//
// The hooks run before defragmentation (priority -450), so fragments are dropped one by one. A
// rule of another table can drop more, but cannot let pass what this one drops. Programs with
// CAP_NET_RAW that use packet sockets see and send frames below netfilter; no ruleset stops those.
//
// The tables stay in place when the daemon stops: other programs that use protocol 240 on this
// machine are not exposed by accident. `nft delete table inet encsync` removes one of them.
#pragma once

#include "net/address.hpp"
#include "net/mac.hpp"
#include "util/result.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace encsync::policy {

// The outer datagrams between a conn's left and right.
struct Tunnel {
    std::string interface {}; // the only one for them; empty: any
    net::Address left, right; // of one family; unspecified: any address of it
    std::vector<std::uint16_t> left_ports{500, 4500};
    std::vector<std::uint16_t> right_ports{500, 4500}; // empty: any (a peer behind NAT)
    // With kernel ESP: the reqid of its states and policies. Packets of protocol 240 then pass
    // syncdev, inbound only if they come from a state with this reqid.
    std::optional<std::uint32_t> reqid{};
};

// A firewall on a cable.
struct Speaker {
    net::Address address;
    std::optional<net::Mac> mac{}; // of its frames; none: any
};

// Plain pfsync between left and the speakers on one interface: the only protocol 240 that is let
// pass in clear. Inbound only whole packets from a speaker to `destination`, with TTL 255, in
// frames from its MAC address if that is known.
struct Cable {
    std::string interface;
    net::Address left;
    std::vector<Speaker> speakers; // of the same family; without multicast one
    net::Address destination;      // of what they send: left, or the multicast group
    bool multicast = false;        // what left sends goes there, too; else to the speaker
};

struct RulesetOptions {
    std::string syncdev = "enc0";
    std::vector<Tunnel> tunnels{};
    std::vector<Cable> cables{};
    // The NFQUEUE in which the first packets of new flows wait (defer). While no program has it
    // open they pass. Packets of loopback, to multicast groups, of pfsync, or from these UDP ports
    // never wait.
    std::optional<std::uint16_t> defer_queue{};
    std::vector<std::uint16_t> own_ports{};
    // The kernel tracks flows of a network namespace only while some rule there needs conntrack:
    // adds one.
    bool track = false;
    // Frames that are bridged between other machines, too. Left out if the kernel does not know
    // how.
    bool bridge = true;
};

// Of both tables, in the families inet and bridge.
inline constexpr const char* kTableName = "encsync";

struct RulesetStatus {
    bool installed = false;
    // Packets by counter name, over all installations of this process: not_through_tunnel_in,
    // not_through_tunnel_out, not_through_tunnel_forward, not_through_tunnel_bridge, wrong_mac
    // (refusals), tap_copies (ours).
    std::map<std::string, std::uint64_t> counters;
};

class Ruleset {
  public:
    // Errors: an invalid interface name, missing permission, a kernel without nf_tables, or, with
    // defer_queue, without nft_queue.
    static Result<Ruleset> install(RulesetOptions options);
    Ruleset(Ruleset&&) noexcept;
    Ruleset& operator=(Ruleset&&) noexcept;
    ~Ruleset();

    // Whether it is still there and unchanged. Cheap: reads the generation of the kernel's rules;
    // the table is read only if that has changed.
    Result<bool> verify();
    // Puts it back. Counters continue from their values at the last status().
    Result<void> reinstall();
    // Replaces it, for other peers or another interface.
    Result<void> change(RulesetOptions options);
    Result<RulesetStatus> status();
    // What is (or would be) installed, in nft's own language.
    std::string text() const;
    // For tests; the daemon leaves it in place.
    Result<void> remove();

  private:
    struct Impl;
    explicit Ruleset(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

// The same text, without asking the kernel.
std::string ruleset_text(const RulesetOptions& options);

} // namespace encsync::policy
