// SPDX-License-Identifier: ISC
// Starts Debian's charon as a confined child: own empty network namespace, own mount namespace with
// its own /run, an unprivileged user, no capabilities and no way to get any, no core dumps, and it
// is killed when we end. Its only connection is the channel (channel.hpp).
//
//     Result<CharonLauncher> launcher = CharonLauncher::open(options);    // as root
//     Result<CharonProcess> charon = launcher->launch();                  // without privileges
//
// The launcher is a process that has already entered these namespaces and dropped all privileges;
// each charon is its child. So once it runs, starting or ending a charon needs no privilege. It is
// forked from this process: open it before there are secrets.
#pragma once

#include "util/fd.hpp"
#include "util/result.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <sys/types.h>

namespace encsync::supervisor {

struct CharonOptions {
    std::string charon = "/usr/lib/ipsec/charon";
    std::string plugin; // path of libstrongswan-encsync.so
    std::string user;   // name, or empty: charon_user.hpp
    // A peer that does not answer an IKE request for this long counts as dead.
    std::chrono::seconds dpdtimeout{5};
    bool debug = false; // pass on all of charon's log
};

struct CharonProcess {
    pid_t pid = -1;
    Fd pidfd;   // readable once it has ended
    Fd channel; // our end: SOCK_SEQPACKET, non-blocking
    Fd stderr_; // what it writes on stdout and stderr, non-blocking
};

class CharonLauncher {
  public:
    static Result<CharonLauncher> open(const CharonOptions& options);
    CharonLauncher(CharonLauncher&& other) noexcept;
    CharonLauncher& operator=(CharonLauncher&&) = delete;
    ~CharonLauncher(); // charon, if it still runs, is killed, and is gone on return

    // One at a time. The caller owns the descriptors.
    Result<CharonProcess> launch();
    // SIGKILL to the one that runs; its end is seen by its pidfd.
    void kill();
    // The wait status of the one that was launched last, once it has ended. None: not known.
    std::optional<int> wait();

  private:
    CharonLauncher() = default;
    pid_t pid_ = -1;
    Fd socket_;
};

// strongswan.conf(5) for this charon.
std::string charon_config(const CharonOptions& options);

} // namespace encsync::supervisor
