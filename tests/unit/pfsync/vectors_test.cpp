// SPDX-License-Identifier: ISC
// Golden packets: read with the intended meaning, and written byte for byte.
#include "describe.hpp"
#include "tests/unit/pfsync/write_clr.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

using state::Family;
using state::Flow;

TEST(Vectors, MeanWhatTheySay) {
    for (const Dialect dialect : kAllDialects) {
        SCOPED_TRACE(to_string(dialect));
        const std::vector<Vector> vectors = load_vectors(dialect);
        ASSERT_GT(vectors.size(), 60U);
        for (const Vector& v : vectors)
            EXPECT_EQ(describe(v.packet, dialect), v.expect) << v.name;
    }
}

// Without an expected dialect the meaning is the same, except where only FreeBSD 13 differs: what
// it alone may send, and what it must not send yet.
TEST(Vectors, MeanTheSameToWhoAsksNoDialect) {
    for (const Dialect dialect : kAllDialects)
        for (const Vector& v : load_vectors(dialect)) {
            const bool release =
                v.name == "bad-action-del" || v.name == "bad-version" ||
                (dialect == dialects_of(5).front() && v.name == "bad-upd-c-timeout");
            EXPECT_EQ(describe(v.packet, std::nullopt) == v.expect, !release)
                << to_string(dialect) << " " << v.name;
        }
}

// The text depends on the packet: one inverted bit in any place with a meaning changes it.
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

TEST(Vectors, AnotherByteOfAnUpdateMeansSomethingElse) {
    for (const Dialect d : dialects_of(5)) {
        const Layout& l = traits(d).state;
        const Vector v = load_vector("ours-upd", d);
        for (const std::size_t at : {l.id + 7,
                                     l.creatorid,
                                     l.wire + l.addr0 + 3,
                                     l.wire + l.addr1,
                                     l.wire + l.port0,
                                     l.wire + l.port1 + 1,
                                     l.stack + l.addr0,
                                     l.stack + l.addr1 + 1,
                                     l.stack + l.port0 + 1,
                                     l.stack + l.port1,
                                     l.src + common::peer::state,
                                     l.dst + common::peer::state,
                                     l.creation + 3,
                                     l.expire + 3,
                                     l.wire_af,
                                     l.stack_af,
                                     l.wire_proto,
                                     l.stack_proto,
                                     l.direction,
                                     l.state_flags + (l.wide_flags ? 1 : 0),
                                     l.timeout}) {
            std::vector<std::uint8_t> packet = v.packet;
            packet[common::kHeaderSize + common::kSubheaderSize + at] ^=
                0x3a; // all flags that are read
            EXPECT_NE(describe(packet, d), v.expect) << to_string(d) << " " << at;
        }
    }
}

