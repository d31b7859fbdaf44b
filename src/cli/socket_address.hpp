// SPDX-License-Identifier: ISC
// An address of the configuration and a port, as system calls take them.
#pragma once

#include "config/config.hpp"

#include <cstdint>
#include <sys/socket.h>

namespace encsync::cli {

struct SocketAddress {
    sockaddr_storage storage{};
    socklen_t size = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    int family() const { return storage.ss_family; }
};
SocketAddress socket_address(const config::Address& address, std::uint16_t port);

} // namespace encsync::cli
