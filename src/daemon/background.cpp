#include "daemon/background.hpp"

#include "util/log.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace encsync::daemon {

void keep_secrets_in() {
    ::prctl(PR_SET_DUMPABLE, 0);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

Background::Background(bool leave) {
    int ends[2];
    if (!leave || ::pipe2(ends, O_CLOEXEC) != 0)
        return;
    Fd listen(ends[0]);
    tell_.reset(ends[1]);
    const pid_t child = ::fork();
    if (child > 0) {
        tell_.reset();
        char byte = 0;
        ::_exit(::read(listen.get(), &byte, 1) == 1 ? 0 : 1);
    }
    ::setsid();
}

void Background::ready() {
    if (!tell_)
        return;
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        ::dup2(null.get(), fd);
    log::to_syslog();
    const char byte = 1;
    [[maybe_unused]] const auto written = ::write(tell_.get(), &byte, 1);
    tell_.reset();
}

} // namespace encsync::daemon