state::Address address(const char* text) {
    return {net::parse_address(text).value().bytes};
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
void expect_written(const std::string& name, Kind kind, std::size_t extra, Write&& write,
                    Dialect dialect = kOwnDialect) {
    std::vector<std::uint8_t> buffer(1500, 0xcc);
    Builder packet(buffer, dialect);
    std::uint8_t* m = packet.add(kind, extra);
    ASSERT_NE(m, nullptr);
    write(m);
    buffer.resize(packet.finish());
    EXPECT_EQ(buffer, load_vector(name, dialect).packet)
        << to_string(dialect) << " " << name << "\n"
        << describe(buffer, dialect);
}

void expect_ins(const std::string& name, const Flow& flow, Dialect dialect) {
    expect_written(
        name, Kind::insert, 0, [&](std::uint8_t* m) { write_state(dialect, m, flow, {}); },
        dialect);
}

class WriteState : public testing::TestWithParam<Dialect> {};

TEST_P(WriteState, ByteForByte) {
    const Dialect dialect = GetParam();
    expect_ins("ours-ins-tcp", make_tcp(), dialect);

    Flow f = make_tcp();
    f.src_state = 2;
    f.dst_state = 0;
    f.timeout = 120;
    f.age = 0;
    expect_ins("ours-ins-tcp-syn", f, dialect);

    f = make_tcp();
    f.reply.dst = address("203.0.113.5");
    f.reply.dport = 61000;
    expect_ins("ours-ins-tcp-snat", f, dialect);

    f = make_tcp();
    f.key.orig.dst = address("203.0.113.5");
    f.key.orig.dport = 80;
    f.reply.sport = 8080;
    expect_ins("ours-ins-tcp-dnat", f, dialect);

    f.reply.dst = address("10.9.9.9");
    f.reply.dport = 555;
    expect_ins("ours-ins-tcp-both-nat", f, dialect);

    expect_ins("ours-ins-udp6", make(17, "2001:db8::1", 5000, "2001:db8::53", 53, 2, 2, 60),
               dialect);

    f = make(1, "10.0.0.2", 0x1234, "192.0.2.1", 8 << 8, 1, 1, 10);
    f.reply.dst = address("203.0.113.5");
    f.reply.sport = 0x4321;
    expect_ins("ours-ins-icmp-snat", f, dialect);

    expect_ins("ours-ins-icmp6", make(58, "fe80::1", 7, "fe80::2", 128 << 8, 1, 0, 20), dialect);
    expect_ins("ours-ins-gre", make(47, "10.0.0.2", 1, "192.0.2.1", 2, 1, 1, 30), dialect);
    expect_ins("ours-ins-esp", make(50, "10.0.0.2", 0, "192.0.2.1", 0, 2, 2, 60), dialect);
    if (!renumbers(traits(dialect).state, 132)) {
        expect_ins("ours-ins-sctp", make(132, "10.0.0.2", 1, "192.0.2.1", 2, 1, 0, 60), dialect);
    } else {
        const auto sctp = [](std::uint8_t src, std::uint8_t dst) {
            return make(132, "10.0.0.2", 1, "192.0.2.1", 2, src, dst, 60);
        };
        expect_ins("ours-ins-sctp-opening", sctp(2, 0), dialect);
        expect_ins("ours-ins-sctp-established", sctp(4, 4), dialect);
        expect_ins("ours-ins-sctp-closing", sctp(7, 4), dialect);
        expect_ins("ours-ins-dccp", make(33, "10.0.0.2", 1, "192.0.2.1", 2, 4, 3, 60), dialect);
    }

    // Flags that must not be sent are masked: no-sync.
    f = make_tcp();
    f.flags = state::kNoSync;
    expect_ins("ours-ins-tcp", f, dialect);
}

INSTANTIATE_TEST_SUITE_P(Dialects, WriteState, testing::ValuesIn(kAllDialects));

TEST(Vectors, UpdatesAndDeletesAreWrittenByteForByte) {
    for (const Dialect d : dialects_of(5))
        expect_written(
            "ours-upd", Kind::update, 0,
            [&](std::uint8_t* m) { write_state(d, m, make_tcp(), {.wants_ack = true}); }, d);
    expect_written(
        "ours-del", Kind::remove, 0,
        [&](std::uint8_t* m) { write_state(Dialect::freebsd1301, m, make_tcp(), {}); },
        Dialect::freebsd1301);
    expect_written("ours-del", Kind::remove, 0,
                   [&](std::uint8_t* m) { write_state(m, make_tcp(), {}); });
}

TEST(Vectors, TailsAreWrittenByteForByte) {
    Flow f = make_tcp();
    f.mark = 0xdeadbeef;
    f.key.zone = 9;
    f.flags = state::kSeenReply | state::kAssured;
    expect_written("ours-ins-tail", Kind::insert, 12,
                   [&](std::uint8_t* m) { write_state(m, f, {.tail = true}); });

    f.mark = 0;
    f.key.zone = 0;
    f.extras = {state::with_label(state::with_label({}, 3), 127),
                *state::Name::of("ftp"),
                72000,
                {{{1000, 0, 2}, {2000, 0xffffffff, 3}}}};
    expect_written("ours-ins-more", Kind::insert, 76, [&](std::uint8_t* m) {
        write_state(m, f, {.tail = true, .more = true, .expectations = 2});
    });

    Flow sctp = make(132, "10.0.0.2", 1, "192.0.2.1", 2, 4, 4, 60);
    sctp.flags = state::kSeenReply | state::kAssured;
    sctp.extras.verification_tags = {0x11223344, 0x55667788};
    expect_written("ours-ins-sctp-tags", Kind::insert, 12,
                   [&](std::uint8_t* m) { write_state(m, sctp, {.tail = true}); });

    f.extras = {};
    f.mark = 1;
    f.flags = state::kSeenReply | state::kSloppy;
    expect_written("ours-upd-tail-copy", Kind::update, 12, [&](std::uint8_t* m) {
        write_state(m, f, {.tail = true, .live = false, .wants_ack = true});
    });
}

TEST_P(WriteState, SmallMessagesByteForByte) {
    const Dialect dialect = GetParam();
    std::vector<std::uint8_t> buffer(1500, 0xcc);
    Builder packet(buffer, dialect);
    const state::StateId id = make_tcp().id;
    write_id(packet.add(Kind::insert_ack), id);
    Flow closing = make_tcp();
    closing.src_state = 7;
    write_upd_c(dialect, packet.add(Kind::update_c), closing);
    write_id(packet.add(Kind::remove_c), {1, id.creatorid});
    write_id(packet.add(Kind::remove_c), {2, 3});
    write_id(packet.add(Kind::request), {});
    write_clr(packet.add(Kind::clear), "", id.creatorid);
    write_clr(packet.add(Kind::clear), "em0", id.creatorid);
    write_bus(packet.add(Kind::bulk), id.creatorid, 0, false);
    write_bus(packet.add(Kind::bulk), id.creatorid, 300, true);
    write_tdb(dialect, packet.add(Kind::tdb),
              {.spi = 0x1000,
               .dst = net::parse_address("192.0.2.9").value(),
               .rpl = 17,
               .bytes = 123456789012,
               .sproto = 50});
    buffer.resize(packet.finish());
    EXPECT_EQ(buffer, load_vector("ours-mixed", dialect).packet) << describe(buffer, dialect);

    std::vector<std::uint8_t> nothing(1500, 0xcc);
    nothing.resize(Builder(nothing, dialect).finish());
    EXPECT_EQ(nothing, load_vector("ours-empty", dialect).packet);
}

// A pf peer's own blocks are sent back to it unchanged, except the state.
TEST_P(WriteState, PeerBlocksGoBackAsTheyCame) {
    const Dialect d = GetParam();
    const Vector v = load_vector("pf-ins", d);
    Parser parser(v.packet, d);
    const Section* s = parser.next();
    ASSERT_NE(s, nullptr);
    FullState in;
    ASSERT_EQ(read(d, s->message(0), in), Fault::none);
    EXPECT_EQ(in.src.seqlo(), 1000U);
    EXPECT_EQ(in.dst.seqlo(), 2000U);
    EXPECT_EQ(in.flow.flags & state::kSloppy, 0);

    in.flow.src_state = 7;
    std::vector<std::uint8_t> m(state_size(d));
    write_state(d, m.data(), in.flow, {.src = in.src.bytes, .dst = in.dst.bytes});
    FullState out;
    ASSERT_EQ(read(d, m, out), Fault::none);
    EXPECT_EQ(out.src.seqlo(), 1000U);
    EXPECT_EQ(out.src.state(), 7);
    EXPECT_TRUE(std::equal(out.dst.bytes.begin(), out.dst.bytes.end(), in.dst.bytes.begin()));
    EXPECT_EQ(out.flow.flags & state::kSloppy, 0);

    std::vector<std::uint8_t> u(openbsd::kUpdCSize);
    write_upd_c(d, u.data(), in.flow, in.src.bytes, in.dst.bytes);
    CompressedUpdate update;
    ASSERT_EQ(read(d, u, update), Fault::none);
    EXPECT_EQ(update.src.seqlo(), 1000U);
    EXPECT_EQ(update.dst.seqlo(), 2000U);
    EXPECT_EQ(update.src.state(), 7);

    // Without them, no sequence numbers are known and the flow is sloppy.
    std::vector<std::uint8_t> blind(state_size(d));
    write_state(d, blind.data(), in.flow, {});
    ASSERT_EQ(read(d, blind, out), Fault::none);
    EXPECT_EQ(out.src.seqlo(), 0U);
    EXPECT_NE(out.flow.flags & state::kSloppy, 0);
}

// They are the same in every dialect, so an OpenBSD's are sent to a FreeBSD unchanged.
TEST(Vectors, PeerBlocksGoAcrossDialects) {
    const Vector v = load_vector("pf-ins");
    FullState in;
    ASSERT_EQ(read(Bytes(v.packet).subspan(24), in), Fault::none);
    for (const Dialect d : dialects_of(5)) {
        std::vector<std::uint8_t> m(state_size(d));
        write_state(d, m.data(), in.flow, {.src = in.src.bytes, .dst = in.dst.bytes});
        FullState out;
        ASSERT_EQ(read(d, m, out), Fault::none);
        EXPECT_EQ(out.flow, in.flow);
        EXPECT_TRUE(std::equal(out.src.bytes.begin(), out.src.bytes.end(), in.src.bytes.begin()));
        EXPECT_TRUE(std::equal(out.dst.bytes.begin(), out.dst.bytes.end(), in.dst.bytes.begin()));
    }
}

// An SCTP block is sent back with the verification tag that was received.
TEST(Vectors, SctpTagsGoBack) {
    for (const Dialect d : kAllDialects) {
        if (traits(d).state.sctp != Numbering::association)
            continue;
        const Vector v = load_vector("pf-sctp-echoed", d);
        const Bytes message = Bytes(v.packet).subspan(24, state_size(d));
        FullState in;
        ASSERT_EQ(read(d, message, in), Fault::none);
        std::vector<std::uint8_t> m(state_size(d));
        write_state(d, m.data(), in.flow, {.src = in.src.bytes, .dst = in.dst.bytes});
        const auto blocks = [&](Bytes of) {
            const Bytes both = of.subspan(traits(d).state.src, 2 * common::peer::size);
            return std::vector(both.begin(), both.end());
        };
        EXPECT_EQ(blocks(m), blocks(message));
    }
}

} // namespace
} // namespace encsync::pfsync
