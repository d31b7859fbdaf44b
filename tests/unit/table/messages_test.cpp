// SPDX-License-Identifier: ISC
// Messages without a kernel: those that we build read back, and invalid ones are refused by name.
#include "flows.hpp"

#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/conntrack/netlink.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

namespace encsync::table::test {
namespace {

using namespace ctnetlink;
using netlink::Writer;

constexpr std::uint16_t kNew = 1 << 8, kDelete = 1 << 8 | 2;

void put_tuple(Writer& w, int type, const state::Tuple& tuple, std::uint8_t proto) {
    const auto nest = w.begin(type);
    const auto ip = w.begin(CTA_TUPLE_IP);
    w.put(CTA_IP_V4_SRC, tuple.src.bytes.data(), 4);
    w.put(CTA_IP_V4_DST, tuple.dst.bytes.data(), 4);
    w.end(ip);
    const auto p = w.begin(CTA_TUPLE_PROTO);
    w.put_be(CTA_PROTO_NUM, proto);
    w.put_be(CTA_PROTO_SRC_PORT, tuple.sport);
    w.put_be(CTA_PROTO_DST_PORT, tuple.dport);
    w.end(p);
    w.end(nest);
}

// An event as the kernel sends it, with whatever `more` adds.
template<class F>
std::vector<std::uint8_t> event(const state::Flow& f, F more, std::uint16_t type = kNew,
                                std::uint16_t flags = 0) {
    std::vector<std::uint8_t> buffer(1024);
    Writer w(buffer, type, flags, 9);
    const std::array<std::uint8_t, 4> header{AF_INET, 0, 0, 0};
    w.plain(header);
    put_tuple(w, CTA_TUPLE_ORIG, f.key.orig, f.key.proto);
    put_tuple(w, CTA_TUPLE_REPLY, f.reply, f.key.proto);
    more(w);
    buffer.resize(w.finish());
    return buffer;
}

void whole_tcp(Writer& w) {
    w.put_be(CTA_STATUS, std::uint32_t{2 | 4 | 8});
    w.put_be(CTA_TIMEOUT, std::uint32_t{431999});
    w.put_be(CTA_MARK, std::uint32_t{77});
    w.put_be(CTA_ZONE, std::uint16_t{3});
    const auto help = w.begin(CTA_HELP);
    w.put(CTA_HELP_NAME, "ftp", 4);
    w.end(help);
    const std::array<std::uint8_t, 16> labels{8};
    w.put(CTA_LABELS, labels.data(), labels.size());
    const auto info = w.begin(CTA_PROTOINFO);
    const auto tcp = w.begin(CTA_PROTOINFO_TCP);
    w.put_be(CTA_PROTOINFO_TCP_STATE, std::uint8_t{3});
    w.end(tcp);
    w.end(info);
}

TEST(Parse, ReadsAWholeEvent) {
    const state::Flow f = snat(tcp(4000), "198.51.100.1", 40000);
    Entry e;
    ASSERT_EQ(parse(event(f, whole_tcp, kNew, NLM_F_CREATE | NLM_F_EXCL), e), Fault::none);
    EXPECT_EQ(e.kind, Entry::Kind::created);
    EXPECT_EQ(e.seq, 9U);
    EXPECT_TRUE(e.has_progress);
    state::Flow expected = f;
    expected.mark = 77;
    expected.key.zone = 3;
    expected.timeout = 431999;
    expected.extras.helper = *state::Name::of("ftp");
    expected.extras.labels = {8};
    EXPECT_EQ(e.flow, expected);
    ASSERT_EQ(parse(event(f, whole_tcp), e), Fault::none);
    EXPECT_EQ(e.kind, Entry::Kind::updated);
    ASSERT_EQ(parse(event(f, whole_tcp, kDelete), e), Fault::none);
    EXPECT_EQ(e.kind, Entry::Kind::destroyed);
}

TEST(Parse, AFlowIsLiberalIfBothDirectionsAre) {
    const auto parsed = [](std::uint8_t original, std::uint8_t reply, std::size_t size = 2) {
        Entry e;
        const Fault fault = parse(event(tcp(1),
                                        [&](Writer& w) {
                                            const auto info = w.begin(CTA_PROTOINFO);
                                            const auto nest = w.begin(CTA_PROTOINFO_TCP);
                                            w.put_be(CTA_PROTOINFO_TCP_STATE, std::uint8_t{3});
                                            const std::uint8_t first[] = {original, 0};
                                            const std::uint8_t second[] = {reply, 0};
                                            w.put(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, first, 2);
                                            w.put(CTA_PROTOINFO_TCP_FLAGS_REPLY, second, size);
                                            w.end(nest);
                                            w.end(info);
                                        }),
                                  e);
        return std::pair(fault, e.flow.liberal);
    };
    EXPECT_EQ(parsed(0x0b, 0x08), std::pair(Fault::none, true));
    EXPECT_EQ(parsed(0x0b, 0x03), std::pair(Fault::none, false));
    EXPECT_EQ(parsed(0x03, 0x08), std::pair(Fault::none, false));
    EXPECT_EQ(parsed(0x08, 0x08, 1).first, Fault::bad_size);
}

TEST(Parse, KnowsWhetherItWasToldLabels) {
    Entry e;
    ASSERT_EQ(parse(event(udp(1), [](Writer&) {}), e), Fault::none);
    EXPECT_FALSE(e.flow.labels_known);
    EXPECT_TRUE(e.flow.extras.empty());
}

TEST(Parse, KnowsWhetherItWasToldHowSequenceNumbersMove) {
    constexpr std::uint32_t kAdjusted = 0x40; // IPS_SEQ_ADJUST
    const auto status = [](std::uint32_t bits) {
        return [=](Writer& w) { w.put_be(CTA_STATUS, bits); };
    };
    const auto with = [&](std::uint32_t after, std::size_t size = 4) {
        return [=](Writer& w) {
            w.put_be(CTA_STATUS, kAdjusted);
            const std::array<std::uint8_t, 4> bytes{0, 0, 0, static_cast<std::uint8_t>(after)};
            const auto nest = w.begin(CTA_SEQ_ADJ_REPLY);
            w.put_be(CTA_SEQADJ_CORRECTION_POS, std::uint32_t{9000});
            w.put_be(CTA_SEQADJ_OFFSET_BEFORE, std::uint32_t{0});
            w.put(CTA_SEQADJ_OFFSET_AFTER, bytes.data(), size);
            w.end(nest);
        };
    };
    Entry e;
    ASSERT_EQ(parse(event(tcp(1), status(0)), e), Fault::none);
    EXPECT_TRUE(e.flow.seq_adjust_known);
    ASSERT_EQ(parse(event(tcp(1), status(kAdjusted)), e), Fault::none);
    EXPECT_FALSE(e.flow.seq_adjust_known);
    EXPECT_TRUE(e.flow.extras.empty());
    ASSERT_EQ(parse(event(tcp(1), with(2)), e), Fault::none);
    EXPECT_TRUE(e.flow.seq_adjust_known);
    EXPECT_EQ(e.flow.extras.seq_adjust, (state::SeqAdjusts{{{}, {9000, 0, 2}}}));
    ASSERT_EQ(parse(event(tcp(1), with(0)), e), Fault::none); // by 0: treated as none
    EXPECT_TRUE(e.flow.extras.empty());
    EXPECT_EQ(parse(event(tcp(1), with(2, 3)), e), Fault::bad_size);
}

// The flow is valid, but the name must not get into a log or onto the wire.
TEST(Parse, LeavesOutAHelperWhoseNameIsNone) {
    Entry e;
    const auto with = [](const char* name, std::size_t size) {
        return [=](Writer& w) {
            const auto help = w.begin(CTA_HELP);
            w.put(CTA_HELP_NAME, name, size);
            w.end(help);
        };
    };
    for (const std::string name : {"../ftp", "a-name-of-16-char", ""}) {
        ASSERT_EQ(parse(event(udp(1), with(name.c_str(), name.size() + 1)), e), Fault::none);
        EXPECT_TRUE(e.flow.extras.helper.empty()) << name;
    }
    ASSERT_EQ(parse(event(udp(1), with("tftp", 4)), e), Fault::none); // without its NUL
    EXPECT_EQ(e.flow.extras.helper.text(), "tftp");
}

TEST(Parse, KnowsWhetherItWasToldTheProgress) {
    Entry e;
    ASSERT_EQ(parse(event(tcp(1), [](Writer& w) { w.put_be(CTA_MARK, std::uint32_t{1}); }), e),
              Fault::none);
    EXPECT_FALSE(e.has_progress);
    ASSERT_EQ(parse(event(udp(1), [](Writer& w) { w.put_be(CTA_STATUS, std::uint32_t{0}); }), e),
              Fault::none);
    EXPECT_TRUE(e.has_progress);
    EXPECT_EQ(e.flow.src_state, 1);
}

// ---- flows whose packets pass a flowtable: IPS_OFFLOAD is 1 << 14 ----------------------------

constexpr std::uint32_t kAssured = 2 | 4 | 8; // IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED
constexpr std::uint32_t kOffloaded = kAssured | 1 << 14, kInHardware = kOffloaded | 1 << 15;

template<class F>
Entry told(const state::Flow& f, F more) {
    Entry e;
    EXPECT_EQ(parse(event(f, more), e), Fault::none);
    return e;
}

auto status(std::uint32_t bits) {
    return [=](Writer& w) { w.put_be(CTA_STATUS, bits); };
}

TEST(Parse, TakesAnOffloadedFlowForEstablished) {
    for (const std::uint32_t bits : {kOffloaded, kInHardware}) {
        const Entry e = told(tcp(1), status(bits)); // as in dumps and answers
        EXPECT_TRUE(e.has_progress);
        EXPECT_FALSE(e.flow.progress_known);
        EXPECT_FALSE(e.flow.timeout_known);
        EXPECT_EQ(e.flow.src_state, state::tcp::kEstablished);
        EXPECT_EQ(e.flow.dst_state, state::tcp::kEstablished);
        EXPECT_EQ(e.flow.flags, state::kSeenReply | state::kAssured);
    }
    const Entry e = told(udp(1), status(kOffloaded));
    EXPECT_TRUE(e.flow.progress_known); // it follows from the status
    EXPECT_EQ(e.flow.src_state, state::datagram::kMultiple);
    EXPECT_FALSE(told(tcp(1), status(kAssured)).has_progress); // control
}

TEST(Parse, LearnsNoTimeoutFromAnOffloadedFlow) {
    const auto with_timeout = [](std::uint32_t bits) {
        return [=](Writer& w) { // as in events
            w.put_be(CTA_STATUS, bits);
            w.put_be(CTA_TIMEOUT, std::uint32_t{86400});
        };
    };
    EXPECT_FALSE(told(udp(1), with_timeout(kOffloaded)).flow.timeout_known);
    EXPECT_TRUE(told(udp(1), with_timeout(kAssured)).flow.timeout_known);
}

TEST(Parse, ADumpWithoutProgressIsOfAFlowThatWasOffloadedMeanwhile) {
    Entry e = told(tcp(1), status(kAssured));
    e.name_whole();
    EXPECT_TRUE(e.has_progress);
    EXPECT_FALSE(e.flow.progress_known);
    EXPECT_EQ(e.flow.src_state, state::tcp::kEstablished);
    e = told(tcp(1), whole_tcp);
    e.name_whole();
    EXPECT_TRUE(e.flow.progress_known);
}

TEST(Parse, KnowsWhetherItWasToldAMark) {
    Entry e = told(udp(1), status(kAssured));
    EXPECT_FALSE(e.flow.mark_known);
    e.name_whole(); // a dump: then it has none
    EXPECT_TRUE(e.flow.mark_known);
    const auto none = [](Writer& w) { w.put_be(CTA_MARK, std::uint32_t{0}); };
    EXPECT_TRUE(told(udp(1), none).flow.mark_known);
}

TEST(Parse, WithoutAStatusNothingFollowsFromIt) {
    const Entry e = told(udp(1), [](Writer&) {});
    EXPECT_FALSE(e.has_progress);
    EXPECT_FALSE(e.flow.seq_adjust_known);
}

TEST(Build, NeverOffloads) {
    std::array<std::uint8_t, 1024> buffer{};
    for (const Request request : {Request::create, Request::update}) {
        const Entry from = told(tcp(1), status(kInHardware));
        const std::size_t size = build(buffer, request, from.flow, 60, 1);
        netlink::Messages m(Bytes(buffer).first(size));
        ASSERT_TRUE(m.next());
        netlink::Attributes a(m.payload().subspan(4));
        std::uint32_t bits = 0;
        while (a.next())
            if (a.type() == CTA_STATUS)
                bits = load_be<std::uint32_t>(a.value().data());
        EXPECT_EQ(bits, kAssured);
    }
}

TEST(Parse, IsNotFooledByACutAtAnyByte) {
    const auto whole = event(tcp(4000), whole_tcp);
    for (std::size_t size = 0; size < whole.size(); size++) {
        // With the header unchanged, its length exceeds the bytes.
        std::vector<std::uint8_t> cut(whole.begin(), whole.begin() + static_cast<long>(size));
        Entry e;
        EXPECT_EQ(parse(cut, e), Fault::short_message) << size;
        // With a header that agrees, it must be a fault or end between two attributes.
        if (size < 20)
            continue;
        const auto length = static_cast<std::uint32_t>(size);
        std::memcpy(cut.data(), &length, sizeof length);
        const Fault fault = parse(cut, e);
        if (fault == Fault::none) {
            EXPECT_EQ(e.flow.key.orig, tcp(4000).key.orig) << size;
            EXPECT_EQ(e.flow.reply, tcp(4000).reply) << size;
        }
    }
}

TEST(Parse, RefusesByName) {
    const auto f = tcp(1);
    const auto with = [&](auto more) {
        Entry e;
        return parse(event(f, more), e);
    };
    EXPECT_EQ(with([](Writer& w) { w.put_be(CTA_TIMEOUT, std::uint16_t{1}); }), Fault::bad_size);
    EXPECT_EQ(with([](Writer& w) { w.put_be(CTA_STATUS, std::uint64_t{1}); }), Fault::bad_size);
    EXPECT_EQ(with([](Writer& w) {
                  const auto info = w.begin(CTA_PROTOINFO);
                  const auto t = w.begin(CTA_PROTOINFO_TCP);
                  w.put_be(CTA_PROTOINFO_TCP_STATE, std::uint8_t{10});
                  w.end(t);
                  w.end(info);
              }),
              Fault::bad_state);
    EXPECT_EQ(with([&](Writer& w) { put_tuple(w, CTA_TUPLE_REPLY, f.reply, IPPROTO_UDP); }),
              Fault::bad_tuple);
    EXPECT_EQ(with([](Writer& w) {
                  const auto t = w.begin(CTA_TUPLE_ORIG);
                  w.put_be(CTA_TUPLE_ZONE, std::uint32_t{1});
                  w.end(t);
              }),
              Fault::bad_size);
    EXPECT_EQ(with([](Writer& w) { w.end(w.begin(CTA_TUPLE_ORIG)); }), Fault::bad_tuple);
    EXPECT_EQ(with([](Writer& w) {
                  const auto t = w.begin(CTA_TUPLE_ORIG);
                  const auto ip = w.begin(CTA_TUPLE_IP);
                  w.put(CTA_IP_V4_SRC, "\1\2\3", 3);
                  w.end(ip);
                  w.end(t);
              }),
              Fault::bad_size);
    EXPECT_EQ(with([](Writer& w) { w.plain(std::uint32_t{0x00010002}); }), Fault::bad_attribute);
    EXPECT_EQ(with([](Writer& w) { w.put_be(CTA_LABELS, std::uint64_t{1}); }), Fault::bad_size);

    Entry e;
    auto message = event(f, [](Writer&) {});
    message[4] = 9;
    EXPECT_EQ(parse(message, e), Fault::not_conntrack);
    message = event(f, [](Writer&) {});
    message[16] = AF_UNIX;
    EXPECT_EQ(parse(message, e), Fault::bad_family);
    message[16] = AF_INET6; // whose addresses have other attributes
    EXPECT_EQ(parse(message, e), Fault::bad_tuple);
    std::vector<std::uint8_t> empty(64);
    Writer w(empty, kNew, 0, 1);
    w.plain(std::uint32_t{AF_INET});
    empty.resize(w.finish());
    EXPECT_EQ(parse(empty, e), Fault::missing_tuple);
}

TEST(Parse, EveryFaultHasItsName) {
    std::vector<std::string> names;
    names.reserve(kFaults);
    for (int i = 0; i < kFaults; i++)
        names.emplace_back(to_string(static_cast<Fault>(i)));
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

// ---- building --------------------------------------------------------------------------------

TEST(Build, WhatIsCreatedReadsBackWithoutItsNat) {
    const state::Flow plain = tcp(5000, "2001:db8:1::2", "2001:db8:2::80");
    for (const state::Flow& f :
         {plain, snat(plain, "2001:db8:9::1", 40000), snat(ping(7), "198.51.100.1", 9)}) {
        std::array<std::uint8_t, kMaxRequest> buffer{};
        const std::size_t size = build(buffer, Request::create, f, 700, 5);
        ASSERT_GT(size, 0U);
        Entry e;
        ASSERT_EQ(parse(Bytes(buffer).first(size), e), Fault::none);
        EXPECT_EQ(e.flow.key, f.key);
        EXPECT_EQ(e.flow.reply, state::inverse(f.key)); // the kernel translates it
        EXPECT_EQ(e.flow.timeout, 700U);
        EXPECT_EQ(e.flow.src_state, f.src_state);
        EXPECT_EQ(e.flow.flags, f.flags);
        EXPECT_EQ(e.flow.liberal, f.key.proto == IPPROTO_TCP);
    }
}

TEST(Build, SequenceAdjustmentsReadBack) {
    state::Flow f = tcp(1);
    f.extras.seq_adjust = {{{1000, 0xfffffffe, 3}, {2000, 0, 1}}};
    for (const Request request : {Request::create, Request::update, Request::update_progress}) {
        std::array<std::uint8_t, kMaxRequest> buffer{};
        const std::size_t size = build(buffer, request, f, 700, 5);
        EXPECT_NE(size, build(buffer, request, tcp(1), 700, 5));
        ASSERT_EQ(size, build(buffer, request, f, 700, 5));
        Entry e;
        if (request != Request::create)
            continue; // the others have no reply tuple
        ASSERT_EQ(parse(Bytes(buffer).first(size), e), Fault::none);
        EXPECT_EQ(e.flow.extras.seq_adjust, f.extras.seq_adjust);
    }
}

// The kernel accepts a state of SCTP only with both verification tags (nlattr_to_sctp).
TEST(Build, VerificationTagsReadBack) {
    constexpr std::uint8_t kSctp = 132;
    state::Flow f = tcp(1);
    f.key.proto = kSctp;
    std::array<std::uint8_t, kMaxRequest> buffer{};
    const std::size_t update = build(buffer, Request::update, f, 700, 5);
    f.extras.verification_tags = {0x11223344, 0};
    EXPECT_EQ(build(buffer, Request::update, f, 700, 5), update); // it would overwrite the other
    f.extras.verification_tags = {0x11223344, 0x55667788};
    EXPECT_GT(build(buffer, Request::update, f, 700, 5), update);
    const std::size_t size = build(buffer, Request::create, f, 700, 5);
    Entry e;
    ASSERT_EQ(parse(Bytes(buffer).first(size), e), Fault::none);
    EXPECT_EQ(e.flow.extras.verification_tags, f.extras.verification_tags);
    EXPECT_EQ(e.flow.src_state, f.src_state);
}

TEST(Build, NoRequestIsLargerThanSaid) {
    state::Flow f = snat(dnat(tcp(1, "2001:db8:1::2", "2001:db8:2::80"), "2001:db8:a::1", 2),
                         "2001:db8:9::1", 3);
    f.key.zone = 1;
    for (int r = 0; r <= static_cast<int>(Request::get); r++) {
        std::array<std::uint8_t, kMaxRequest> buffer{};
        EXPECT_GT(build(buffer, static_cast<Request>(r), f, 1, 1), 0U) << r;
    }
}

TEST(Build, NothingIsWrittenPastABufferThatIsTooSmall) {
    const state::Flow f = snat(tcp(1), "198.51.100.1", 2);
    std::array<std::uint8_t, kMaxRequest> whole{};
    const std::size_t needed = build(whole, Request::create, f, 1, 1);
    for (std::size_t size = 0; size < needed; size++) {
        std::vector<std::uint8_t> small(size);
        EXPECT_EQ(build(small, Request::create, f, 1, 1), 0U) << size;
    }
    std::vector<std::uint8_t> just(needed);
    EXPECT_EQ(build(just, Request::create, f, 1, 1), needed);
}

} // namespace
} // namespace encsync::table::test
