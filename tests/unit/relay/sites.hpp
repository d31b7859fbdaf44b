// SPDX-License-Identifier: ISC
// Sites with a gateway and a firewall each, without any network: packets wait on a wire until they
// are delivered, and may be lost there.
#pragma once

#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "relay/relay.hpp"

#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace encsync::relay {

using Data = std::vector<std::uint8_t>;

// A firewall's end of a cable: the states it has been told of, by id, and what else it received.
struct Firewall {
    std::size_t names = 0;                 // of gateways, which mean nothing to it
    std::map<state::StateId, Data> states; // full state messages
    std::vector<std::pair<pfsync::Kind, Data>> received;

    std::size_t count(pfsync::Kind kind) const {
        std::size_t n = 0;
        for (const auto& each : received)
            n += each.first == kind ? 1 : 0;
        return n;
    }
};

class Sites {
  public:
    static constexpr PeerId kCable = 0; // of each gateway; gateway n is peer n + 1 of the others

    struct Site final : sync::Link {
        MutableBytes acquire(PeerId peer) override {
            if (free[peer] == 0)
                return {};
            buffer.assign(1400, 0xee);
            return buffer;
        }
        void commit(PeerId peer, std::size_t size) override {
            if (size == 0)
                return;
            free[peer]--;
            buffer.resize(size);
            wire.emplace_back(peer, buffer);
        }
        void flush() override {}

        std::unique_ptr<Relay> relay;
        Firewall firewall;
        std::deque<std::pair<PeerId, Data>> wire;
        Data buffer;
        std::array<std::size_t, kMaxPeers> free;
        bool up = true;
        std::size_t sent_to_cable = 0;     // packets
        std::optional<std::size_t> joined; // its cable is that of this site, too
    };

    explicit Sites(std::size_t count, pfsync::Dialect dialect = pfsync::Dialect::openbsd)
        : dialect_(dialect), sites(count) {
        for (std::size_t n = 0; n < count; n++)
            start(n);
        connect_all();
        run(std::chrono::seconds(3));
        for (Site& site : sites)
            site.firewall.received.clear();
    }

    // A new relay, which knows nothing.
    void start(std::size_t n, Options options = {}) {
        Site& site = sites[n];
        site.free.fill(1'000'000);
        site.wire.clear();
        options.session = ++sessions_;
        options.creatorid = static_cast<std::uint32_t>(n + 1);
        site.relay = std::make_unique<Relay>(site, options);
        site.relay->advance(now);
        site.relay->add(kCable, Side::cable, dialect_, limit);
        for (std::size_t other = 0; other < sites.size(); other++)
            if (other != n)
                site.relay->add(static_cast<PeerId>(other + 1), Side::gateway, dialect_, 0);
        site.relay->on_up(kCable);
    }
    void connect_all() {
        for (std::size_t a = 0; a < sites.size(); a++)
            for (std::size_t b = 0; b < a; b++)
                connect(a, b, true);
    }
    void connect(std::size_t a, std::size_t b, bool up) {
        for (const auto& [here, there] : {std::pair(a, b), std::pair(b, a)}) {
            const auto peer = static_cast<PeerId>(there + 1);
            up ? sites[here].relay->on_up(peer) : sites[here].relay->on_down(peer);
        }
    }

    // What a firewall sends on its cable.
    void say(std::size_t n, const std::vector<std::pair<pfsync::Kind, Data>>& messages) {
        for (std::size_t at = 0; at < messages.size();) {
            Data buffer(1400);
            pfsync::Builder packet(buffer, dialect_);
            for (; at < messages.size(); at++) {
                const auto action = *pfsync::action_of(dialect_, messages[at].first);
                std::uint8_t* m = packet.add(action, messages[at].second.size());
                if (m == nullptr)
                    break;
                std::ranges::copy(messages[at].second, m);
            }
            buffer.resize(packet.finish());
            sites[n].relay->on_packet(kCable, buffer);
            turn();
        }
    }

    // One turn of every gateway, and all packets delivered, but for those that lose() takes.
    void turn() {
        for (Site& site : sites)
            if (site.up)
                while (site.relay->flush()) {
                }
        for (bool any = true; any;) {
            any = false;
            for (std::size_t n = 0; n < sites.size(); n++)
                while (!sites[n].wire.empty()) {
                    any = true;
                    const auto [peer, packet] = std::move(sites[n].wire.front());
                    sites[n].wire.pop_front();
                    deliver(n, peer, packet);
                }
            for (Site& site : sites)
                if (site.up)
                    while (site.relay->flush()) {
                    }
        }
    }
    void run(sync::Duration time, sync::Duration step = std::chrono::milliseconds(50)) {
        for (const sync::Instant end = now + time; now < end;) {
            now += step;
            for (Site& site : sites)
                if (site.up)
                    site.relay->advance(now);
            turn();
        }
    }

