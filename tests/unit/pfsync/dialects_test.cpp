// SPDX-License-Identifier: ISC
// The properties of each dialect, according to its system's sources.
#include "describe.hpp"

#include <gtest/gtest.h>

namespace encsync::pfsync {
namespace {

struct Facts {
    Dialect dialect;
    const char* name;
    int version;
    std::size_t state_size, tdb_size;
    int timeout_max, inet6;
    bool ipv6, extensible;
    DstStale dst_stale;
    bool copies_stale_dst;
    int retry;
    bool endtime, empty_start;
};

constexpr Facts kFacts[] = {
    {Dialect::openbsd, "openbsd", 6, 264, 52, 20, 24, false, true, DstStale::equal_states, false, 2,
     false, true},
    {Dialect::freebsd1301, "freebsd-1301", 5, 242, 48, 20, 28, false, false,
     DstStale::since_syn_sent, true, 5, true, true},
    {Dialect::freebsd1400, "freebsd-1400", 5, 277, 48, 25, 28, true, false,
     DstStale::since_syn_sent, true, 5, true, true},
    {Dialect::freebsd1500, "freebsd-1500", 5, 360, 48, 25, 28, true, false,
     DstStale::since_syn_sent, true, 5, true, true},
};

TEST(Dialects, AreWhatTheirSystemsSpeak) {
    for (const Facts& f : kFacts) {
        SCOPED_TRACE(f.name);
        const DialectTraits& t = traits(f.dialect);
        EXPECT_EQ(t.name, f.name);
        EXPECT_EQ(t.version, f.version);
        EXPECT_EQ(t.state.size, f.state_size);
        EXPECT_EQ(t.tdb.size, f.tdb_size);
        EXPECT_EQ(t.state.timeout_max, f.timeout_max);
        EXPECT_EQ(t.state.af_inet6, f.inet6);
        EXPECT_EQ(t.ipv6, f.ipv6);
        EXPECT_EQ(t.extensible(), f.extensible);
        EXPECT_EQ(t.dst_stale, f.dst_stale);
        EXPECT_EQ(t.copies_stale_dst, f.copies_stale_dst);
        EXPECT_EQ(t.bulk.retry.count(), f.retry);
        EXPECT_EQ(t.bulk.endtime, f.endtime);
        EXPECT_EQ(t.bulk.empty_start, f.empty_start);
    }
}

TEST(Dialects, HaveNames) {
    for (const Dialect d : kAllDialects)
        EXPECT_EQ(dialect_named(to_string(d)), d);
    EXPECT_EQ(dialect_named("freebsd"), std::nullopt);
    EXPECT_EQ(dialect_named(""), std::nullopt);
}

// dialects_of() relies on it.
TEST(Dialects, OfOneVersionStandTogether) {
    std::size_t found = 0;
    for (int version = 0; version < 256; version++)
        for (const Dialect d : dialects_of(static_cast<std::uint8_t>(version))) {
            EXPECT_EQ(version_of(d), version);
            found++;
        }
    EXPECT_EQ(found, kAllDialects.size());
    EXPECT_TRUE(dialects_of(4).empty());
}

// A reader of one state of a version reads all of them.
TEST(Dialects, HaveActionsOfTheirOwnForStates) {
    for (const Dialect from : kAllDialects)
        for (const Dialect to : kAllDialects)
            for (const Kind k : {Kind::insert, Kind::update})
                if (version_of(from) == version_of(to)) {
                    EXPECT_EQ(meaning(to, *action_of(from, k)), (Meaning{k, from}));
                }
}

// Of layouts with the same name in unnamed namespaces, gcc 14 makes one function.
TEST(Dialects, ReadAndWriteEachLayoutByFunctionsOfItsOwn) {
    for (const Dialect one : kAllDialects)
        for (const Dialect other : kAllDialects)
            if (one != other) {
                EXPECT_NE(traits(one).read_state, traits(other).read_state) << to_string(one);
                EXPECT_NE(traits(one).write_state, traits(other).write_state) << to_string(one);
            }
}

TEST(Dialects, NameEachMessageOnce) {
    for (const Dialect d : kAllDialects) {
        const auto messages = traits(d).messages;
        for (std::size_t n = 0; n < messages.size(); n++)
            for (std::size_t other = 0; other < n; other++) {
                EXPECT_NE(messages[n].number, messages[other].number) << to_string(d);
                EXPECT_NE(messages[n].action, messages[other].action) << to_string(d);
            }
    }
}

} // namespace
} // namespace encsync::pfsync
