// SPDX-License-Identifier: ISC
// Packets that a rule of the firewall queues for a verdict (NFQUEUE,
// linux/netfilter/nfnetlink_queue.h), each with the conntrack entry that it will create.
//
//     auto queue = PacketQueue::open(io, 240);          // Result: says what is missing
//     (*queue)->start([&](std::uint32_t id, const state::Flow* flow) { ... accept(id) ... });
//     (*queue)->accept(id);
//
// The packets themselves are not read. The only verdict is accept. Packets are also accepted when
// the queue is full (by the kernel) and when this object is destroyed. While no program has the
// queue open, the rule's `bypass` lets packets pass.
#pragma once

#include "table/conntrack/ctnetlink_parse.hpp"
#include "util/counters.hpp"
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
    std::uint64_t unreadable = 0;                           // messages without an id
    std::array<std::uint64_t, ctnetlink::kFaults> faults{}; // entries refused
};
inline constexpr std::array kPacketQueueCounters = {
    counters::value<&PacketQueueCounters::packets>("defer", "packets", "packets",
                                                   "Packets that the NFQUEUE delivered"),
    counters::value<&PacketQueueCounters::without_flow>("", "queued_without_flow", "packets",
                                                        "Packets of the NFQUEUE without an entry"),
    counters::value<&PacketQueueCounters::unreadable>("", "queue_unreadable", "messages",
                                                      "Messages of the NFQUEUE without an id"),
    counters::by<&PacketQueueCounters::faults, ctnetlink::Fault>(
        "defer", "faults", "entries", "Entries of the NFQUEUE that could not be read", "fault",
        counters::Shape::object, true, 1),
};

class PacketQueue {
  public:
    // flow: the entry as it will be once the packet has been sent; null if there is none, or if it
    // cannot be read. Its timeout is not known yet, and 0.
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