    Data full(std::uint64_t id, std::uint32_t creatorid, std::uint32_t seqlo = 1000,
              std::uint32_t expire = 3600) const {
        state::Flow flow;
        flow.id = {id, creatorid};
        flow.key.proto = 6;
        flow.key.orig.src.bytes = {10, 0, static_cast<std::uint8_t>(id >> 8),
                                   static_cast<std::uint8_t>(id)};
        flow.key.orig.dst.bytes = {192, 0, 2, 1};
        flow.key.orig.sport = static_cast<std::uint16_t>(1024 + id % 60000);
        flow.key.orig.dport = 443;
        flow.reply = state::inverse(flow.key);
        flow.src_state = flow.dst_state = state::tcp::kEstablished;
        flow.timeout = expire;
        Data side(pfsync::common::peer::size);
        store_be(&side[pfsync::common::peer::seqlo], seqlo);
        side[pfsync::common::peer::state] = state::tcp::kEstablished;
        pfsync::StateOptions options;
        options.src = options.dst = side;
        Data m(pfsync::state_size(dialect_));
        pfsync::write_state(dialect_, m.data(), flow, options);
        return m;
    }
    Data update(std::uint64_t id, std::uint32_t creatorid, std::uint32_t seqlo) const {
        Data m(pfsync::common::kUpdCSize);
        store_be(&m[pfsync::common::upd_c::id], id);
        store_be(&m[pfsync::common::upd_c::creatorid], creatorid);
        for (const auto side : {pfsync::common::upd_c::src, pfsync::common::upd_c::dst}) {
            store_be(&m[side + pfsync::common::peer::seqlo], seqlo);
            m[side + pfsync::common::peer::state] = state::tcp::kEstablished;
        }
        m[pfsync::common::upd_c::timeout] = 2;
        return m;
    }
    static Data name(std::uint64_t id, std::uint32_t creatorid) {
        Data m(pfsync::common::kIdSize);
        pfsync::write_id(m.data(), {id, creatorid});
        return m;
    }
    void create(std::size_t n, std::uint64_t first, std::size_t count, std::uint32_t creatorid) {
        std::vector<std::pair<pfsync::Kind, Data>> messages;
        for (std::uint64_t id = first; id < first + count; id++)
            messages.emplace_back(pfsync::Kind::insert, full(id, creatorid));
        say(n, messages);
    }
    static std::set<state::StateId> ids(const StateStore& store) {
        std::set<state::StateId> out;
        for (Slot slot = store.next(kNoSlot); slot != kNoSlot; slot = store.next(slot))
            out.insert(store.id(slot));
        return out;
    }
    std::set<state::StateId> ids(std::size_t n) const { return ids(sites[n].relay->store()); }
    Relay& relay(std::size_t n) { return *sites[n].relay; }

    // From a gateway (by number), to a peer of it: whether the packet is lost.
    std::function<bool(std::size_t, PeerId)> lose = [](std::size_t, PeerId) { return false; };
    bool nameless = false; // what a gateway says of itself gets lost on cables
    std::size_t limit = 0; // of what comes from a firewall, for relays that start
    sync::Instant now{std::chrono::hours(1)};

  private:
    void deliver(std::size_t from, PeerId to, const Data& packet) {
        if (to == kCable) {
            sites[from].sent_to_cable++;
            receive(sites[from].firewall, packet);
            if (sites[from].joined)
                sites[*sites[from].joined].relay->on_packet(kCable, nameless ? without_names(packet)
                                                                             : packet);
            return;
        }
        Site& other = sites[std::size_t{to} - 1];
        if (other.up && !lose(from, to))
            other.relay->on_packet(static_cast<PeerId>(from + 1), packet);
    }
    static bool is_name(pfsync::Kind kind, Bytes message) {
        return kind == pfsync::Kind::insert_ack &&
               pfsync::read_id(message).creatorid == pfsync::extension::kGatewayName;
    }
    Data without_names(const Data& packet) const {
        Data buffer(1400);
        pfsync::Builder out(buffer, dialect_);
        pfsync::Parser parser(packet, dialect_);
        while (const pfsync::Section* s = parser.next())
            for (std::uint16_t n = 0; n < s->count && s->stride != 0; n++)
                if (!is_name(s->kind, s->message(n)))
                    std::ranges::copy(s->message(n), out.add(s->action, s->stride));
        buffer.resize(out.finish());
        return buffer;
    }
    void receive(Firewall& firewall, const Data& packet) const {
        EXPECT_EQ(pfsync::check(packet, dialect_), pfsync::Fault::none);
        pfsync::Parser parser(packet, dialect_);
        while (const pfsync::Section* s = parser.next())
            for (std::uint16_t n = 0; n < s->count && s->stride != 0; n++) {
                const Data m(s->message(n).begin(), s->message(n).end());
                if (is_name(s->kind, m)) {
                    firewall.names++;
                    continue;
                }
                firewall.received.emplace_back(s->kind, m);
                const pfsync::Layout& layout = pfsync::traits(dialect_).state;
                if (s->kind == pfsync::Kind::insert || s->kind == pfsync::Kind::update)
                    firewall.states[{load_be<std::uint64_t>(&m[layout.id]),
                                     load_be<std::uint32_t>(&m[layout.creatorid])}] = m;
                else if (s->kind == pfsync::Kind::remove_c)
                    firewall.states.erase(pfsync::read_id(m));
            }
        EXPECT_EQ(parser.fault(), pfsync::Fault::none);
    }

    pfsync::Dialect dialect_;
    std::uint64_t sessions_ = 0;

  public:
    std::vector<Site> sites;
};

} // namespace encsync::relay
