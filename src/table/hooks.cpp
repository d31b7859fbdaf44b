// SPDX-License-Identifier: ISC
#include "table/hooks.hpp"

#include "table/netlink.hpp"

#include <array>
#include <cstdint>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <string_view>
#include <sys/socket.h>
#include <vector>

namespace encsync::table {

namespace {

// linux/netfilter/nfnetlink_hook.h, which headers before Linux 5.14 do not have.
constexpr std::uint16_t kGetHooks = 12 << 8; // NFNL_SUBSYS_HOOK, NFNL_MSG_HOOK_GET
constexpr int kHookNumber = 1, kFunctionName = 4;
constexpr int kPatience = 1000; // ms; the kernel answers at once

bool is_conntrack(Bytes message) {
    if (message.size() < sizeof(nlmsghdr) + sizeof(nfgenmsg))
        return false;
    netlink::Attributes a(message.subspan(sizeof(nlmsghdr) + sizeof(nfgenmsg)));
    while (a.next())
        if (a.type() == kFunctionName) // "ipv4_conntrack_in"
            return std::string_view(reinterpret_cast<const char*>(a.value().data()),
                                    a.value().size())
                       .find("conntrack") != std::string_view::npos;
    return false;
}

std::optional<bool> tracks(std::uint8_t family) {
    auto socket = netlink::Socket::open(NETLINK_NETFILTER, "netfilter hooks");
    if (!socket)
        return std::nullopt;
    std::array<std::uint8_t, 64> request{};
    netlink::Writer w(request, kGetHooks, NLM_F_REQUEST | NLM_F_DUMP, 1);
    w.plain(nfgenmsg{family, NFNETLINK_V0, 0});
    w.put_be(kHookNumber, std::uint32_t{NF_INET_PRE_ROUTING});
    if (socket->send(Bytes(request).first(w.finish())) != 0)
        return std::nullopt;
    bool found = false;
    std::vector<std::uint8_t> buffer(65536);
    for (;;) {
        pollfd readable{socket->fd(), POLLIN, 0};
        if (::poll(&readable, 1, kPatience) != 1)
            return std::nullopt;
        const ssize_t n = ::recv(socket->fd(), buffer.data(), buffer.size(), MSG_TRUNC);
        if (n < 0 || static_cast<std::size_t>(n) > buffer.size())
            return std::nullopt;
        netlink::Messages m(Bytes(buffer).first(static_cast<std::size_t>(n)));
        while (m.next()) {
            if (m.header().nlmsg_type == NLMSG_DONE)
                return found;
            if (m.header().nlmsg_type == NLMSG_ERROR)
                return std::nullopt;
            found = found || is_conntrack(m.message());
        }
        if (m.malformed())
            return std::nullopt;
    }
}

} // namespace

std::optional<bool> tracks_connections() {
    const auto ip4 = tracks(NFPROTO_IPV4);
    return ip4 && !*ip4 ? tracks(NFPROTO_IPV6) : ip4;
}

} // namespace encsync::table
