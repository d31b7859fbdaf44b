// SPDX-License-Identifier: ISC
#include "rig.hpp"

#include "pfsync/expectation.hpp"
#include "sync/record.hpp"
#include "tests/unit/pfsync/write_clr.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {

using pfsync::Kind;
namespace ext = pfsync::extension;

std::string RecordingTable::take() {
    std::string out;
    for (const Op& op : ops) {
        out += out.empty() ? "" : ", ";
        const std::string port = std::to_string(op.key.orig.sport);
        if (op.what == 'm' || op.what == 'l')
            out += (op.what == 'm' ? "remove " : "look ") + port;
        else if (op.what == 'e' || op.what == 'u')
            out += (op.what == 'e' ? "expect to " : "unexpect to ") +
                   std::to_string(op.key.orig.dport);
        else
            out += (op.what == 'p' ? "put " : "refresh ") + port +
                   (op.lifetime == table::Lifetime::copy ? " copy " : " natural ") +
                   std::to_string(op.src_state) + ":" + std::to_string(op.dst_state);
    }
    ops.clear();
    return out;
}

state::Expectation expectation(std::uint16_t master, std::uint16_t port) {
    state::Expectation e;
    e.master = flow(master).key;
    e.tuple = {e.master.orig.dst, e.master.orig.src, 0, port};
    e.mask.bytes.fill(0xff);
    if (e.master.family == state::Family::inet)
        std::fill(e.mask.bytes.begin() + 4, e.mask.bytes.end(), std::uint8_t{0});
    e.proto = IPPROTO_TCP;
    e.timeout = 300;
    return e;
}

// ---- Packet --------------------------------------------------------------------------------

Packet& Packet::hello(const Greeting& g) {
    std::uint8_t* m = builder_.add(ext::kHello, ext::hello::size);
    store_be(m + ext::hello::session, g.session);
    store_be(m + ext::hello::peer_session, g.peer_session);
    store_be(m + ext::hello::creatorid, g.creatorid);
    store_be(m + ext::hello::version, g.version);
    m[ext::hello::role] = g.role;
    m[ext::hello::flags] = g.flags;
    store_be(m + ext::hello::live, g.live);
    store_be(m + ext::hello::checked, ext::hello::kNever);
    return *this;
}

Packet& Packet::seq(std::uint64_t number, std::uint64_t session) {
    std::uint8_t* m = builder_.add(ext::kSeq, ext::seq::size);
    store_be(m + ext::seq::number, number);
    store_be(m + ext::seq::session, session);
    return *this;
}

Packet& Packet::ack(std::uint64_t highest, std::uint64_t session, std::uint32_t bitmap) {
    std::uint8_t* m = builder_.add(ext::kAck, ext::ack::bitmap + 4);
    store_be(m + ext::ack::highest, highest);
    store_be(m + ext::ack::session, session);
    std::memcpy(m + ext::ack::bitmap, &bitmap, 4);
    return *this;
}

Packet& Packet::full(const state::Flow& flow, Tail tail, bool insert) {
    const bool more = tail.tail && (tail.more || tail.expectations != 0);
    std::uint8_t* m =
        builder_.add(insert ? Kind::insert : Kind::update,
                     (tail.tail ? ext::tail::size : 0) + (more ? ext::more::size : 0));
    pfsync::write_state(m, flow,
                        {.tail = tail.tail,
                         .live = tail.live,
                         .term = tail.term,
                         .elsewhere = tail.elsewhere,
                         .more = more,
                         .expectations = tail.expectations,
                         .wants_ack = tail.wants_ack});
    if ((flow.flags & state::kNoSync) != 0) // write_state() masks it
        m[pfsync::openbsd::full::state_flags + 1] |= pfsync::common::kFlagNoSync;
    return *this;
}

Packet& Packet::expect(state::StateId master, std::uint8_t index, std::uint8_t count,
                       const state::Expectation& e) {
    pfsync::write_expect(builder_.add(ext::kExpect, ext::expect::size), master, index, count, e);
    return *this;
}

