// SPDX-License-Identifier: ISC
// Relays pfsync between the pf firewalls on this node's cables and the gateways of other sites,
// which have theirs. A message goes from one side to every leg of the other side, byte for byte:
// never back to where it came from, nor from one gateway to the next, so gateways are meshed and
// nothing loops. Packets are taken apart and put together again, as each leg has its own MTU;
// messages keep their order.
//
//     Relay relay(link, pfsync::Dialect::openbsd);
//     relay.add(0, Side::cable);   relay.add(1, Side::gateway);
//     relay.on_up(0);              // and so on
//     relay.on_packet(0, payload); // checked by the policy
//     relay.flush();               // at the end of a turn
//
// What a leg cannot take at once waits, up to kMaxWaiting bytes; what finds no room there, or
// comes while the leg is down, is lost and counted. A leg that comes up gets everything: the
// firewalls of the other side are asked for a bulk update, and one on a cable that comes up is
// asked, too. No I/O of its own and no clock.
#pragma once

#include "pfsync/parse.hpp"
#include "sync/link.hpp"
#include "util/counters.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace encsync::relay {

enum class Side : std::uint8_t { cable, gateway };

inline constexpr std::size_t kMaxWaiting = std::size_t{16} << 20; // bytes of messages, of one leg

struct LegCounters {
    std::uint64_t received = 0, relayed = 0; // messages from it, and to it
    std::uint64_t queue_full = 0;            // messages to it that were lost: too many waited
    std::uint64_t leg_down = 0;              // likewise: it was down
    std::uint64_t too_large = 0;             // likewise: larger than a packet to it may be
};
inline constexpr std::array kLegCounters = {
    counters::value<&LegCounters::received>("relay", "received", "messages",
                                            "Messages received to be relayed"),
    counters::value<&LegCounters::relayed>("relay", "relayed", "messages",
                                           "Messages relayed to this leg"),
    counters::value<&LegCounters::queue_full>("relay", "queue_full", "messages",
                                              "Messages lost because too many waited for the leg"),
    counters::value<&LegCounters::leg_down>("relay", "leg_down", "messages",
                                            "Messages lost because the leg was down"),
    counters::value<&LegCounters::too_large>(
        "relay", "too_large", "messages", "Messages lost because no packet to the leg holds them"),
};

class Relay {
  public:
    // `link` outlives it. All legs speak `dialect`.
    Relay(sync::Link& link, pfsync::Dialect dialect) : link_(link), dialect_(dialect) {}

    pfsync::Dialect dialect() const { return dialect_; }
    void add(PeerId peer, Side side);
    void remove(PeerId peer);
    void on_up(PeerId peer);
    void on_down(PeerId peer);
    void on_packet(PeerId from, Bytes payload);
    // Sends what waits, as far as the link takes it.
    void flush();

    // All cables are up, and a gateway is; otherwise `why`, with the leg as the number of its peer.
    struct Unready {
        PeerId peer = kNoPeer; // a cable that is down; kNoPeer: no gateway is up
    };
    std::optional<Unready> unready() const;
    const LegCounters& counters(PeerId peer) const; // of a leg
    std::size_t waiting(PeerId peer) const;         // bytes

  private:
    struct Leg {
        Side side = Side::cable;
        bool up = false;
        LegCounters counters;
        // Messages as they were received: action, size (2 bytes), the message. From `sent` on.
        std::vector<std::uint8_t> queue;
        std::size_t sent = 0;
    };
    template<class Each>
    void each(Side side, Each&& action);
    void enqueue(Leg& leg, std::uint8_t action, Bytes message);
    void request_bulk(Leg& leg);
    void send(PeerId peer, Leg& leg);
    bool send_packet(PeerId peer, Leg& leg);

    sync::Link& link_;
    const pfsync::Dialect dialect_;
    std::array<std::optional<Leg>, kMaxPeers> legs_;
};

} // namespace encsync::relay
