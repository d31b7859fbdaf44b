// SPDX-License-Identifier: ISC
// What a peer may send: each rule refuses what it is for, by its name, and nothing else.
#include "../pfsync/write_clr.hpp"
#include "policy/alarms.hpp"
#include "policy/trial.hpp"

#include <gtest/gtest.h>
#include <set>

namespace encsync::policy {
namespace {

using namespace std::chrono_literals;
using pfsync::Kind;

constexpr std::uint32_t kOwn = 0x01020304, kPeer = 0x0a0b0c0d, kOther = 0x11111111;
const Time kNow{1000s};

net::Address address(const char* text) {
    return net::parse_address(text).value();
}

state::Flow flow(std::uint16_t port, std::uint32_t creator = kPeer, const char* dst = "10.2.0.2") {
    state::Flow f;
    f.key.family = net::Family::inet;
    f.key.proto = IPPROTO_TCP;
    f.key.orig = {{address("10.1.0.2").bytes}, {address(dst).bytes}, port, 443};
    f.reply = state::inverse(f.key);
    f.id = {port, creator};
    f.src_state = f.dst_state = 4;
    f.timeout = 100;
    return f;
}

class Packet {
  public:
    Packet() = default;
    Packet(const Packet&) = delete;
    Packet& operator=(const Packet&) = delete;
    Packet& insert(const state::Flow& f) {
        pfsync::write_state(pfsync::kOwnDialect, builder_.add(Kind::insert), f, {});
        return *this;
    }
    Packet& update(const state::Flow& f) {
        pfsync::write_upd_c(builder_.add(Kind::update_c), f);
        return *this;
    }
    Packet& id(Kind kind, state::StateId id) {
        pfsync::write_id(builder_.add(kind), id);
        return *this;
    }
    Packet& clear(std::uint32_t creator) {
        pfsync::write_clr(builder_.add(Kind::clear), "", creator);
        return *this;
    }
    Packet& raw(std::uint8_t action, std::size_t size) {
        builder_.add(action, size);
        return *this;
    }
    Bytes bytes() { return Bytes(room_).first(builder_.finish()); }

  private:
    std::array<std::uint8_t, 1400> room_{};
    pfsync::Builder builder_{room_};
};

struct Judge {
    explicit Judge(Rules rules = {}, table::FilterOptions options = {})
        : verdict(std::move(rules), kOwn), filter(std::move(options)) {}

    // "accept, bad_creatorid": of each message.
    std::string of(Packet& packet, Time now = kNow) {
        std::string out;
        const Checked checked = verdict.payload(packet.bytes(), pfsync::kOwnDialect, now);
        if (checked.why != Reason::accept)
            return to_string(checked.why);
        for (const Judged& each : trial.messages(checked.payload, pfsync::kOwnDialect, now))
            out.append(out.empty() ? "" : ", ").append(to_string(each.why));
        return out;
    }
    std::uint64_t count(Reason why) const { return verdict.counters().refused[index_of(why)]; }

