// SPDX-License-Identifier: ISC
// Follows this machine's addresses (rtnetlink(7)), so that the filter always knows which flows are
// the firewall's own; a VRRP takeover moves addresses. The kernel reports the removal of an address
// before it deletes the masqueraded flows of that address (nf_nat_masquerade.c).
#pragma once

#include "table/conntrack/netlink.hpp"
#include "table/filter.hpp"

namespace encsync::table {

class AddressMonitor {
  public:
    // Reads all addresses before it returns.
    static Result<AddressMonitor> open(LocalAddresses& addresses);

    int fd() const { return events_.fd(); }
    // Reads queued messages; rereads all addresses if the kernel dropped some.
    void on_readable();

    // One datagram of RTM_NEWADDR, RTM_DELADDR and RTM_NEWLINK messages; false where it is
    // malformed.
    static bool apply(Bytes datagram, LocalAddresses& addresses);

  private:
    AddressMonitor(netlink::Socket events, LocalAddresses& addresses)
        : events_(std::move(events)), addresses_(&addresses) {}
    Result<void> read_all();

    netlink::Socket events_;
    LocalAddresses* addresses_;
};

} // namespace encsync::table
