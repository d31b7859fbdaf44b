// SPDX-License-Identifier: ISC
#include "net/mac.hpp"

#include "util/fd.hpp"

#include <charconv>
#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace encsync::net {

std::optional<Mac> parse_mac(std::string_view text) {
    constexpr std::size_t kDigits = 2, kStep = 3;
    Mac mac;
    if (text.size() != mac.bytes.size() * kStep - 1)
        return std::nullopt;
    for (std::size_t i = 0; i < mac.bytes.size(); i++) {
        const char* at = text.data() + i * kStep;
        const auto [end, error] = std::from_chars(at, at + kDigits, mac.bytes[i], 16);
        if (error != std::errc{} || end != at + kDigits)
            return std::nullopt;
        if (i + 1 < mac.bytes.size() && *end != ':')
            return std::nullopt;
    }
    return mac;
}

std::string to_string(const Mac& mac) {
    return fmt::format("{:02x}", fmt::join(mac.bytes, ":"));
}

std::optional<bool> has_mac(const std::string& interface) {
    const Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    interface.copy(request.ifr_name, IFNAMSIZ - 1);
    if (!fd || ::ioctl(fd.get(), SIOCGIFHWADDR, &request) != 0)
        return std::nullopt;
    return request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
}

} // namespace encsync::net