    Verdict verdict;
    table::Filter filter;
    Trial trial{verdict, filter, true};
};

TEST(Reason, EachHasANameAndSaysWhatItMeans) {
    std::set<std::string_view> names, texts;
    for (int n = 0; n < kReasons; n++) {
        names.insert(describe(static_cast<Reason>(n)).name);
        texts.insert(describe(static_cast<Reason>(n)).text);
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(kReasons));
    EXPECT_EQ(texts.size(), static_cast<std::size_t>(kReasons));
    EXPECT_FALSE(names.contains(""));
}

// The names of faults and of kinds of states are those of their own lists.
TEST(Reason, CoversFaultsAndKindsOfStates) {
    std::set<Reason> all;
    for (int n = 1; n < pfsync::kFaults; n++) {
        const auto fault = static_cast<pfsync::Fault>(n);
        const std::string name = to_string(reason_of(fault));
        EXPECT_TRUE(name.ends_with(to_string(fault))) << name;
        all.insert(reason_of(fault));
    }
    EXPECT_EQ(all.size(), pfsync::kFaults - 1U);
    for (int n = 0; n < table::kIgnored; n++) {
        const auto why = static_cast<table::Ignored>(n);
        if (why == table::Ignored::nosync || why == table::Ignored::nosync_mark)
            EXPECT_EQ(reason_of(why), Reason::accept); // of what is sent
        else
            EXPECT_STREQ(to_string(reason_of(why)), to_string(why));
    }
}

TEST(Verdict, AcceptsWhatNoRuleForbids) {
    Judge judge;
    EXPECT_EQ(judge.of(Packet().insert(flow(1)).update(flow(1)).id(Kind::remove_c, flow(1).id)),
              "accept, accept, accept");
    EXPECT_EQ(judge.of(Packet().insert(flow(1, kOwn)).clear(kPeer)), "accept, accept");
    EXPECT_EQ(judge.verdict.counters().refused, decltype(VerdictCounters::refused){});
    EXPECT_EQ(judge.verdict.counters().accepted, 2U);
}

TEST(Verdict, RefusesMalformedMessages) {
    Judge judge;
    EXPECT_EQ(judge.of(Packet().insert(flow(1, 0)).update(flow(2))), "bad_creatorid, accept");
    EXPECT_EQ(judge.of(Packet().raw(99, 8).raw(4, 8).insert(flow(1))),
              "unknown_action, short_message, accept");
    EXPECT_EQ(judge.of(Packet().clear(0)), "bad_creatorid");
    EXPECT_EQ(judge.count(Reason::bad_creatorid), 2U);
}

TEST(Verdict, NobodyClearsOurOwnStates) {
    Judge judge;
    EXPECT_EQ(judge.of(Packet().clear(kOwn).clear(kOther)), "own_creatorid, accept");
}

TEST(Verdict, ThePeerSpeaksForItsCreatorsOnly) {
    Judge judge({.creators = {kPeer, kOwn}});
    EXPECT_EQ(judge.of(Packet().insert(flow(1)).insert(flow(2, kOwn)).insert(flow(3, kOther))),
              "accept, accept, foreign_creatorid");
    EXPECT_EQ(judge.of(Packet().update(flow(3, kOther)).id(Kind::remove_c, {3, kOther})),
              "foreign_creatorid, foreign_creatorid");
    EXPECT_EQ(judge.of(Packet().clear(kOther).clear(kPeer)), "foreign_creatorid, accept");
    EXPECT_EQ(judge.of(Packet().id(Kind::request, {3, kOther})), "accept"); // asks, says nothing
}

// Of `most` in a second, one more is refused, and in the next second it is not.
void expect_rate(Rules rules, void (*fill)(Packet&, std::uint16_t), const char* name) {
    Judge judge(std::move(rules));
    const auto send = [&](Judge& to, std::uint16_t n, Time now = kNow) {
        Packet packet;
        fill(packet, n);
        return to.of(packet, now);
    };
    for (std::uint16_t n = 1; n <= 3; n++)
        EXPECT_EQ(send(judge, n), "accept") << name << n;
    EXPECT_EQ(send(judge, 4), name);
    EXPECT_EQ(send(judge, 5, kNow + 999ms), name);
    EXPECT_EQ(send(judge, 6, kNow + 1s), "accept") << name;
    Judge free({.max_requests = 0, .max_clears = 0});
    for (std::uint16_t n = 1; n <= 100; n++)
        EXPECT_EQ(send(free, n), "accept") << name;
}

TEST(Verdict, LimitsRates) {
    const auto insert = [](Packet& p, std::uint16_t n) { p.insert(flow(n)); };
    const auto request = [](Packet& p, std::uint16_t n) { p.id(Kind::request, {n, kPeer}); };
    const auto clear = [](Packet& p, std::uint16_t) { p.clear(kPeer); };
    expect_rate({.max_packets = 3}, insert, "packet_rate");
    expect_rate({.max_inserts = 3}, insert, "insert_rate");
    expect_rate({.max_requests = 3}, request, "request_rate");
    expect_rate({.max_clears = 3}, clear, "clear_rate");
}

TEST(Verdict, KnownStatesAreNoInserts) {
    Judge judge({.max_inserts = 2});
    for (int n = 0; n < 5; n++)
        EXPECT_EQ(judge.of(Packet().insert(flow(1)).insert(flow(2))), "accept, accept");
}

TEST(Verdict, LimitsStatesAndTheShareOfTheTable) {
    Judge judge({.max_states = 2});
    EXPECT_EQ(judge.of(Packet().insert(flow(1)).insert(flow(2)).insert(flow(3))),
              "accept, accept, peer_limit");
    EXPECT_EQ(judge.of(Packet().id(Kind::remove_c, flow(1).id).insert(flow(3))), "accept, accept");
    Judge shared;
    shared.verdict.set_share(1);
    EXPECT_EQ(shared.of(Packet().insert(flow(1)).insert(flow(2))), "accept, share");
    shared.verdict.set_share(2);
    EXPECT_EQ(shared.of(Packet().insert(flow(2))), "accept");
}

TEST(Verdict, SomeStatesAreNeverAccepted) {
    table::FilterOptions options;
    options.ignore = {*net::parse_prefix("10.9.0.0/16")};
    Judge judge({}, options);
    judge.filter.addresses().add(address("10.2.0.1"), 1);
    const auto of = [&](const char* dst, std::uint8_t proto = IPPROTO_TCP) {
        state::Flow f = flow(1, kPeer, dst);
        f.key.proto = proto;
        return judge.of(Packet().insert(f));
    };
    EXPECT_EQ(of("10.2.0.2"), "accept");
    EXPECT_EQ(of("10.2.0.1"), "local");
    EXPECT_EQ(of("127.0.0.1"), "loopback");
    EXPECT_EQ(of("224.0.0.240"), "multicast");
    EXPECT_EQ(of("0.0.0.0"), "unspecified");
    EXPECT_EQ(of("10.9.0.7"), "prefix");
    EXPECT_EQ(of("10.2.0.2", net::kPfsync), "protocol");
    EXPECT_EQ(judge.count(Reason::state_local), 1U);
}

state::NoSync rule(const char* src) {
    return state::NoSync({{.src = *net::parse_prefix(src)}});
}

TEST(Verdict, AcceptsByRulesAndRefusesByRules) {
    EXPECT_EQ(Judge({.accept = rule("10.1.0.0/16")}).of(Packet().insert(flow(1))), "accept");
    EXPECT_EQ(Judge({.accept = rule("10.7.0.0/16")}).of(Packet().insert(flow(1))), "not_accepted");
    EXPECT_EQ(Judge({.refuse = rule("10.1.0.0/16")}).of(Packet().insert(flow(1))), "refuse");
    EXPECT_EQ(Judge({.refuse = rule("10.7.0.0/16")}).of(Packet().insert(flow(1))), "accept");
    Judge both({.refuse = rule("10.1.0.0/24"), .accept = rule("10.1.0.0/16")});
    EXPECT_EQ(both.of(Packet().insert(flow(1))), "refuse");
    // No rule of accept lets pass what no peer may state.
    Judge own({.accept = rule("10.1.0.0/16")});
    own.filter.addresses().add(address("10.2.0.2"), 1);
    EXPECT_EQ(own.of(Packet().insert(flow(1))), "local");
}

TEST(Verdict, SaysItsRulesInWords) {
    const auto words =
        in_words({.accept = rule("10.1.0.0/16"), .creators = {0xa1}, .max_inserts = 7});
    const auto has = [&](const char* text) {
        return std::ranges::any_of(words, [&](const auto& w) { return w.find(text) != w.npos; });
    };
    EXPECT_TRUE(has("000000a1"));
    EXPECT_TRUE(has("at most 7 new states a second"));
    EXPECT_TRUE(has("at most 10 CLR a second"));
    EXPECT_TRUE(has("(accept)"));
    EXPECT_FALSE(has("(refuse)"));
}

// ---- the log ---------------------------------------------------------------------------------

TEST(Alarms, TheFirstOfAKindAtOnceThenASummary) {
    Alarms alarms;
    VerdictCounters counters;
    const auto lines = [&](Time now) {
        std::string out;
        for (const auto& [level, line] : alarms.look(counters, now))
            out += (level == log::Level::warning ? "" : "quiet: ") + line + "\n";
        return out;
    };
    EXPECT_EQ(lines(kNow), "");
    counters.refused[index_of(Reason::bad_ttl)]++;
    EXPECT_EQ(lines(kNow), "a packet is not accepted: the TTL is not 255 (bad_ttl)\n");
    counters.refused[index_of(Reason::bad_ttl)] += 7;
    counters.refused[index_of(Reason::clear_rate)] += 2;
    EXPECT_EQ(lines(kNow + 1s), "2 messages are not accepted: more CLR a second than maxclears "
                                "(clear_rate)\n");
    EXPECT_EQ(lines(kNow + 59s), "");
    EXPECT_EQ(lines(kNow + 60s), "7 packets are not accepted: the TTL is not 255 (bad_ttl)\n");
    counters.refused[index_of(Reason::bad_ttl)]++;
    EXPECT_EQ(lines(kNow + 179s), ""); // two minutes now
    EXPECT_NE(lines(kNow + 180s), "");
    counters.refused[index_of(Reason::unknown_state)]++; // happens between honest nodes
    EXPECT_TRUE(lines(kNow + 181s).starts_with("quiet: "));
}

} // namespace
} // namespace encsync::policy
