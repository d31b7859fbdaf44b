// SPDX-License-Identifier: ISC
#include "flows.hpp"

#include "table/factory.hpp"

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>

namespace encsync::table::test {
namespace {

struct Ended final : Listener {
    std::vector<state::Key> keys;
    int dumps = 0;
    void on_created(const state::Flow&) override {}
    void on_updated(const state::Flow&) override {}
    void on_destroyed(const state::Flow& flow) override { keys.push_back(flow.key); }
    void on_dump_begin() override {}
    void on_dump_entry(const state::Flow&, bool) override {}
    void on_dump_end() override { dumps++; }
    void on_refused(const state::Key&, Refusal) override {}
};

// Using only the interface.
TEST(Factory, MakesATableThatHoldsStates) {
    boost::asio::io_context io;
    auto table = make_table("memory", io, {});
    ASSERT_TRUE(table) << table.error().text;
    Ended seen;
    (*table)->start(seen);
    (*table)->advance(0);
    EXPECT_EQ(seen.dumps, 1);
    const state::Flow flow = tcp(1);
    (*table)->put(flow, Lifetime::natural);
    (*table)->flush();
    (*table)->advance((*table)->natural_timeout(flow) - 1);
    EXPECT_TRUE(seen.keys.empty());
    (*table)->advance((*table)->natural_timeout(flow));
    EXPECT_EQ(seen.keys, std::vector{flow.key});
}

TEST(Factory, KnowsWhatABackendIsBeforeItIsThere) {
    EXPECT_TRUE(capabilities_of("conntrack").in_kernel);
    EXPECT_TRUE(capabilities_of("conntrack").expectations);
    EXPECT_FALSE(capabilities_of("memory").in_kernel);
    EXPECT_FALSE(capabilities_of("memory").expectations);
}

TEST(Factory, RefusesWhatThereIsNot) {
    boost::asio::io_context io;
    const auto table = make_table("conntrac", io, {});
    ASSERT_FALSE(table);
    EXPECT_EQ(table.error().text, "there is no table 'conntrac'");
    EXPECT_FALSE(capabilities_of("conntrac").in_kernel);
}

} // namespace
} // namespace encsync::table::test
