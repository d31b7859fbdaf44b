// SPDX-License-Identifier: ISC
// One UDP socket of the link: opening, and moving many datagrams in few system calls with GSO, GRO,
// sendmmsg and recvmmsg (udp(7)). It never blocks and does not interpret the payload.
#pragma once

#include "util/bytes.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

#include <array>
#include <boost/asio/ip/udp.hpp>
#include <cstddef>
#include <linux/filter.h>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace encsync::link {

using Address = boost::asio::ip::address;
using Endpoint = boost::asio::ip::udp::endpoint;

std::string to_string(const Endpoint& endpoint); // "192.168.1.1:500", "[2001:db8::1]:4500"
bool is_own(const Address& address);             // this machine has it

struct SocketOptions {
    std::size_t buffer_size = std::size_t{16} << 20; // requested, for each direction
    bool gso = true, gro = true;
    // Send with DF. The kernel does not apply an ICMP "fragmentation needed", which can be forged:
    // next_error() returns it instead.
    bool dont_fragment = true;
    // The kernel takes ESP in UDP out (RFC 3948), and has the states for it.
    bool kernel_esp = false;
};

enum class SendStatus {
    sent,
    would_block, // the rest was not sent: wait until writable
    queue_full,  // ENOBUFS, the interface's queue dropped it; no notice when to retry
    too_big,     // EMSGSIZE
    unreachable, // EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, EHOSTDOWN, ENETDOWN
    failed,      // another errno
};
struct SendResult {
    SendStatus status;
    std::size_t packets; // that left
    std::size_t calls;
    int error; // errno, unless sent
};

// An error about a packet sent before, from the socket's error queue (ip(7), IP_RECVERR).
struct PathError {
    Endpoint to;          // where the packet went; of our own kernel's errors without the port
    bool too_big = false; // else: unreachable, prohibited, ...
    bool local = false;   // from our own kernel, not from somewhere on the path
    std::size_t mtu = 0;  // of the hop that it did not fit
    std::array<std::uint8_t, 8> quoted{}; // the packet's first bytes behind the UDP header
    std::size_t quoted_size = 0;
};

// Where received datagrams lie. One for all sockets: contents last until the next receive().
class ReceiveRing {
  public:
    static constexpr std::size_t kMessages = 8, kMessageSize = 65536;
    ReceiveRing();
    ~ReceiveRing();

    struct Message {
        Endpoint from;
        MutableBytes bytes;
        std::size_t segment; // GRO: bytes is datagrams of this size, the last maybe shorter
    };

  private:
    friend class UdpSocket;
    struct Storage;
    std::unique_ptr<Storage> storage_;
};

class UdpSocket {
  public:
    // The filter (filter.hpp) is in place before the first datagram can come. The error names
    // address and port, and the process that uses the port.
    static Result<UdpSocket> open(const Endpoint& local, const SocketOptions& options,
                                  std::span<const sock_filter> filter);
    // Replaces the filter; on error the one before stays.
    Result<void> set_filter(std::span<const sock_filter> filter);
    // Whether the kernel may join datagrams of one length. Without effect on those that are queued,
    // and where it cannot.
    void set_gro(bool joined);
    // Datagrams that the kernel dropped: by the filter or because the receive buffer was full. The
    // kernel does not distinguish the two.
    std::uint64_t kernel_drops() const;

    int fd() const { return fd_.get(); }
    const Endpoint& local() const { return local_; }
    bool gso() const { return gso_; }

    // One recvmmsg: how many messages are in the ring now; negative: -errno (-EAGAIN: none).
    int receive(ReceiveRing& ring);
    static ReceiveRing::Message message(ReceiveRing& ring, int index);

    // Sends packets that are equally long but for the last, which may be shorter, in one call if
    // the kernel does GSO, else in one sendmmsg.
    SendResult send(const Endpoint& to, std::span<const MutableBytes> packets);

    // Empty: no error is queued. One that is not local can be forged.
    std::optional<PathError> next_error();

  private:
    UdpSocket() = default;
    SendResult send_each(const Endpoint& to, std::span<const MutableBytes> packets);

    Fd fd_;
    Endpoint local_;
    bool gso_ = false;
};

} // namespace encsync::link
