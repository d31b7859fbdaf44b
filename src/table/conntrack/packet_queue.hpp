// SPDX-License-Identifier: ISC
// Packets that a rule of the firewall hands over and that wait for a verdict (NFQUEUE,
// linux/netfilter/nfnetlink_queue.h), each with the conntrack entry that it is about to begin.
//
//     auto queue = PacketQueue::open(io, 240);          // Result: says what is missing
//     (*queue)->start([&](std::uint32_t id, const state::Flow* flow) { ... accept(id) ... });
//     (*queue)->accept(id);
//
// The packets themselves are not read. There is one verdict: the packet goes on. It does, too,
// when the queue is full (the kernel sees to that) and when this object goes. While nobody has the
// queue open, the rule's `bypass` lets packets pass.
#pragma once

#include "table/conntrack/ctnetlink_parse.hpp"
#include "util/result.hpp"

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>

namespace encsync::table {

struct PacketQueueCounters {
    std::uint64_t packets = 0;
    std::uint64_t without_flow = 0;                         // not tracked
    std::uint64_t unreadable = 0;                           // messages without an id: none so far
    std::array<std::uint64_t, ctnetlink::kFaults> faults{}; // entries refused
};

class PacketQueue {
  public:
    // flow: the entry as it will be once the packet has left; none if there is none, or none that
    // can be read. Its timeout is not known yet, and 0.
    using OnPacket = std::function<void(std::uint32_t id, const state::Flow* flow)>;

    static Result<std::unique_ptr<PacketQueue>> open(boost::asio::io_context& io,
                                                     std::uint16_t number);
    ~PacketQueue();

    void start(OnPacket on_packet);
    void accept(std::uint32_t id);
    const PacketQueueCounters& counters() const;

  private:
    struct Impl;
    explicit PacketQueue(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace encsync::table
