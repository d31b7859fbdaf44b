// SPDX-License-Identifier: ISC
// The start time of a request for a role. Requests come from processes that may overtake one
// another; the one started last counts, even if it does not arrive last.
//
//     request["order"] = control::RoleOrder::of_caller().text();
//     if (order.before(last)) ...    // overtaken
#pragma once

#include "util/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace encsync::control {

struct RoleOrder {
    std::uint64_t ticks = 0; // clock ticks since boot, as in proc_pid_stat(5)
    std::uint32_t pid = 0;   // distinguishes processes that were forked within one tick

    static RoleOrder now();
    // When this process was forked; of a script of keepalived, when keepalived forked that.
    static RoleOrder of_caller();
    // "123456 4711", and nothing else.
    static Result<RoleOrder> parse(std::string_view text);

    std::string text() const;
    bool before(const RoleOrder& other) const;
    bool operator==(const RoleOrder&) const = default;
};

// The keepalived that has started this process, or the script around it. None: started by another
// program.
std::optional<pid_t> started_by_keepalived();
// False for a process that is exiting, some time before its files are closed.
bool is_keepalived(pid_t pid);

} // namespace encsync::control