Packet& Packet::update(const state::Flow& flow) {
    pfsync::write_upd_c(builder_.add(Kind::update_c), flow);
    return *this;
}

Packet& Packet::id(Kind kind, state::StateId id) {
    pfsync::write_id(builder_.add(kind), id);
    return *this;
}

Packet& Packet::removal(state::StateId id, std::uint8_t term) {
    std::uint8_t* m = builder_.add(Kind::remove_c, term != 0 ? ext::removal::size : 0);
    pfsync::write_id(m, id);
    if (term != 0)
        m[pfsync::common::kIdSize + ext::removal::term] = term;
    return *this;
}

Packet& Packet::clear(std::uint32_t creatorid, const char* ifname) {
    pfsync::write_clr(builder_.add(Kind::clear), ifname, creatorid);
    return *this;
}

Packet& Packet::bulk(bool end) {
    pfsync::write_bus(builder_.add(Kind::bulk), kPeer, 0, end);
    return *this;
}

Packet& Packet::root(std::uint64_t since, std::uint64_t sum, std::uint64_t count) {
    std::uint8_t* m = builder_.add(ext::kRoot, ext::root::size);
    store_be(m + ext::root::since, since);
    store_be(m + ext::root::sum, sum);
    store_be(m + ext::root::count, count);
    return *this;
}

Packet& Packet::ask(std::uint32_t node) {
    store_be(builder_.add(ext::kAsk, ext::ask::size), node);
    return *this;
}

Packet& Packet::sums(std::uint32_t node, const Digest::Sums& children) {
    std::uint8_t* m = builder_.add(ext::kSums, ext::sums::size);
    store_be(m + ext::sums::node, node);
    for (std::size_t n = 0; n < children.size(); n++)
        store_be(m + ext::sums::children + n * 8, children[n]);
    return *this;
}

Packet& Packet::list(std::uint32_t leaf, unsigned part, bool last,
                     const std::vector<std::pair<state::StateId, std::uint64_t>>& flows) {
    std::uint8_t* m =
        builder_.add(ext::kList, ext::list::size + flows.size() * ext::list::flow::size);
    store_be(m + ext::list::leaf, leaf);
    store_be(m + ext::list::part, static_cast<std::uint16_t>(part));
    m[ext::list::flags] = last ? ext::list::kLast : 0;
    for (m += ext::list::size; const auto& [id, check] : flows) {
        store_be(m + ext::list::flow::id, id.id);
        store_be(m + ext::list::flow::creatorid, id.creatorid);
        store_be(m + ext::list::flow::check, static_cast<std::uint32_t>(check));
        m += ext::list::flow::size;
    }
    return *this;
}

Packet& Packet::absent(state::StateId id, std::uint64_t since) {
    std::uint8_t* m = builder_.add(ext::kAbsent, ext::absent::size);
    pfsync::write_id(m, id);
    store_be(m + ext::absent::since, since);
    return *this;
}

Packet& Packet::raw(std::uint8_t action, const std::vector<std::uint8_t>& body) {
    std::memcpy(builder_.add(action, body.size()), body.data(), body.size());
    return *this;
}

std::vector<std::uint8_t> Packet::bytes() {
    const std::size_t size = builder_.finish();
    return {room_.begin(), room_.begin() + static_cast<long>(size)};
}

state::Flow flow(std::uint16_t port, std::uint32_t creator, std::uint8_t src, std::uint8_t dst) {
    state::Flow f;
    f.key.proto = IPPROTO_TCP;
    f.key.orig.src.bytes = {10, 0, 0, 2};
    f.key.orig.dst.bytes = {192, 0, 2, 1};
    f.key.orig.sport = port;
    f.key.orig.dport = 443;
    f.reply = inverse(f.key);
    if (creator != 0)
        f.id = {0xabc0000u + port, creator};
    f.timeout = 100;
    f.src_state = src;
    f.dst_state = dst;
    f.flags = src >= 4 && dst >= 4 ? state::kSeenReply | state::kAssured : 0;
    return f;
}

