// SPDX-License-Identifier: ISC
// Finds the process that has a UDP port, for the error message when it is in use.
#pragma once

#include <boost/asio/ip/udp.hpp>
#include <string>

namespace encsync::link {

// "charon (pid 1234)"; empty if /proc does not show it.
std::string udp_port_holder(const boost::asio::ip::udp::endpoint& local);

} // namespace encsync::link
