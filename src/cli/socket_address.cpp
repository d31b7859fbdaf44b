// SPDX-License-Identifier: ISC
#include "cli/socket_address.hpp"

#include <algorithm>
#include <cstring>
#include <net/if.h>
#include <netinet/in.h>

namespace encsync::cli {

SocketAddress socket_address(const config::Address& address, std::uint16_t port) {
    SocketAddress out;
    if (address.ip.is_v6()) {
        auto& in6 = reinterpret_cast<sockaddr_in6&>(out.storage);
        in6.sin6_family = AF_INET6;
        in6.sin6_port = htons(port);
        std::ranges::copy(address.ip.bytes, in6.sin6_addr.s6_addr);
        in6.sin6_scope_id = address.scope.empty() ? 0 : ::if_nametoindex(address.scope.c_str());
        out.size = sizeof in6;
    } else {
        auto& in = reinterpret_cast<sockaddr_in&>(out.storage);
        in.sin_family = AF_INET;
        in.sin_port = htons(port);
        std::memcpy(&in.sin_addr, address.ip.bytes.data(), sizeof in.sin_addr);
        out.size = sizeof in;
    }
    return out;
}

} // namespace encsync::cli
