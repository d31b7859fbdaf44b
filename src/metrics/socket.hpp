// SPDX-License-Identifier: ISC
// The sockets of the metrics server, of either family.
#pragma once

#include "net/listen.hpp"
#include "util/result.hpp"

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <string>

namespace encsync::metrics {

using Protocol = boost::asio::generic::stream_protocol;
using Executor = boost::asio::io_context::executor_type;
using Acceptor = boost::asio::basic_socket_acceptor<Protocol, Executor>;
using Socket = boost::asio::basic_stream_socket<Protocol, Executor>;

// Fails if another program listens there. A socket file without a listener is replaced.
Result<void> start_listening(Acceptor& acceptor, const net::Listen& listen);
void stop_listening(const net::Listen& listen);

// Who is at the other end: an address without its port, or a user.
std::string client_of(const Socket& socket);

} // namespace encsync::metrics
