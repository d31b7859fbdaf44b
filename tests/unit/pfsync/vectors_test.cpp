// Golden packets: read as they are meant, and written byte for byte.
#include "describe.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using openbsd::Action;
using state::Family;
using state::Flow;

TEST(Vectors, MeanWhatTheySay) {
    const std::vector<Vector> vectors = load_vectors();
    ASSERT_GT(vectors.size(), 50U);
    for (const Vector& v : vectors)
        EXPECT_EQ(describe(v.packet), v.expect) << v.name;
}

// The text is able to differ: a bit turned over in any place that has a meaning shows in it.
TEST(Vectors, AnotherByteMeansSomethingElse) {
    const Vector v = load_vector("ours-ins-tail");
    using namespace openbsd;
    for (const std::size_t at : {full::id + 7,
                                 full::creatorid,
                                 full::wire + key::addr0 + 3,
                                 full::wire + key::addr1,
                                 full::wire + key::port0,
                                 full::wire + key::port1 + 1,
                                 full::stack + key::addr0,
                                 full::stack + key::addr1 + 1,
                                 full::stack + key::port0 + 1,
                                 full::stack + key::port1,
                                 full::src + peer::state,
                                 full::dst + peer::state,
                                 full::proto,
                                 full::creation + 3,
                                 full::af,
                                 full::direction,
                                 kStateSize,
                                 kStateSize + 7,
                                 kStateSize + 9,
                                 kStateSize + 10,
                                 kStateSize + 11}) {
        std::vector<std::uint8_t> packet = v.packet;
        packet[kHeaderSize + kSubheaderSize + at] ^= 1;
        EXPECT_NE(describe(packet), v.expect) << at;
    }
}

state::Address address(const char* text) {
    state::Address out;
    const bool inet6 = std::string(text).find(':') != std::string::npos;
    EXPECT_EQ(inet_pton(inet6 ? AF_INET6 : AF_INET, text, out.bytes.data()), 1) << text;
    return out;
}

Flow make(std::uint8_t proto, const char* src, std::uint16_t sport, const char* dst,
          std::uint16_t dport, std::uint8_t src_state, std::uint8_t dst_state,
          std::uint32_t timeout) {
    Flow f;
    f.key.proto = proto;
    f.key.family = std::string(src).find(':') == std::string::npos ? Family::inet : Family::inet6;
    f.key.orig = {address(src), address(dst), sport, dport};
    f.reply = inverse(f.key);
    f.id = {0x1122334455667788, 0x0a0b0c0d};
    f.src_state = src_state;
    f.dst_state = dst_state;
    f.timeout = timeout;
    f.age = 77;
    return f;
}

Flow make_tcp() {
    return make(6, "10.0.0.2", 40000, "192.0.2.1", 443, 4, 4, 86400);
}

// Writes one message and compares the packet with the vector's.
template<class Write>
void expect_written(const std::string& name, Action action, std::size_t size, Write&& write) {
    std::vector<std::uint8_t> buffer(1500, 0xcc);
    Builder packet(buffer);
    std::uint8_t* m = packet.add(action, size);
    ASSERT_NE(m, nullptr);
    write(m);
    buffer.resize(packet.finish());
    EXPECT_EQ(buffer, load_vector(name).packet) << name << "\n" << describe(buffer);
}

void expect_ins(const std::string& name, const Flow& flow) {
    expect_written(name, Action::ins, openbsd::kStateSize,
                   [&](std::uint8_t* m) { write_state(m, flow, {}); });
}

TEST(Vectors, FullStatesAreWrittenByteForByte) {
    expect_ins("ours-ins-tcp", make_tcp());

    Flow f = make_tcp();
    f.src_state = 2;
    f.dst_state = 0;
    f.timeout = 120;
    f.age = 0;
    expect_ins("ours-ins-tcp-syn", f);

    f = make_tcp();
    f.reply.dst = address("203.0.113.5");
    f.reply.dport = 61000;
    expect_ins("ours-ins-tcp-snat", f);

    f = make_tcp();
    f.key.orig.dst = address("203.0.113.5");
    f.key.orig.dport = 80;
    f.reply.sport = 8080;
    expect_ins("ours-ins-tcp-dnat", f);

    f.reply.dst = address("10.9.9.9");
    f.reply.dport = 555;
    expect_ins("ours-ins-tcp-both-nat", f);

    expect_ins("ours-ins-udp6", make(17, "2001:db8::1", 5000, "2001:db8::53", 53, 2, 2, 60));

    f = make(1, "10.0.0.2", 0x1234, "192.0.2.1", 8 << 8, 1, 1, 10);
    f.reply.dst = address("203.0.113.5");
    f.reply.sport = 0x4321;
    expect_ins("ours-ins-icmp-snat", f);

    expect_ins("ours-ins-icmp6", make(58, "fe80::1", 7, "fe80::2", 128 << 8, 1, 0, 20));
    expect_ins("ours-ins-gre", make(47, "10.0.0.2", 1, "192.0.2.1", 2, 1, 1, 30));
    expect_ins("ours-ins-esp", make(50, "10.0.0.2", 0, "192.0.2.1", 0, 2, 2, 60));
    expect_ins("ours-ins-sctp", make(132, "10.0.0.2", 1, "192.0.2.1", 2, 1, 0, 60));

    // What may not go out does not: no-sync is masked.
    f = make_tcp();
    f.flags = state::kNoSync;
    expect_ins("ours-ins-tcp", f);
}

