// SPDX-License-Identifier: ISC
// Who does ESP: what `ipsec=` says, or with `auto` whoever can.
//
//     auto choice = choose_ipsec(config);     // the error says what is lacking
//     log::notice("ipsec: {}, {}", choice->mode(), choice->why);
//
// `auto` takes userspace where it can: it asks nothing of the kernel but a TUN device, charon stays
// without a network either way, a batch of packets costs one system call instead of one each, and
// sizes are hidden. The kernel's is for where there is no TUN device, and for those who want to see
// the SAs with ip-xfrm(8) and the packets in their ruleset.
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
