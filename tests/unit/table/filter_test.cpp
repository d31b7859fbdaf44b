// SPDX-License-Identifier: ISC
#include "flows.hpp"

#include "table/conntrack/netlink.hpp"
#include "table/conntrack/rtnetlink.hpp"
#include "table/filter.hpp"

#include <gtest/gtest.h>
#include <linux/rtnetlink.h>

namespace encsync::table::test {
namespace {

Filter firewall(FilterOptions options = {}) {
    Filter f(std::move(options));
    f.addresses().add(ip("10.1.0.1"), 2);
    f.addresses().add(ip("198.51.100.1"), 3);
    f.addresses().add_broadcast(ip("10.1.0.255"), 2);
    f.addresses().add(ip("2001:db8:1::1"), 2);
    return f;
}

TEST(Filter, ForwardedFlowsPass) {
    const Filter f = firewall();
    EXPECT_FALSE(f.ignored(tcp(1)));
    EXPECT_FALSE(f.ignored(tcp(1, "2001:db8:1::2", "2001:db8:2::80")));
    // Masqueraded: replies are addressed to the firewall, but forwarded.
    EXPECT_FALSE(f.ignored(snat(tcp(1), "198.51.100.1", 40000)));
    // A forwarded port: packets are addressed to the firewall, but forwarded.
    EXPECT_FALSE(f.ignored(dnat(tcp(1, "203.0.113.5", "198.51.100.1"), "10.1.0.80", 80)));
}

TEST(Filter, FlowsOfTheFirewallItselfAreLocal) {
    const Filter f = firewall();
    EXPECT_EQ(f.ignored(tcp(1, "10.1.0.1", "192.0.2.1")), Ignored::local);
    EXPECT_EQ(f.ignored(tcp(1, "203.0.113.5", "198.51.100.1", 22)), Ignored::local);
    EXPECT_EQ(f.ignored(tcp(1, "2001:db8:5::5", "2001:db8:1::1", 22)), Ignored::local);
    // Redirected to a proxy on the firewall.
    EXPECT_EQ(f.ignored(dnat(tcp(1), "10.1.0.1", 3128)), Ignored::local);
    const Filter wants_local = firewall({true, {}, {}});
    EXPECT_FALSE(wants_local.ignored(tcp(1, "203.0.113.5", "198.51.100.1", 22)));
}

TEST(Filter, WhatFirewallsSayToEachOtherIsIgnored) {
    const Filter f = firewall({true, {}, {}});
    for (const std::uint8_t proto : {112, 240, 50, 51, 2}) {
        state::Flow flow = udp(1);
        flow.key.proto = proto;
        EXPECT_EQ(f.ignored(flow), Ignored::protocol) << int{proto};
    }
}

TEST(Filter, LoopbackAndMulticastAreIgnored) {
    const Filter f = firewall();
    EXPECT_EQ(f.ignored(tcp(1, "127.0.0.1", "127.0.0.53")), Ignored::loopback);
    EXPECT_EQ(f.ignored(tcp(1, "::1", "::1")), Ignored::loopback);
    EXPECT_EQ(f.ignored(udp(1, "10.1.0.2", "239.255.255.250")), Ignored::multicast);
    EXPECT_EQ(f.ignored(udp(1, "10.1.0.2", "255.255.255.255")), Ignored::multicast);
    EXPECT_EQ(f.ignored(udp(1, "10.1.0.2", "10.1.0.255")), Ignored::multicast);
    EXPECT_EQ(f.ignored(udp(1, "2001:db8::1", "ff02::fb")), Ignored::multicast);
    EXPECT_FALSE(f.ignored(udp(1, "10.1.0.2", "223.255.255.255")));
}

TEST(Filter, PrefixesAreIgnoredAtEitherEnd) {
    const Filter f = firewall({false, {prefix("192.0.2.64/27"), prefix("2001:db8:7::/48")}, {}});
    EXPECT_EQ(f.ignored(tcp(1, "10.1.0.2", "192.0.2.80")), Ignored::prefix);
    EXPECT_EQ(f.ignored(tcp(1, "192.0.2.64", "203.0.113.1")), Ignored::prefix);
    EXPECT_EQ(f.ignored(dnat(tcp(1, "10.1.0.2", "203.0.113.1"), "192.0.2.95", 80)),
              Ignored::prefix);
    EXPECT_FALSE(f.ignored(tcp(1, "10.1.0.2", "192.0.2.96")));
    EXPECT_FALSE(f.ignored(tcp(1, "10.1.0.2", "192.0.2.63")));
    EXPECT_EQ(f.ignored(tcp(1, "2001:db8:7:1::2", "2001:db8:8::1")), Ignored::prefix);
    EXPECT_FALSE(f.ignored(tcp(1, "2001:db8:9::2", "2001:db8:8::1")));
}

// Flows from a peer.

TEST(Filter, APeersForwardedFlowsAreTaken) {
    const Filter f = firewall();
    EXPECT_FALSE(f.refused(tcp(1)));
    EXPECT_FALSE(f.refused(snat(tcp(1), "198.51.100.1", 40000)));
    EXPECT_FALSE(f.refused(dnat(tcp(1, "203.0.113.5", "198.51.100.1"), "10.1.0.80", 80)));
    // IKE and ESP in UDP of a host behind the firewall, masqueraded.
    EXPECT_FALSE(f.refused(snat(udp(4500, "10.1.0.2", "192.0.2.9", 4500), "198.51.100.1", 4500)));
}

TEST(Filter, APeerCannotOpenTheFirewallItself) {
    for (const bool sync_local : {false, true}) {
        const Filter f = firewall({sync_local, {}, {}});
        const auto local = sync_local ? std::nullopt : std::optional(Ignored::local);
        EXPECT_EQ(f.refused(tcp(1, "203.0.113.5", "198.51.100.1", 22)), local);
        EXPECT_EQ(f.refused(tcp(22, "198.51.100.1", "203.0.113.5", 1)), local);
        EXPECT_EQ(f.refused(tcp(1, "2001:db8:5::5", "2001:db8:1::1", 22)), local);
        EXPECT_EQ(f.refused(dnat(tcp(1), "10.1.0.1", 3128)), local);
        for (const std::uint16_t port : {500, 4500})
            EXPECT_EQ(f.refused(udp(port, "203.0.113.5", "198.51.100.1", port)), Ignored::ipsec);
        EXPECT_EQ(f.refused(udp(9, "203.0.113.5", "127.0.0.1")), Ignored::loopback);
        EXPECT_EQ(f.refused(dnat(tcp(1), "127.0.0.1", 22)), Ignored::loopback);
        EXPECT_EQ(f.refused(udp(9, "203.0.113.5", "0.0.0.0")), Ignored::unspecified);
        EXPECT_EQ(f.refused(tcp(9, "::", "2001:db8::1")), Ignored::unspecified);
        EXPECT_EQ(f.refused(udp(9, "203.0.113.5", "224.0.0.18")), Ignored::multicast);
        EXPECT_EQ(f.refused(udp(9, "224.0.0.18", "203.0.113.5")), Ignored::multicast);
        for (const std::uint8_t proto : {112, 240, 50, 51, 2}) {
            state::Flow flow = udp(1);
            flow.key.proto = proto;
            EXPECT_EQ(f.refused(flow), Ignored::protocol) << int{proto};
        }
    }
}

TEST(Filter, NorAnAddressThatWasHere) {
    Filter f = firewall();
    const state::Flow flow = tcp(1, "203.0.113.5", "198.51.100.7", 22);
    EXPECT_FALSE(f.refused(flow));
    f.addresses().add(ip("198.51.100.7"), 3);
    EXPECT_EQ(f.refused(flow), Ignored::local);
    f.addresses().remove(ip("198.51.100.7"), 3);
    EXPECT_EQ(f.refused(flow), Ignored::local);
    EXPECT_FALSE(f.ignored(flow)); // one that is forwarded
    EXPECT_FALSE(f.refused(snat(tcp(1), "198.51.100.7", 40000)));
}

TEST(Filter, IgnoreIsForBothDirectionsAndNoSyncForOne) {
    const state::NoSyncRule dns{.ports = net::PortRange{53, 53}};
    const Filter f = firewall({false, {prefix("192.0.2.64/27")}, state::NoSync({dns})});
    EXPECT_EQ(f.refused(tcp(1, "10.1.0.2", "192.0.2.80")), Ignored::prefix);
    EXPECT_FALSE(f.refused(udp(1)));
    EXPECT_EQ(f.ignored(udp(1)), Ignored::nosync);
}

TEST(Filter, NorMayAPeerExpectAConnectionToTheFirewall) {
    const Filter f = firewall();
    state::Expectation e;
    e.master = tcp(1).key;
    e.proto = IPPROTO_TCP;
    e.tuple = {address("192.0.2.80"), address("198.51.100.1"), 0, 22};
    EXPECT_EQ(f.refused(e), Ignored::local);
    e.has_nat = true; // without a function
    e.nat_address = address("10.1.0.2");
    EXPECT_EQ(f.refused(e), Ignored::local);
    e.function = state::FunctionName::of("nat-follow-master").value();
    EXPECT_FALSE(f.refused(e));
    e.nat_address = address("127.0.0.1");
    EXPECT_EQ(f.refused(e), Ignored::loopback);
    e = {};
    e.master = tcp(1).key;
    e.proto = IPPROTO_TCP;
    e.tuple = {{}, address("10.1.0.2"), 0, 5000}; // from any source
    EXPECT_FALSE(f.refused(e));
}

TEST(Filter, NoSyncIsAskedLast) {
    state::NoSyncRule marked{.mark = state::MarkMatch{1, 1}}, dns{.ports = net::PortRange{53, 53}};
    const Filter f = firewall({false, {}, state::NoSync({marked, dns})});
    state::Flow flow = tcp(1);
    EXPECT_FALSE(f.ignored(flow));
    flow.mark = 3;
    EXPECT_EQ(f.ignored(flow), Ignored::nosync_mark);
    flow = udp(1);
    EXPECT_EQ(f.ignored(flow), Ignored::nosync);
    flow.mark = 1; // for its whole life, whatever its mark
    EXPECT_EQ(f.ignored(flow), Ignored::nosync);
    EXPECT_EQ(f.ignored(udp(1, "10.1.0.2", "224.0.0.251")), Ignored::multicast);
}

TEST(LocalAddresses, GoWithTheLastInterface) {
    LocalAddresses a;
    a.add(ip("10.0.0.1"), 1);
    a.add(ip("10.0.0.1"), 1); // reported twice
    a.add(ip("10.0.0.1"), 2);
    a.remove(ip("10.0.0.1"), 1);
    EXPECT_TRUE(a.is_local(ip("10.0.0.1")));
    a.remove(ip("10.0.0.1"), 2);
    EXPECT_FALSE(a.is_local(ip("10.0.0.1")));
    a.remove(ip("10.0.0.9"), 2);
    EXPECT_EQ(a.size(), 0U);
}

TEST(LocalAddresses, OnesThatLeaveAreRemembered) {
    LocalAddresses a;
    const auto vip = ip("198.51.100.1"), other = ip("198.51.100.2");
    EXPECT_FALSE(a.has_left(vip)); // it never was local
    a.add(vip, 2);
    a.add(other, 2);
    EXPECT_FALSE(a.has_left(vip));
    a.remove(vip, 3); // it is not on that interface
    EXPECT_FALSE(a.has_left(vip));
    a.remove(vip, 2);
    EXPECT_TRUE(a.has_left(vip));
    EXPECT_FALSE(a.has_left(other));
    a.add(vip, 3);
    EXPECT_FALSE(a.has_left(vip));
    // On two interfaces: removed with the last one.
    a.add(vip, 2);
    a.remove(vip, 2);
    EXPECT_FALSE(a.has_left(vip));
}

TEST(LocalAddresses, AnInterfaceThatGoesDownTakesItsAddressesAlong) {
    LocalAddresses a;
    const auto vip = ip("198.51.100.1"), both = ip("198.51.100.2");
    a.add(vip, 2);
    a.add(both, 2);
    a.add(both, 3);
    a.interface_up(3, false);
    EXPECT_FALSE(a.has_left(vip));
    a.interface_up(2, false);
    EXPECT_TRUE(a.has_left(vip));
    EXPECT_TRUE(a.is_local(vip));
    EXPECT_FALSE(a.has_left(both));
    a.interface_up(2, true);
    EXPECT_FALSE(a.has_left(vip));
}

TEST(LocalAddresses, WhatIsNotFoundAgainHasLeft) {
    LocalAddresses a;
    a.add(ip("198.51.100.1"), 2);
    a.add(ip("198.51.100.2"), 2);
    a.clear();
    a.add(ip("198.51.100.2"), 2);
    EXPECT_TRUE(a.has_left(ip("198.51.100.1")));
    EXPECT_FALSE(a.has_left(ip("198.51.100.2")));
}

TEST(LocalAddresses, RememberSoManyAndNoMore) {
    LocalAddresses a;
    const auto nth = [](std::size_t n) {
        net::Address out{{}, net::Family::inet6};
        out.bytes[14] = static_cast<std::uint8_t>(n >> 8);
        out.bytes[15] = static_cast<std::uint8_t>(n);
        return out;
    };
    for (std::size_t n = 0; n <= LocalAddresses::kMaxLeft; n++) {
        a.add(nth(n), 2);
        a.remove(nth(n), 2);
    }
    EXPECT_FALSE(a.has_left(nth(0)));
    EXPECT_TRUE(a.has_left(nth(1)));
    EXPECT_TRUE(a.has_left(nth(LocalAddresses::kMaxLeft)));
}

// ---- rtnetlink messages ----------------------------------------------------------------------

std::vector<std::uint8_t> address_message(std::uint16_t type) {
    std::vector<std::uint8_t> buffer(256);
    netlink::Writer w(buffer, type, 0, 1);
    ifaddrmsg header{};
    header.ifa_family = AF_INET;
    header.ifa_index = 5;
    w.plain(header);
    const auto put = [&](int attribute, const std::string& text) {
        w.put(attribute, address(text).bytes.data(), 4);
    };
    put(IFA_ADDRESS, "192.0.2.2"); // the other end
    put(IFA_LOCAL, "192.0.2.1");
    put(IFA_BROADCAST, "192.0.2.3");
    buffer.resize(w.finish());
    return buffer;
}

TEST(AddressMessages, AddAndRemove) {
    LocalAddresses a;
    EXPECT_TRUE(AddressMonitor::apply(address_message(RTM_NEWADDR), a));
    EXPECT_TRUE(a.is_local(ip("192.0.2.1")));
    EXPECT_FALSE(a.is_local(ip("192.0.2.2")));
    EXPECT_TRUE(a.is_broadcast(ip("192.0.2.3")));
    EXPECT_TRUE(AddressMonitor::apply(address_message(RTM_DELADDR), a));
    EXPECT_EQ(a.size(), 0U);
    EXPECT_FALSE(a.is_broadcast(ip("192.0.2.3")));
}

std::vector<std::uint8_t> link_message(bool up, std::uint8_t family = AF_UNSPEC) {
    std::vector<std::uint8_t> buffer(256);
    netlink::Writer w(buffer, RTM_NEWLINK, 0, 1);
    ifinfomsg header{};
    header.ifi_family = family;
    header.ifi_index = 5;
    header.ifi_flags = up ? 1U : 0U; // IFF_UP
    w.plain(header);
    buffer.resize(w.finish());
    return buffer;
}

TEST(AddressMessages, OfLinks) {
    LocalAddresses a;
    EXPECT_TRUE(AddressMonitor::apply(address_message(RTM_NEWADDR), a));
    EXPECT_TRUE(AddressMonitor::apply(link_message(false, AF_BRIDGE), a)); // a bridge port only
    EXPECT_FALSE(a.has_left(ip("192.0.2.1")));
    EXPECT_TRUE(AddressMonitor::apply(link_message(false), a));
    EXPECT_TRUE(a.has_left(ip("192.0.2.1")));
    EXPECT_TRUE(AddressMonitor::apply(link_message(true), a));
    EXPECT_FALSE(a.has_left(ip("192.0.2.1")));
    auto cut = link_message(false);
    cut.resize(cut.size() - 1);
    EXPECT_FALSE(AddressMonitor::apply(cut, a));
    EXPECT_FALSE(a.has_left(ip("192.0.2.1")));
}

TEST(AddressMessages, CutShortAnywhereTheyAreRefusedAndChangeNothing) {
    const auto whole = address_message(RTM_NEWADDR);
    for (std::size_t size = 1; size < whole.size(); size++) {
        std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<long>(size));
        LocalAddresses a;
        EXPECT_FALSE(AddressMonitor::apply(cut, a)) << size;
        EXPECT_EQ(a.size(), 0U);
    }
}

TEST(AddressMessages, AttributesOfTheWrongSizeAreRefused) {
    auto bad = address_message(RTM_NEWADDR);
    bad[sizeof(nlmsghdr)] = AF_INET6; // whose addresses take 16 bytes
    LocalAddresses a;
    EXPECT_FALSE(AddressMonitor::apply(bad, a));
    EXPECT_EQ(a.size(), 0U);
}

} // namespace
} // namespace encsync::table::test
