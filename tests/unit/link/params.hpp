// SPDX-License-Identifier: ISC
// SAs made by hand, and a network namespace for tests.
#pragma once

#include "ipsec/esp/params.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <sched.h>
#include <string>

namespace encsync::link {

inline esp::SaParams make_params(esp::Direction direction, std::uint32_t spi, PeerId peer = 0,
                                 std::uint8_t key = 1) {
    esp::SaParams params;
    params.spi = spi;
    params.peer = peer;
    params.direction = direction;
    params.esn = true;
    params.inner_src.bytes = {10, 0, 0, 1};
    params.inner_dst.bytes = {10, 0, 0, 2};
    params.keymat_size = 36;
    for (std::uint8_t i = 0; i < 36; i++)
        params.keymat[i] = static_cast<std::uint8_t>(key + i);
    return params;
}

inline void shell(const std::string& command) {
    EXPECT_EQ(0, std::system(command.c_str())) << command;
}

// Moves this process into a new network namespace, which ends with it. For an ordinary user this
// requires a user namespace around it.
inline bool enter_namespace() {
    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return false;
    shell("ip link set lo up");
    return true;
}

} // namespace encsync::link
