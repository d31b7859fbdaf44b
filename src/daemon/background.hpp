// SPDX-License-Identifier: ISC
// How encsyncd becomes a daemon, and what it gives up first.
//
//     daemon::Background background(!foreground);
//     ... open everything ...
//     background.ready();
#pragma once

#include "util/fd.hpp"

namespace encsync::daemon {

// No core dumps and no debugger: this process holds keys.
void keep_secrets_in();

// With `leave` the constructor returns in a child of its own session, while the process that the
// user started waits: it ends with status 0 when ready() is called, or 1 if the child ends before,
// so that a start that fails is seen. From ready() on the log goes to syslog(3). Without `leave`,
// ready() tells the service manager that asked for it (sd_notify(3): NOTIFY_SOCKET).
class Background {
  public:
    explicit Background(bool leave);
    void ready();

  private:
    Fd tell_;
};

} // namespace encsync::daemon
