// SPDX-License-Identifier: ISC
// What a process may still do after it has confined itself: a child does so and tries one action.
//
//     EXPECT_EQ(trial::outcome(confined, action), EPERM);
//     EXPECT_EQ(trial::outcome([] { return true; }, action), 0);    // control: unconfined
#pragma once

#include <cerrno>
#include <csignal>
#include <functional>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace encsync::trial {

inline constexpr int kKilled = -SIGSYS;
inline constexpr int kNotConfined = 200;

// The errno of the action (0: it worked); kKilled; kNotConfined.
inline int outcome(const std::function<bool()>& confine, const std::function<bool()>& action) {
    const pid_t child = ::fork();
    if (child == 0) {
        const rlimit none{0, 0};
        ::setrlimit(RLIMIT_CORE, &none);
        if (!confine())
            ::_exit(kNotConfined);
        errno = 0;
        ::_exit(action() ? 0 : errno);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace encsync::trial
