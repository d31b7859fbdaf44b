// SPDX-License-Identifier: ISC
// Where ESP is done: as `ipsec=` says, or with `auto`, where it is possible.
//
//     auto choice = choose_ipsec(config);     // the error says what is missing
//     log::notice("ipsec: {}, {}", choice->mode(), choice->why);
//
// `auto` prefers userspace: it needs nothing from the kernel but a TUN device, charon stays without
// a network either way, a batch of packets costs one system call instead of one each, and packet
// sizes are hidden. Kernel ESP is for systems without a TUN device, and for administrators who want
// to see the SAs with ip-xfrm(8) and the packets in their ruleset.
#pragma once

#include "config/config.hpp"
#include "util/result.hpp"

#include <string>

namespace encsync::daemon {

struct IpsecChoice {
    bool kernel = false;
    std::string configured, why;
    const char* mode() const { return kernel ? "kernel" : "userspace"; }
};

Result<IpsecChoice> choose_ipsec(const config::Config& config);

} // namespace encsync::daemon
