// SPDX-License-Identifier: ISC
// pfsync packets through a raw socket (raw(7)) of one peer, bound to one interface: KernelLink's,
// whose interface leads into the tunnel, and those of cables.
//
//     auto socket = RawSocket::open(io, {"enc0", left, right}, owner, buffer, stats, 1500 - 20);
//     MutableBytes room = (*socket)->acquire();       // and so on: sync/link.hpp
//
// The kernel delivers only packets from `right` to `left` (or to the group) that came in through
// the interface; anything else about them is the policy's to check, also who sent them if there is
// no `right`. Packets that arrive are given
// with their IP header, which raw sockets of IPv6 do not deliver: it is made from what the kernel
// says. Packets leave with TTL 255 and DF.
#pragma once

#include "ipsec/link/socket.hpp"
#include "ipsec/link/stats.hpp"

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace encsync::link {

struct RawEnds {
    std::string interface;
    Address left;                 // the source of packets to the group, too
    std::optional<Address> right; // of the same family; none: anyone, if there is a group
    // Packets go to this multicast group, and are received if they are to it.
    std::optional<Address> group{};
};

class RawSocket final : public std::enable_shared_from_this<RawSocket> {
  public:
    using Clock = std::chrono::steady_clock;

    class Owner {
      public:
        virtual ~Owner() = default;
        // A packet from its IP header on; valid during the call.
        virtual void on_raw_packet(PeerId peer, Bytes packet) = 0;
        // After a refused acquire(): there is space again.
        virtual void on_raw_writable(PeerId peer) = 0;
    };
    // What packets are received into; any number of sockets of one thread share it.
    class Buffer;
    static std::shared_ptr<Buffer> make_buffer();

    struct Options {
        PeerId peer = kNoPeer;
        std::uint16_t mtu = 1500;    // as shown: of the path, for a payload of `largest`
        std::size_t largest = 0;     // payload that the path carries, at least sync::kMinRoom
        std::size_t buffer_size = 0; // of the socket
    };

    // Owner and stats outlive it. The error names what failed.
    static Result<std::shared_ptr<RawSocket>> open(boost::asio::io_context& io, const RawEnds& ends,
                                                   const Options& options, Owner& owner,
                                                   std::shared_ptr<Buffer> buffer,
                                                   PeerStats& stats);
    ~RawSocket();

    // Nothing is called back any more.
    void close();
    // The interface was made again: it has another index.
    Result<void> rebind();

    MutableBytes acquire();
    void commit(std::size_t size);
    void flush();
    // What was committed and has not left. Returns the number of packets.
    std::size_t drop();
    // Now and then: a small MTU that the kernel reported is believed for ten minutes.
    void age(Clock::time_point now);
    // Packets that the kernel dropped because they came faster than they were read.
    std::uint64_t kernel_drops();

  private:
    static constexpr std::size_t kBatch = 64; // packets in one system call

    RawSocket(boost::asio::io_context& io, const RawEnds& ends, const Options& options,
              Owner& owner, std::shared_ptr<Buffer> buffer, PeerStats& stats);
    Result<void> make();
    std::uint8_t* slot(std::size_t i) { return slots_.data() + i * options_.largest; }
    void send();
    int path_mtu();
    void too_big_for_path();
    void wait_for_room(bool queue_full);
    void on_room();
    void wait_readable();
    void receive();

    const RawEnds ends_;
    const Options options_;
    const bool ipv6_;
    Owner& owner_;
    const std::shared_ptr<Buffer> buffer_;
    PeerStats& stats_;
    boost::asio::posix::stream_descriptor socket_;
    boost::asio::steady_timer retry_;
    Endpoint group_;                                          // where packets go, if to a group
    std::size_t room_;                                        // payload that fits now
    Clock::time_point room_until_ = Clock::time_point::max(); // then it is `largest` again

    // A batch is filled (acquire, commit) and leaves with flush(). While the socket is full the
    // rest of it stays, and acquire() refuses.
    std::vector<std::uint8_t> slots_;
    std::array<std::size_t, kBatch> sizes_{};
    std::size_t committed_ = 0, sent_ = 0;
    bool lent_ = false;
    bool refused_ = false; // acquire() refused: on_raw_writable must follow
    bool blocked_ = false; // the socket is full
};

} // namespace encsync::link
