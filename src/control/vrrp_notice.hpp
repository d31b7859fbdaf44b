// SPDX-License-Identifier: ISC
// A line of keepalived's vrrp_notify_fifo: TYPE "NAME" STATE PRIORITY, as in
//     GROUP "firewall" MASTER 0
//     INSTANCE "inside" BACKUP_PRIORITY 90
#pragma once

#include "util/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace encsync::control {

struct VrrpNotice {
    enum class State : std::uint8_t {
        master,
        backup,
        fault,
        stop,
        deleted,
        none, // no change of state: an advertisement of a lower priority, a new priority
    };
    bool group = false; // else an instance
    std::string name;
    std::string word; // the state in keepalived's words
    State state = State::none;

    // Without the line's end. The error names what is not known.
    static Result<VrrpNotice> parse(std::string_view line);
};

} // namespace encsync::control
