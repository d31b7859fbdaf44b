// SPDX-License-Identifier: ISC
// The rival of a gateway: it puts each packet of a cable into a UDP datagram to the other site, and
// back. No encryption, no memory, no pace; it looks at nothing.
#pragma once

#include "tests/bench/relay/pfsync_socket.hpp"

namespace encsync::bench {

struct BareOptions {
    Cable cable;
    std::string site, other_site; // addresses
};

// Runs until it is killed.
[[noreturn]] void run_bare(const BareOptions& options);

} // namespace encsync::bench
