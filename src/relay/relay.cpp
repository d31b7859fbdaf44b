// SPDX-License-Identifier: ISC
#include "relay/relay.hpp"

#include "pfsync/build.hpp"

#include <algorithm>
#include <utility>

namespace encsync::relay {

namespace {

constexpr std::size_t kEntryHeader = 3; // in a queue: action, size

} // namespace

template<class Each>
void Relay::each(Side side, Each&& action) {
    for (auto& leg : legs_)
        if (leg && leg->side == side)
            action(*leg);
}

void Relay::add(PeerId peer, Side side) {
    Leg leg;
    leg.side = side;
    legs_[peer] = std::move(leg);
}

void Relay::remove(PeerId peer) {
    legs_[peer].reset();
}

// ---- up and down ---------------------------------------------------------------------------

void Relay::on_up(PeerId peer) {
    Leg& leg = *legs_[peer];
    leg.up = true;
    // The gateway there asks its own firewall for us.
    each(Side::cable, [&](Leg& cable) {
        if (leg.side == Side::gateway || &cable == &leg)
            request_bulk(cable);
    });
    if (leg.side == Side::cable)
        each(Side::gateway, [&](Leg& gateway) { request_bulk(gateway); });
}

void Relay::on_down(PeerId peer) {
    Leg& leg = *legs_[peer];
    leg.up = false;
    leg.queue.clear();
    leg.sent = 0;
}

// UPD_REQ of no state in particular: all of them.
void Relay::request_bulk(Leg& leg) {
    const std::array<std::uint8_t, 12> everything{};
    if (leg.up)
        enqueue(leg, *pfsync::action_of(dialect_, pfsync::Kind::request), everything);
}

std::optional<Relay::Unready> Relay::unready() const {
    bool gateway = false;
    for (PeerId peer = 0; peer < kMaxPeers; peer++) {
        const auto& leg = legs_[peer];
        if (leg && leg->side == Side::cable && !leg->up)
            return Unready{peer};
        gateway = gateway || (leg && leg->side == Side::gateway && leg->up);
    }
    return gateway ? std::nullopt : std::optional(Unready{});
}

const LegCounters& Relay::counters(PeerId peer) const {
    return legs_[peer]->counters;
}

std::size_t Relay::waiting(PeerId peer) const {
    return legs_[peer]->queue.size() - legs_[peer]->sent;
}

// ---- messages ------------------------------------------------------------------------------

void Relay::on_packet(PeerId from, Bytes payload) {
    Leg& sender = *legs_[from];
    const Side to = sender.side == Side::cable ? Side::gateway : Side::cable;
    pfsync::Parser parser(payload, dialect_);
    while (const pfsync::Section* section = parser.next()) {
        if (section->kind == pfsync::Kind::eof || section->stride == 0)
            continue; // each packet gets its own
        for (std::uint16_t n = 0; n < section->count; n++) {
            sender.counters.received++;
            each(to, [&](Leg& leg) { enqueue(leg, section->action, section->message(n)); });
        }
    }
}

void Relay::enqueue(Leg& leg, std::uint8_t action, Bytes message) {
    if (!leg.up) {
        leg.counters.leg_down++;
        return;
    }
    if (leg.queue.size() - leg.sent + kEntryHeader + message.size() > kMaxWaiting) {
        leg.counters.queue_full++;
        return;
    }
    leg.queue.push_back(action);
    leg.queue.push_back(static_cast<std::uint8_t>(message.size() >> 8));
    leg.queue.push_back(static_cast<std::uint8_t>(message.size()));
    leg.queue.insert(leg.queue.end(), message.begin(), message.end());
}

// ---- sending -------------------------------------------------------------------------------

void Relay::flush() {
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        if (auto& leg = legs_[peer]; leg && leg->up)
            send(peer, *leg);
    link_.flush();
}

void Relay::send(PeerId peer, Leg& leg) {
    while (leg.sent < leg.queue.size() && send_packet(peer, leg)) {
    }
    // Moving the rest costs at most what has been sent.
    if (leg.sent * 2 >= leg.queue.size()) {
        leg.queue.erase(leg.queue.begin(),
                        leg.queue.begin() + static_cast<std::ptrdiff_t>(leg.sent));
        leg.sent = 0;
    }
}

// One packet of what waits. False: the link has no room.
bool Relay::send_packet(PeerId peer, Leg& leg) {
    const MutableBytes room = link_.acquire(peer);
    if (room.empty())
        return false;
    pfsync::Builder packet(room, dialect_);
    while (leg.sent < leg.queue.size()) {
        const std::uint8_t* entry = &leg.queue[leg.sent];
        const std::size_t size = load_be<std::uint16_t>(entry + 1);
        std::uint8_t* m = packet.add(entry[0], size);
        if (m == nullptr && !packet.empty())
            break;
        if (m == nullptr)
            leg.counters.too_large++;
        else
            std::copy_n(entry + kEntryHeader, size, m);
        leg.counters.relayed += m != nullptr ? 1 : 0;
        leg.sent += kEntryHeader + size;
    }
    link_.commit(peer, packet.empty() ? 0 : packet.finish());
    return true;
}

} // namespace encsync::relay
