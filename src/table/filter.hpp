// SPDX-License-Identifier: ISC
// Decides which flows are not synced. Checked for each event and dump entry before it is reported,
// and for each flow from a peer.
//
//     if (auto why = filter.ignored(flow)) counters.ignored[*why]++;
//     if (auto why = filter.refused(flow)) ...    // a peer's
#pragma once

#include "net/address.hpp"
#include "state/expectation.hpp"
#include "state/nosync.hpp"
#include "table/ignored.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace encsync::table {

// This machine's own addresses, on all interfaces.
class LocalAddresses {
  public:
    // The same address may be on several interfaces: it is gone when removed from the last.
    void add(const net::Address& address, std::uint32_t interface);
    void remove(const net::Address& address, std::uint32_t interface);
    // An interface that is down keeps its IPv4 addresses, but they cannot be reached.
    void interface_up(std::uint32_t interface, bool up);
    void add_broadcast(const net::Address& address, std::uint32_t interface);
    void remove_broadcast(const net::Address& address, std::uint32_t interface);
    // Before rereading all: addresses that are not added again are removed.
    void clear();

    bool is_local(const net::Address& address) const;
    bool is_broadcast(const net::Address& address) const; // IPv4
    // It was local, and was removed or is on an interface that is down. The last kMaxLeft are
    // known.
    bool has_left(const net::Address& address) const;
    std::size_t size() const { return local_.size(); }
    // Incremented whenever an address is added or removed.
    std::uint64_t changes() const { return changes_; }

    static constexpr std::size_t kMaxLeft = 1024;

  private:
    using Set = std::map<net::Address, std::vector<std::uint32_t>>; // interface indices
    static void add_to(Set& set, const net::Address& address, std::uint32_t interface);
    static void remove_from(Set& set, const net::Address& address, std::uint32_t interface);
    void leave(const net::Address& address);
    Set local_, broadcast_;
    std::vector<net::Address> left_; // the latest at the end
    std::uint64_t changes_ = 0;
};

struct FilterOptions {
    bool sync_local = false; // flows that begin or end on this firewall, too
    std::vector<net::Prefix> ignore;
    state::NoSync nosync; // towards all peers
};

class Filter {
  public:
    explicit Filter(FilterOptions options) : options_(std::move(options)) {}

    std::optional<Ignored> ignored(const state::Flow& flow) const;
    // A state from a peer permits packets to pass, but never access to this firewall itself. A
    // former address counts as local: a shared one may come back at any time. `nosync` is not
    // checked: it is about what is sent.
    std::optional<Ignored> refused(const state::Flow& flow) const;
    // Likewise, for a connection that a peer expects.
    std::optional<Ignored> refused(const state::Expectation& expectation) const;
    LocalAddresses& addresses() { return addresses_; }
    const LocalAddresses& addresses() const { return addresses_; }

  private:
    bool was_local(const net::Address& address) const;
    std::optional<Ignored> by_addresses(const state::Flow& flow, bool local) const;

    FilterOptions options_;
    LocalAddresses addresses_;
};

} // namespace encsync::table
