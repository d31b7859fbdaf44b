// SPDX-License-Identifier: ISC
#include "config/values.hpp"

#include <fmt/core.h>

namespace encsync::config {

namespace {

constexpr std::string_view kHint = "write 127.0.0.1:9240, [::1]:9240, or the path of a socket";

Verdict read_socket_path(std::string_view text, net::Listen& out) {
    if (text.size() > net::Listen::kMaxPath)
        return Problem{fmt::format("the path has {} bytes; that of a socket has {} at most",
                                   text.size(), net::Listen::kMaxPath),
                       0,
                       {}};
    if (text.back() == '/')
        return Problem{"this names a directory, not a socket in it", text.size() - 1, {}};
    out = {std::string(text), {}};
    return {};
}

Verdict not_to_listen_on(const net::Address& address) {
    if (address.is_multicast())
        return Problem{"this is a multicast address", 0, {}};
    if (address.is_v4_mapped())
        return Problem{"write an IPv4 address as such, not mapped into IPv6", 0, {}};
    if (address.is_link_local())
        return Problem{"a link-local address cannot be listened on", 0, {}};
    return {};
}

} // namespace

Verdict read_listen(std::string_view text, net::Listen& out) {
    if (text[0] == '/')
        return read_socket_path(text, out);
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0)
        return Problem{colon == 0 ? "the address is missing before the ':'"
                                  : fmt::format("'{}' has no port, and is no absolute path", text),
                       0, std::string(kHint)};
    std::string_view host = text.substr(0, colon);
    const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (bracketed)
        host = host.substr(1, host.size() - 2);
    const auto address = net::parse_address(host);
    if (!address)
        return Problem{fmt::format("'{}' is no IP address", host), 0, std::string(kHint)};
    if (address->is_v6() != bracketed)
        return Problem{bracketed ? "an IPv4 address has no brackets"
                                 : "an IPv6 address with a port is written in brackets",
                       0, std::string(kHint)};
    if (Verdict problem = not_to_listen_on(*address))
        return problem;
    std::uint32_t port = 0;
    if (colon + 1 == text.size())
        return Problem{"the port is missing behind the ':'", colon, std::string(kHint)};
    if (Verdict problem = read_number(text.substr(colon + 1), {1, 65535}, port)) {
        problem->offset += colon + 1;
        return problem;
    }
    out = {{}, {*address, static_cast<std::uint16_t>(port)}};
    return {};
}

} // namespace encsync::config
