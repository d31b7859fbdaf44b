// SPDX-License-Identifier: ISC
// One engine between a table and a link that record its operations and packets, and peers that send
// whatever a test wants.
//
//     Rig rig;                                  // two peers; rig.options before rig.start()
//     rig.start();
//     rig.greet(0);                             // hello, and a whole bulk update
//     rig.send(0, [&](Packet& p) { p.full(flow(1), {.live = true}); });
//     EXPECT_EQ(rig.sent_to(0), "UPD_REQ ...");   // what the engine has sent since
#pragma once

#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "sync/engine.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace encsync::sync::test {

using namespace std::chrono_literals;

inline constexpr std::uint32_t kOurs = 0x1000; // our creatorid; peer n's is kPeer + n
inline constexpr std::uint32_t kPeer = 0x2000;

class RecordingTable : public table::Table {
  public:
    struct Op {
        // 'p'ut, re'f'resh, re'm'ove, 'l'ook, 'e'xpect, 'u'nexpect (key: of the expectation)
        char what;
        state::Key key;
        table::Lifetime lifetime = table::Lifetime::natural;
        std::uint8_t src_state = 0, dst_state = 0;
    };
    std::vector<Op> ops;
    std::vector<std::uint16_t> relaxed; // ports
    unsigned dumps = 0;
    bool left = false; // the address that replies go to has been removed
    std::function<void(const state::Flow&)> on_look; // answers
    // The table's answer about an expectation.
    std::function<bool(const state::Expectation&)> has = [](const auto&) { return true; };
    std::set<std::uint16_t> local; // ports of flows that are this machine's own

    void start(table::Listener&) override {}
    void put(const state::Flow& f, table::Lifetime l) override {
        ops.push_back({'p', f.key, l, f.src_state, f.dst_state});
    }
    void refresh(const state::Flow& f, table::Lifetime l) override {
        ops.push_back({'f', f.key, l, f.src_state, f.dst_state});
    }
    void relax(const state::Flow& f) override { relaxed.push_back(f.key.orig.sport); }
    void remove(const state::Flow& f) override { ops.push_back({'m', f.key}); }
    void look(const state::Flow& f) override {
        ops.push_back({'l', f.key});
        if (on_look)
            on_look(f);
    }
    void expect(const state::Expectation& e, const state::Name&) override {
        ops.push_back({'e', {e.tuple, 0, e.proto, e.master.family}});
    }
    void unexpect(const state::Expectation& e) override {
        ops.push_back({'u', {e.tuple, 0, e.proto, e.master.family}});
    }
    bool expects(const state::Expectation& e) override { return has(e); }
    void flush() override {}
    void request_dump() override { dumps++; }
    std::optional<table::Ignored> refuses(const state::Flow& f) const override {
        return local.contains(f.key.orig.sport) ? std::optional(table::Ignored::local)
                                                : std::nullopt;
    }
    bool address_left(const state::Flow&) const override { return left; }
    std::uint32_t natural_timeout(const state::Flow&) const override { return 100; }
    // "put 1 copy 4:4, remove 2, expect to 3": the operations since the last call, with ports.
    std::string take();
};

class RecordingLink : public sync::Link {
  public:
    std::vector<std::pair<PeerId, std::vector<std::uint8_t>>> sent;
    bool writable = true;

    MutableBytes acquire(PeerId) override {
        return writable ? MutableBytes(room_) : MutableBytes();
    }
    void commit(PeerId peer, std::size_t size) override {
        if (size != 0)
            sent.emplace_back(peer,
                              std::vector(room_.begin(), room_.begin() + static_cast<long>(size)));
    }
    void flush() override {}

  private:
    std::array<std::uint8_t, 1400> room_{};
};

struct Tail {
    bool tail = true, live = true;
    std::uint8_t term = 0;
    bool wants_ack = false;
    bool more = false; // the flow's extras
    std::uint8_t expectations = 0;
    bool elsewhere = false; // a third node's
};

struct Greeting {
    std::uint64_t session = 77, peer_session = 0;
    std::uint32_t creatorid = kPeer;
    std::uint8_t role = 0, flags = 0;
    std::uint64_t live = 0;
    std::uint16_t version = 1;
};