// ---- Rig -----------------------------------------------------------------------------------

Rig::Rig() {
    options.creatorid = kOurs;
    options.session = 0x5e5510;
    options.join_wait = 30s;
    options.peers = {{"minnie", true, pfsync::Dialect::openbsd},
                     {"goofy", true, pfsync::Dialect::openbsd}};
}

void Rig::start(bool dump) {
    engine = std::make_unique<Engine>(options, table, link);
    engine->advance(now);
    if (dump) {
        engine->on_dump_begin();
        engine->on_dump_end();
    }
}

void Rig::pass(Duration span) {
    const Instant end = now + span;
    while (now < end) {
        now = std::min(end, std::max(now + 1ms, engine->deadline()));
        engine->advance(now);
        engine->flush();
    }
}

void Rig::hello(PeerId peer, Greeting g) {
    g.session = g.session == 77 ? 77 + peer : g.session;
    g.peer_session = engine->session(peer).local;
    g.creatorid = kPeer + peer;
    Packet p;
    engine->on_packet(peer, p.hello(g).bytes());
}

void Rig::greet(PeerId peer, const Greeting& extra, const std::vector<state::Flow>& owns) {
    engine->on_link_up(peer);
    numbers_[peer] = 0;
    hello(peer, extra);
    send(peer, [&](Packet& p) { p.bulk(false); });
    for (const state::Flow& f : owns)
        send(peer, [&](Packet& p) { p.full(f, {}, false); });
    send(peer, [&](Packet& p) { p.bulk(true); });
    flush();
    acknowledge(peer);
    sent_to(peer);
    table.take();
}

void Rig::send(PeerId peer, const std::function<void(Packet&)>& what) {
    Packet p;
    p.seq(++numbers_[peer], engine->session(peer).remote);
    what(p);
    engine->on_packet(peer, p.bytes());
}

void Rig::send_plain(PeerId peer, const std::function<void(Packet&)>& what) {
    Packet p;
    what(p);
    engine->on_packet(peer, p.bytes());
}

std::string Rig::name(state::StateId id) const {
    if (id == state::StateId{})
        return "all";
    const auto it = names_.find(id);
    return it == names_.end() ? "?" : std::to_string(it->second);
}

static std::string checked(Bytes hello) {
    const auto seconds = load_be<std::uint32_t>(&hello[ext::hello::checked]);
    return seconds == ext::hello::kNever ? "" : " checked " + std::to_string(seconds);
}

