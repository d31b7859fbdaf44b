// SPDX-License-Identifier: ISC
#include "frames.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>

namespace encsync::bench {

bool parse_mac(std::string_view text, Mac& mac) {
    if (text.size() != mac.size() * 3 - 1)
        return false;
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const char* from = text.data() + i * 3;
        const auto [end, error] = std::from_chars(from, from + 2, mac[i], 16);
        if (error != std::errc() || end != from + 2 || (i + 1 < mac.size() && *end != ':'))
            return false;
    }
    return true;
}

Fd open_interface(const char* program, const char* interface, Mac& own) {
    Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    const int bypass = 1;
    if (!socket || address.sll_ifindex == 0 || ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0 ||
        setsockopt(socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) != 0 ||
        bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        fmt::print(stderr, "{}: cannot open {}: {}\n", program, interface, std::strerror(errno));
        return Fd();
    }
    std::memcpy(own.data(), request.ifr_hwaddr.sa_data, own.size());
    return socket;
}

std::uint16_t ip_checksum(const iphdr& header) {
    std::array<std::uint16_t, sizeof(iphdr) / 2> words{};
    std::memcpy(words.data(), &header, sizeof(header));
    std::uint32_t sum = 0;
    for (const std::uint16_t word : words)
        sum += word;
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return static_cast<std::uint16_t>(~sum);
}

bool send_all(const char* program, int socket, std::span<mmsghdr> messages) {
    while (!messages.empty()) {
        const int sent =
            sendmmsg(socket, messages.data(), static_cast<unsigned>(messages.size()), 0);
        if (sent > 0) {
            messages = messages.subspan(static_cast<std::size_t>(sent));
        } else if (errno != ENOBUFS && errno != EINTR) {
            fmt::print(stderr, "{}: cannot send: {}\n", program, std::strerror(errno));
            return false;
        }
    }
    return true;
}

} // namespace encsync::bench
