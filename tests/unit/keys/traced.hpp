// SPDX-License-Identifier: ISC
// Runs an operation in a child process and strikes at one of its system calls that change files:
// a crash before the call, a crash in the middle of a write, or a call that fails. By ptrace(2).
//
//     for (int n = 0;; n++) {
//         const Traced outcome = trace(operation, {Strike::crash, n});
//         if (outcome == Traced::not_reached) break;   // it has fewer such calls, and has ended
//     }
#pragma once

#include <functional>

namespace encsync::keys {

enum class Strike {
    crash, // killed before the call
    torn,  // killed after half of a write: only these are counted
    full,  // the call fails, with ENOSPC, and the operation goes on
};
struct Where {
    Strike strike;
    int call; // the first is 0
};
enum class Traced {
    struck,
    not_reached,
    not_permitted, // to trace at all, here
};
// `operation` returns whether it has succeeded; `succeeded`, if not null, is set to that.
Traced trace(const std::function<bool()>& operation, Where where, bool* succeeded = nullptr);

} // namespace encsync::keys