class Packet {
  public:
    Packet& hello(const Greeting& g);
    Packet& seq(std::uint64_t number, std::uint64_t session = 77);
    Packet& ack(std::uint64_t highest, std::uint64_t session, std::uint32_t bitmap = UINT32_MAX);
    Packet& full(const state::Flow& flow, Tail tail = {}, bool insert = true);
    Packet& update(const state::Flow& flow);
    Packet& expect(state::StateId master, std::uint8_t index, std::uint8_t count,
                   const state::Expectation& e);
    Packet& id(pfsync::Kind kind, state::StateId id);
    Packet& removal(state::StateId id, std::uint8_t term = 0);
    Packet& clear(std::uint32_t creatorid, const char* ifname = "");
    Packet& bulk(bool end);
    Packet& root(std::uint64_t since, std::uint64_t sum, std::uint64_t count);
    Packet& ask(std::uint32_t node);
    Packet& sums(std::uint32_t node, const Digest::Sums& children);
    // id and check of each flow
    Packet& list(std::uint32_t leaf, unsigned part, bool last,
                 const std::vector<std::pair<state::StateId, std::uint64_t>>& flows);
    Packet& absent(state::StateId id, std::uint64_t since);
    Packet& raw(std::uint8_t action, const std::vector<std::uint8_t>& body);
    std::vector<std::uint8_t> bytes();

  private:
    std::array<std::uint8_t, 1400> room_{};
    pfsync::Builder builder_{room_};
};

// A TCP flow of that source port, with an id of creator (0: as from a table, without an id).
state::Flow flow(std::uint16_t port, std::uint32_t creator = 0, std::uint8_t src = 4,
                 std::uint8_t dst = 4);

// An expectation of that flow: a connection to this port.
state::Expectation expectation(std::uint16_t master, std::uint16_t port);

class Rig {
  public:
    Rig();
    Options options; // two peers, one with our extension: change before start()
    RecordingTable table;
    RecordingLink link;
    std::unique_ptr<Engine> engine;
    Instant now{1000s};

    void start(bool dump = true); // dump: the table is empty, and says so
    void pass(Duration span);     // time, in steps of its deadlines
    void flush() { engine->flush(); }
    // Handshake with peer n, of session 77 + n: link up, hello, and a bulk update of these flows.
    void greet(PeerId peer, const Greeting& extra = {}, const std::vector<state::Flow>& owns = {});
    void hello(PeerId peer, Greeting g); // fills in session, peer_session, creatorid
    // A numbered packet.
    void send(PeerId peer, const std::function<void(Packet&)>& what);
    // One that is lost.
    void lose(PeerId peer) { numbers_[peer]++; }
    void send_plain(PeerId peer, const std::function<void(Packet&)>& what);
    // What the engine has sent to this peer since the last call, without SEQ, HELLO and ACK unless
    // `all`: "INS 1 live, UPD_C 2 4:4, DEL_C 3, UPD_REQ all, BUS start".
    std::string sent_to(PeerId peer, bool all = false);
    // Acknowledges all that was sent to this peer.
    void acknowledge(PeerId peer);

    // Of all peers.
    std::uint64_t refused(Reason why) const {
        std::uint64_t sum = 0;
        for (PeerId peer = 0; engine->has_peer(peer); peer++)
            sum += engine->session(peer).verdict.counters().refused[policy::index_of(why)];
        return sum;
    }
    std::uint64_t fault(pfsync::Fault why) const { return refused(policy::reason_of(why)); }
    std::uint64_t faults() const {
        std::uint64_t sum = 0;
        for (int n = 1; n < pfsync::kFaults; n++)
            sum += fault(static_cast<pfsync::Fault>(n));
        return sum;
    }
    // "here 0", "peer 0 term 1", "unclaimed", "gone", or "unknown".
    std::string owner(std::uint16_t port) const;
    state::StateId id(std::uint16_t port) const;

  private:
    std::map<PeerId, std::uint64_t> numbers_, highest_;
    std::size_t read_ = 0;
    std::map<PeerId, std::string> sent_, sent_all_;
    void read();
    std::string describe(const pfsync::Section& section, Bytes message);
    std::string name(state::StateId id) const;
    std::map<state::StateId, std::uint16_t> names_;
};

} // namespace encsync::sync::test