std::string Rig::describe(const pfsync::Section& section, Bytes m) {
    const auto states = [](unsigned src, unsigned dst) {
        return " " + std::to_string(src) + ":" + std::to_string(dst);
    };
    if (section.action == ext::kSeq)
        return "SEQ";
    if (section.action == ext::kHello)
        return std::string("HELLO") +
               ((m[ext::hello::flags] & ext::hello::kLost) != 0 ? " lost" : "") +
               ((m[ext::hello::flags] & ext::hello::kTracking) != 0 ? " tracking" : "") +
               ((m[ext::hello::flags] & ext::hello::kLoose) != 0 ? " loose" : "") +
               ((m[ext::hello::flags] & ext::hello::kLiberal) != 0 ? " liberal" : "") + checked(m);
    if (section.action == ext::kAck)
        return "ACK " + std::to_string(load_be<std::uint64_t>(&m[ext::ack::highest]));
    switch (section.action) {
    case ext::kRoot:
        return "ROOT " + std::to_string(load_be<std::uint64_t>(&m[ext::root::count]));
    case ext::kAsk:
        return "ASK " + std::to_string(load_be<std::uint32_t>(&m[ext::ask::node]));
    case ext::kSums:
        return "SUMS " + std::to_string(load_be<std::uint32_t>(&m[ext::sums::node]));
    case ext::kList:
        return "LIST of " +
               std::to_string((section.stride - ext::list::size) / ext::list::flow::size);
    case ext::kAbsent:
        return "ABSENT " + name(pfsync::read_id(m));
    case ext::kExpect: {
        pfsync::ExpectMessage said;
        EXPECT_EQ(pfsync::read(m, said), pfsync::Fault::none);
        return "EXPECT " + name(said.master) + " " + std::to_string(said.index + 1) + "/" +
               std::to_string(said.count) + " to " + std::to_string(said.expectation.tuple.dport);
    }
    default:
        break;
    }
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: {
        pfsync::FullState full;
        EXPECT_EQ(pfsync::read(m, full), pfsync::Fault::none);
        names_[full.flow.id] = full.flow.key.orig.sport;
        return (section.kind == Kind::insert ? "INS " : "UPD ") + name(full.flow.id) +
               states(full.flow.src_state, full.flow.dst_state) +
               (!full.has_tail ? ""
                               : (full.live ? " live " : " copy ") + std::to_string(full.term));
    }
    case Kind::update_c: {
        pfsync::CompressedUpdate update;
        EXPECT_EQ(pfsync::read(m, update), pfsync::Fault::none);
        return "UPD_C " + name(update.id) + states(update.src.state(), update.dst.state());
    }
    case Kind::bulk: {
        pfsync::BulkStatus status;
        EXPECT_EQ(pfsync::read(m, status), pfsync::Fault::none);
        return status.end ? "BUS end" : "BUS start";
    }
    case Kind::request:
        return "UPD_REQ " + name(pfsync::read_id(m));
    case Kind::remove_c:
        return "DEL_C " + name(pfsync::read_id(m)) +
               (m.size() > pfsync::common::kIdSize
                    ? " term " + std::to_string(m[pfsync::common::kIdSize])
                    : "");
    case Kind::insert_ack:
        return "INS_ACK " + name(pfsync::read_id(m));
    default:
        return "action " + std::to_string(section.action);
    }
}

void Rig::read() {
    const auto add = [](std::string& to, const std::string& text) {
        to += (to.empty() ? "" : ", ") + text;
    };
    for (; read_ < link.sent.size(); read_++) {
        const auto& [peer, packet] = link.sent[read_];
        pfsync::Parser parser{Bytes(packet)};
        while (const pfsync::Section* section = parser.next())
            for (std::uint16_t n = 0; n < section->count; n++) {
                const Bytes m = section->message(n);
                if (section->action == ext::kSeq)
                    highest_[peer] = load_be<std::uint64_t>(&m[ext::seq::number]);
                const std::string text = describe(*section, m);
                add(sent_all_[peer], text);
                if (section->action < ext::kHello || section->action > ext::kRoot)
                    add(sent_[peer], text);
            }
        EXPECT_EQ(parser.fault(), pfsync::Fault::none);
    }
}

std::string Rig::sent_to(PeerId peer, bool all) {
    for (const state::Slot s : engine->index().slots())
        names_[engine->index().record(s).id] = engine->index().key(s).orig.sport;
    read();
    std::string out = all ? sent_all_[peer] : sent_[peer];
    sent_[peer].clear();
    sent_all_[peer].clear();
    return out;
}

void Rig::acknowledge(PeerId peer) {
    for (int round = 0; round < 4; round++) { // also packets that are sent because of the ACK
        flush();
        read();
        if (highest_[peer] == 0)
            return;
        Packet p;
        engine->on_packet(peer, p.ack(highest_[peer], engine->session(peer).local).bytes());
    }
}

std::string Rig::owner(std::uint16_t port) const {
    const state::Slot slot = engine->index().find(flow(port).key);
    if (slot == state::kNoSlot)
        return "unknown";
    const Record& record = engine->index().record(slot);
    const std::string term = " term " + std::to_string(record.term);
    if (record.owner == kHere)
        return "here" + term;
    if (record.owner == kGone)
        return "gone";
    return record.owner == kUnclaimed ? "unclaimed" : "peer " + std::to_string(record.owner) + term;
}

state::StateId Rig::id(std::uint16_t port) const {
    const state::Slot slot = engine->index().find(flow(port).key);
    return slot == state::kNoSlot ? state::StateId{} : engine->index().record(slot).id;
}

} // namespace encsync::sync::test
