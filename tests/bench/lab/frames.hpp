// SPDX-License-Identifier: ISC
// Whole Ethernet frames through a packet socket: what lab_flood and lab_noise send. So a sender
// costs little, and every frame can have addresses of its own.
#pragma once

#include "util/fd.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <span>
#include <string_view>
#include <sys/socket.h>

namespace encsync::bench {

using Mac = std::array<std::uint8_t, ETH_ALEN>;

bool parse_mac(std::string_view text, Mac& mac);

// A packet socket on the interface, and the interface's own address; says on stderr why not.
Fd open_interface(const char* program, const char* interface, Mac& own);

std::uint16_t ip_checksum(const iphdr& header);

// Sends all of them, waiting where there is no room; says on stderr why not.
bool send_all(const char* program, int socket, std::span<mmsghdr> messages);

} // namespace encsync::bench
