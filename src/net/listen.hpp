// SPDX-License-Identifier: ISC
// Where a server listens: on a TCP port of one address, or at the path of a unix socket.
//
//     net::Listen on{.path = {}, .tcp = {*net::parse_address("127.0.0.1"), 9240}};
//     to_string(on)                             // "127.0.0.1:9240", "[::1]:9240", "/run/x.sock"
#pragma once

#include "net/address.hpp"

#include <cstddef>
#include <string>

namespace encsync::net {

struct Listen {
    static constexpr std::size_t kMaxPath = 107; // bytes: sockaddr_un

    std::string path;
    Endpoint tcp; // if there is no path; port 0: nowhere

    bool anywhere() const { return !path.empty() || tcp.port != 0; }
    bool operator==(const Listen&) const = default;
};
std::string to_string(const Listen& listen); // empty: nowhere

} // namespace encsync::net
