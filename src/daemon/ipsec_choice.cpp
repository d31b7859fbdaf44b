// SPDX-License-Identifier: ISC
#include "daemon/ipsec_choice.hpp"

#include "ipsec/link/xfrm.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>

namespace encsync::daemon {

namespace {

// Empty: nothing is missing.
std::string userspace_lacks() {
    const Fd tun(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    return tun ? std::string() : fmt::format("/dev/net/tun: {}", std::strerror(errno));
}

std::string kernel_lacks(const config::Config& config) {
    for (const bool ipv6 : {false, true})
        if (std::ranges::any_of(config.conns,
                                [&](const auto& c) { return c.left.ip.is_v6() == ipv6; }))
            if (auto able = link::Xfrm::probe(ipv6); !able)
                return able.error().text;
    return {};
}

} // namespace

Result<IpsecChoice> choose_ipsec(const config::Config& config) {
    switch (config.setup.ipsec) {
    case config::Ipsec::userspace:
        return IpsecChoice{false, "userspace", "as configured"};
    case config::Ipsec::kernel:
        if (const std::string lacks = kernel_lacks(config); !lacks.empty())
            return Error{
                fmt::format("ipsec=kernel: {}; ipsec=userspace needs none of that", lacks)};
        return IpsecChoice{true, "kernel", "as configured"};
    case config::Ipsec::automatic:
        break;
    }
    const std::string no_userspace = userspace_lacks();
    if (no_userspace.empty())
        return IpsecChoice{false, "auto", "it is faster, and needs no kernel support"};
    const bool transport = std::ranges::any_of(
        config.conns, [](const auto& c) { return c.type == config::Type::transport; });
    const bool link_local = std::ranges::any_of(
        config.conns, [](const auto& c) { return !c.is_cable() && !c.left.scope.empty(); });
    if (const std::string no_kernel =
            transport    ? "the kernel's xfrm interfaces take no type=transport"
            : link_local ? "the kernel's IPsec states take no link-local addresses"
                         : kernel_lacks(config);
        !no_kernel.empty())
        return Error{fmt::format("ipsec=auto: neither userspace nor kernel will do: {}; {}",
                                 no_userspace, no_kernel)};
    return IpsecChoice{true, "auto", "userspace will not do: " + no_userspace};
}

} // namespace encsync::daemon
