// SPDX-License-Identifier: ISC
// The nftables ruleset behind the guard: in the kernel, every pfsync packet that did not come
// out of the tunnel is dropped and counted, whatever interface it comes from or goes to.
//
//     auto ruleset = Ruleset::install({.syncdev = "enc0"});     // no ruleset, no start
//     each second: auto in_place = ruleset->verify(); if (in_place && !*in_place)
//     ruleset->reinstall();
//
// One table, `inet encsync`, replaced as a whole in one transaction. What the tunnel delivers in
// userspace never passes it: userspace ESP hands packets to the daemon, not to the kernel's IP
// stack. What kernel ESP delivers does, on syncdev, with its state still known (nft(8), "ipsec
// expression"). The copies for tcpdump that the daemon writes into its TUN device do pass, and end
// here, counted apart. Our own IKE and ESP datagrams are kept out of conntrack.
//
// The hooks run before defragmentation (priority -450), so fragments are dropped one by one. A
// rule of another table can drop more, but cannot let pass what this one drops. Programs with
// CAP_NET_RAW that use packet sockets see and send frames beneath netfilter; no ruleset stops
// those.
//
// Stopping the daemon leaves the table in place: what speaks protocol 240 on this machine later
// is not exposed by accident. `nft delete table inet encsync` takes it away.
#pragma once

#include "net/address.hpp"
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
    std::string interface {}; // on which alone they come and go; empty: on any
    net::Address left, right; // of one family; unspecified: any of it
    std::vector<std::uint16_t> left_ports{500, 4500};
    std::vector<std::uint16_t> right_ports{500, 4500}; // empty: any (a peer behind NAT)
    // With kernel ESP: what its states and policies have. Packets of protocol 240 then pass
    // syncdev, inwards only out of a state of this reqid.
    std::optional<std::uint32_t> reqid{};
};

struct RulesetOptions {
    std::string syncdev = "enc0";
    std::vector<Tunnel> tunnels;
    // The NFQUEUE in which the first packets of new flows wait (defer). While nobody has it open
    // they pass. Not those of loopback, to groups, of pfsync, or from these UDP ports.
    std::optional<std::uint16_t> defer_queue{};
    std::vector<std::uint16_t> own_ports{};
    // The kernel tracks flows of a network namespace only while some rule there asks for it: here
    // is one.
    bool track = false;
};

struct RulesetStatus {
    bool installed = false;
    // Packets by counter name, over all installations of this process: not_through_tunnel_in,
    // not_through_tunnel_out, not_through_tunnel_forward (refusals), tap_copies (ours).
    std::map<std::string, std::uint64_t> counters;
};

class Ruleset {
  public:
    // Errors: an interface name that is none, missing permission, a kernel without nf_tables, or,
    // with defer_queue, without its queue.
    static Result<Ruleset> install(RulesetOptions options);
    Ruleset(Ruleset&&) noexcept;
    Ruleset& operator=(Ruleset&&) noexcept;
    ~Ruleset();

    // Still there and unchanged? Cheap: one question for the generation of the kernel's rules;
    // the table is read only if that has moved.
    Result<bool> verify();
    // Puts it back. Counters go on from where status() last saw them.
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

// The same text without a kernel.
std::string ruleset_text(const RulesetOptions& options);

} // namespace encsync::policy
