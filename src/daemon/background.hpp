// SPDX-License-Identifier: ISC
// Makes encsyncd a daemon, without core dumps and debuggers.
//
//     daemon::Background background(!foreground);
//     ... open everything ...
//     background.ready();
#pragma once

#include "util/fd.hpp"

namespace encsync::daemon {

// No core dumps and no debugger: this process holds keys.
void keep_secrets_in();

// With `leave` the constructor returns in a child with a session of its own, while the process that
// the user started waits: it exits with status 0 when ready() is called, or 1 if the child ends
// before, so that a failed start is reported. From ready() on the log goes to syslog(3). Without
// `leave`, ready() notifies the service manager (sd_notify(3): NOTIFY_SOCKET), if there is one.
class Background {
  public:
    explicit Background(bool leave);
    void ready();

  private:
    Fd pipe_;
};

} // namespace encsync::daemon
