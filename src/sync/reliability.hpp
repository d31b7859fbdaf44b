// SPDX-License-Identifier: ISC
// Acknowledgements between two encsync nodes: packets are numbered, and the sender remembers which
// items each packet carried (pfsync/extension.hpp). An old packet is never sent again.
//
// Sender:    number = outstanding.open(now); outstanding.note(item) for each message;
//            outstanding.acknowledge(ack, ...) hands back the items of every lost packet, to be
//            sent again with their present state.
// Receiver:  if (inbox.take(number)) apply the packet; else it counts as lost.
#pragma once

#include "state/index.hpp"
#include "sync/time.hpp"
#include "util/bytes.hpp"
#include "util/histogram.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

namespace encsync::sync {

// What one message to a peer was about.
struct Item {
    enum class Kind : std::uint8_t {
        update,       // UPD_C of slot
        full,         // INS or UPD of slot
        bulk,         // UPD of slot, as part of a bulk update
        removal,      // DEL_C of id
        request,      // UPD_REQ of id
        insert_ack,   // INS_ACK of id
        bulk_request, // UPD_REQ of everything
        bulk_start,
        bulk_end,
        expectation, // EXPECT of slot
        question,    // ASK of node `slot`
        sums,        // SUMS of node `slot`
        list,        // part of the LIST of leaf `slot`
        absent,      // ABSENT of id
    };
    Kind kind = Kind::update;
    std::uint8_t term = 0; // of a removal
    state::Slot slot = state::kNoSlot;
    state::StateId id{};
};

// Packets sent and not yet known to have arrived.
class Outstanding {
  public:
    static constexpr std::size_t kMaxWindow = 1024; // packets
    static constexpr std::size_t kMinWindow = 32;

    // Begins a packet and gives its number; notes belong to the packet opened last.
    std::uint64_t open(Instant now);
    void note(const Item& item);
    // Of those, a change that has waited since then.
    void carries(Instant since);

    bool room() const { return packets_.size() < window_; }
    bool empty() const { return packets_.empty(); }
    std::size_t bulk_items() const { return bulk_items_; }
    // The number of the first packet with items that may not have arrived: all items before it have
    // arrived, or will be sent again in a later packet. If there is none: the packet opened last.
    std::uint64_t first_with_items() const;

    // `since`: the oldest change in its packet has waited since then, or it carried none:
    // Instant::max().
    using Lost = std::function<void(const Item&, Instant since)>;
    // An ACK: `bitmap` as on the wire. Items of lost packets go to `lost`, in the order they were
    // sent. Numbers that were never sent are ignored (false: a peer that lies).
    bool acknowledge(std::uint64_t highest, Bytes bitmap, Instant now, const Lost& lost);

    // When the oldest packet has waited too long; nothing outstanding: Instant::max().
    Instant deadline() const;
    // The peer has started a new session: nothing sent in the old one needs an acknowledgement.
    void forget();
    // Treats all outstanding packets as lost. Items that did arrive are sent twice, which is
    // harmless.
    void expire(const Lost& lost);
    // The path is back after a silence: likewise, but at full speed.
    void resume(const Lost& lost);

    std::uint64_t lost_packets() const { return lost_packets_; }
    // Since when the oldest change waits that is in them. Instant::max(): there is none.
    Instant oldest_change() const;
    // From the oldest change in a packet until that was acknowledged.
    const Histogram& latency() const { return latency_; }

  private:
    struct Packet {
        std::uint64_t number;
        Instant sent;
        std::uint32_t items;            // of items_, in the same order
        Instant since = Instant::max(); // the oldest change in it
    };
    void pop(bool arrived, const Lost& lost);

    std::deque<Packet> packets_;
    std::deque<Item> items_;
    std::uint64_t next_number_ = 1;
    std::size_t window_ = 256;
    std::size_t bulk_items_ = 0;
    Duration round_trip_{std::chrono::milliseconds(20)};
    std::uint32_t backoff_ = 0;
    std::uint64_t lost_packets_ = 0;
    std::uint64_t shrunk_at_ = 0;
    Histogram latency_;
};

// Packets received: which to process, and how to acknowledge them.
class Inbox {
  public:
    static constexpr std::size_t kMaxBits = 1024;

    // False: late or seen before; to be dropped as if it had been lost on the way.
    bool take(std::uint64_t number);
    // Packets taken since the last ack was written.
    std::uint32_t unacknowledged() const { return unacknowledged_; }
    std::uint64_t highest() const { return highest_; }
    // All packets from this one to the highest were taken.
    bool whole(std::uint64_t since) const;

    // Size of the ACK message that write_ack() will write.
    std::size_t ack_size() const;
    void write_ack(std::uint8_t* message, std::uint64_t session);

  private:
    std::size_t bitmap_bytes() const;

    std::uint64_t highest_ = 0;
    // Bit n: packet highest_ - 1 - n was taken.
    std::array<std::uint64_t, kMaxBits / 64> taken_{};
    std::uint32_t unacknowledged_ = 0;
    // An ack reports back to where the one before the last began, so that one lost ack
    // costs nothing.
    std::uint64_t reported_ = 0, reported_before_ = 0;
};

} // namespace encsync::sync
