// SPDX-License-Identifier: ISC
#include "net/listen.hpp"

namespace encsync::net {

std::string to_string(const Listen& listen) {
    if (!listen.path.empty() || !listen.anywhere())
        return listen.path;
    const std::string address = to_string(listen.tcp.address);
    return (listen.tcp.address.is_v6() ? '[' + address + ']' : address) + ':' +
           std::to_string(listen.tcp.port);
}

} // namespace encsync::net
