// SPDX-License-Identifier: ISC
#include "table/conntrack/rtnetlink.hpp"

#include "util/log.hpp"

#include <array>
#include <cerrno>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>

namespace encsync::table {

namespace {

constexpr std::size_t kBuffer = 32768;
constexpr int kPatience = 2000; // ms; the kernel answers at once

std::optional<net::Address> address_of(Bytes value, net::Family family) {
    if (value.size() != net::address_size(family))
        return std::nullopt;
    return net::Address::read(value.data(), family);
}

bool apply_message(const netlink::Messages& m, LocalAddresses& addresses) {
    const Bytes payload = m.payload();
    if (payload.size() < sizeof(ifaddrmsg))
        return false;
    const auto header = netlink::load<ifaddrmsg>(payload.data());
    const auto family = net::family_of_system(header.ifa_family);
    if (!family)
        return true;
    std::optional<net::Address> address, local, broadcast;
    netlink::Attributes a(payload.subspan(sizeof(ifaddrmsg)));
    while (a.next()) {
        std::optional<net::Address>* out = a.type() == IFA_ADDRESS     ? &address
                                           : a.type() == IFA_LOCAL     ? &local
                                           : a.type() == IFA_BROADCAST ? &broadcast
                                                                       : nullptr;
        if (out != nullptr && !(*out = address_of(a.value(), *family)))
            return false;
    }
    // On a point-to-point link IFA_ADDRESS is the other end.
    const auto& own = local ? local : address;
    if (a.malformed() || !own)
        return false;
    const bool gone = m.header().nlmsg_type == RTM_DELADDR;
    if (gone)
        addresses.remove(*own, header.ifa_index);
    else
        addresses.add(*own, header.ifa_index);
    if (broadcast && gone)
        addresses.remove_broadcast(*broadcast, header.ifa_index);
    else if (broadcast)
        addresses.add_broadcast(*broadcast, header.ifa_index);
    return true;
}

bool apply_link(const netlink::Messages& m, LocalAddresses& addresses) {
    const Bytes payload = m.payload();
    if (payload.size() < sizeof(ifinfomsg))
        return false;
    const auto header = netlink::load<ifinfomsg>(payload.data());
    if (header.ifi_family == AF_UNSPEC) // AF_BRIDGE: about a bridge's port
        addresses.interface_up(static_cast<std::uint32_t>(header.ifi_index),
                               (header.ifi_flags & IFF_UP) != 0);
    return true;
}

} // namespace

bool AddressMonitor::apply(Bytes datagram, LocalAddresses& addresses) {
    netlink::Messages m(datagram);
    while (m.next()) {
        const auto type = m.header().nlmsg_type;
        if ((type == RTM_NEWADDR || type == RTM_DELADDR) && !apply_message(m, addresses))
            return false;
        if (type == RTM_NEWLINK && !apply_link(m, addresses))
            return false;
    }
    return !m.malformed();
}

Result<AddressMonitor> AddressMonitor::open(LocalAddresses& addresses) {
    auto events = netlink::Socket::open(NETLINK_ROUTE, "address events");
    if (!events)
        return events.error();
    events->set_receive_buffer(1 << 20);
    // Joins the groups before reading all addresses, so that no change is missed.
    for (const int group : {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK})
        if (auto joined = events->join(group); !joined)
            return joined.error();
    AddressMonitor monitor(std::move(*events), addresses);
    if (auto read = monitor.read_all(); !read)
        return read.error();
    return monitor;
}

Result<void> AddressMonitor::read_all() {
    auto socket = netlink::Socket::open(NETLINK_ROUTE, "addresses");
    if (!socket)
        return socket.error();
    std::array<std::uint8_t, 64> request{};
    netlink::Writer w(request, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 1);
    w.plain(ifaddrmsg{});
    const std::size_t size = w.finish();
    if (const int error = socket->send(Bytes(request).first(size)); error != 0)
        return Error{std::string("addresses: ") + std::strerror(error)};
    addresses_->clear();
    std::vector<std::uint8_t> buffer(kBuffer);
    for (;;) {
        pollfd ready{socket->fd(), POLLIN, 0};
        if (::poll(&ready, 1, kPatience) != 1)
            return Error{"addresses: the kernel doesn't answer"};
        const ssize_t n = ::recv(socket->fd(), buffer.data(), buffer.size(), MSG_TRUNC);
        if (n < 0 || static_cast<std::size_t>(n) > buffer.size())
            return Error{"addresses: cannot be read"};
        const Bytes datagram = Bytes(buffer).first(static_cast<std::size_t>(n));
        if (!apply(datagram, *addresses_))
            return Error{"addresses: malformed answer"};
        for (netlink::Messages m(datagram); m.next();)
            if (m.header().nlmsg_type == NLMSG_DONE)
                return {};
            else if (m.header().nlmsg_type == NLMSG_ERROR)
                return Error{"addresses: refused by the kernel"};
    }
}

void AddressMonitor::on_readable() {
    std::array<std::uint8_t, kBuffer> buffer;
    bool lost = false;
    for (;;) {
        const ssize_t n = ::recv(fd(), buffer.data(), buffer.size(), MSG_TRUNC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != ENOBUFS)
            break;
        const auto size = static_cast<std::size_t>(std::max<ssize_t>(n, 0));
        lost =
            lost || n < 0 || size > buffer.size() || !apply(Bytes(buffer).first(size), *addresses_);
    }
    if (!lost)
        return;
    if (auto read = read_all(); !read)
        log::error("{}", read.error().text);
}

} // namespace encsync::table