TEST(Vectors, TailsAreWrittenByteForByte) {
    const std::size_t size = openbsd::kStateSize + 12;
    Flow f = make_tcp();
    f.mark = 0xdeadbeef;
    f.key.zone = 9;
    f.flags = state::kSeenReply | state::kAssured;
    expect_written("ours-ins-tail", Action::ins, size,
                   [&](std::uint8_t* m) { write_state(m, f, {.tail = true}); });

    f.mark = 1;
    f.key.zone = 0;
    f.flags = state::kSeenReply | state::kSloppy;
    expect_written("ours-upd-tail-copy", Action::upd, size, [&](std::uint8_t* m) {
        write_state(m, f, {.tail = true, .live = false, .wants_ack = true});
    });
}

TEST(Vectors, SmallMessagesAreWrittenByteForByte) {
    std::vector<std::uint8_t> buffer(1500, 0xcc);
    Builder packet(buffer);
    const state::StateId id = make_tcp().id;
    write_id(packet.add(Action::ins_ack, openbsd::kIdSize), id);
    Flow closing = make_tcp();
    closing.src_state = 7;
    write_upd_c(packet.add(Action::upd_c, openbsd::kUpdCSize), closing);
    write_id(packet.add(Action::del_c, openbsd::kIdSize), {1, id.creatorid});
    write_id(packet.add(Action::del_c, openbsd::kIdSize), {2, 3});
    write_id(packet.add(Action::upd_req, openbsd::kIdSize), {});
    write_clr(packet.add(Action::clr, openbsd::kClrSize), "", id.creatorid);
    write_clr(packet.add(Action::clr, openbsd::kClrSize), "em0", id.creatorid);
    write_bus(packet.add(Action::bus, openbsd::kBusSize), id.creatorid, 0, false);
    write_bus(packet.add(Action::bus, openbsd::kBusSize), id.creatorid, 300, true);
    write_tdb(packet.add(Action::tdb, openbsd::kTdbSize), {.spi = 0x1000,
                                                           .dst = address("192.0.2.9"),
                                                           .rpl = 17,
                                                           .bytes = 123456789012,
                                                           .sproto = 50});
    buffer.resize(packet.finish());
    EXPECT_EQ(buffer, load_vector("ours-mixed").packet) << describe(buffer);

    std::vector<std::uint8_t> nothing(1500, 0xcc);
    nothing.resize(Builder(nothing).finish());
    EXPECT_EQ(nothing, load_vector("ours-empty").packet);
}

// A pf peer's own blocks go back to it as they came, but for the state.
TEST(Vectors, PeerBlocksGoBackAsTheyCame) {
    const Vector v = load_vector("pf-ins");
    Parser parser(v.packet);
    const Section* s = parser.next();
    ASSERT_NE(s, nullptr);
    FullState in;
    ASSERT_EQ(read(s->message(0), in), Fault::none);
    EXPECT_EQ(in.src.seqlo(), 1000U);
    EXPECT_EQ(in.dst.seqlo(), 2000U);
    EXPECT_EQ(in.flow.flags & state::kSloppy, 0);

    in.flow.src_state = 7;
    std::vector<std::uint8_t> m(openbsd::kStateSize);
    write_state(m.data(), in.flow, {.src = in.src.bytes, .dst = in.dst.bytes});
    FullState out;
    ASSERT_EQ(read(m, out), Fault::none);
    EXPECT_EQ(out.src.seqlo(), 1000U);
    EXPECT_EQ(out.src.state(), 7);
    EXPECT_TRUE(std::equal(out.dst.bytes.begin(), out.dst.bytes.end(), in.dst.bytes.begin()));
    EXPECT_EQ(out.flow.flags & state::kSloppy, 0);

    std::vector<std::uint8_t> u(openbsd::kUpdCSize);
    write_upd_c(u.data(), in.flow, in.src.bytes, in.dst.bytes);
    CompressedUpdate update;
    ASSERT_EQ(read(u, update), Fault::none);
    EXPECT_EQ(update.src.seqlo(), 1000U);
    EXPECT_EQ(update.dst.seqlo(), 2000U);
    EXPECT_EQ(update.src.state(), 7);

    // Without them, nothing is known and the flow is sloppy.
    std::vector<std::uint8_t> blind(openbsd::kStateSize);
    write_state(blind.data(), in.flow, {});
    ASSERT_EQ(read(blind, out), Fault::none);
    EXPECT_EQ(out.src.seqlo(), 0U);
    EXPECT_NE(out.flow.flags & state::kSloppy, 0);
}

} // namespace
} // namespace encsync::pfsync
