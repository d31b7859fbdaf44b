// SPDX-License-Identifier: ISC
// Starts Debian's charon as a child that can do nothing but think: own empty network namespace,
// own mount namespace with a /run of its own, an unprivileged user, no capabilities, no way to new
// ones, no core dumps, and it dies with us. Its only way out is the channel (channel.hpp).
//
//     Result<CharonProcess> charon = CharonProcess::spawn(options);
//     read(charon->channel.get(), ...);
//
// The caller has to be root, and owns the descriptors. See supervisor.hpp for who uses it.
#pragma once

#include "util/fd.hpp"
#include "util/result.hpp"

#include <chrono>
#include <string>
#include <sys/types.h>

namespace encsync::supervisor {

struct CharonOptions {
    std::string charon = "/usr/lib/ipsec/charon";
    std::string plugin;          // path of libstrongswan-encsync.so
    std::string user = "nobody"; // name; charon runs as this user and its group
    // A peer that does not answer an IKE request for so long is given up.
    std::chrono::seconds dpdtimeout{5};
    bool debug = false; // pass on all of charon's log
};

struct CharonProcess {
    pid_t pid = -1;
    Fd pidfd;   // readable once it has ended
    Fd channel; // our end: SOCK_SEQPACKET, non-blocking
    Fd stderr_; // what it writes on stdout and stderr, non-blocking

    static Result<CharonProcess> spawn(const CharonOptions& options);
};

// strongswan.conf(5) for this charon.
std::string charon_config(const CharonOptions& options);

} // namespace encsync::supervisor
