// SPDX-License-Identifier: ISC
// Roles between an engine without peers' packets and a run directory; tests/lab/test_roles.py has
// whole nodes and keepalived.
#include "daemon/roles.hpp"

#include "config/options.hpp"
#include "table/memory/memory.hpp"

#include <array>
#include <filesystem>
#include <gtest/gtest.h>

namespace encsync::daemon {
namespace {

using control::RoleOrder;
using sync::Role;

struct NoLink final : sync::Link {
    MutableBytes acquire(PeerId) override { return {}; }
    void commit(PeerId, std::size_t) override {}
    void flush() override { flushes++; }
    unsigned flushes = 0;
};

class RolesTest : public testing::Test {
  protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "/roles.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        dir_ = name;
        sync::Options options;
        options.creatorid = options.session = 1;
        engine_.emplace(std::move(options), table_, link_);
        turns_.emplace(io_, *engine_, nullptr);
        start();
    }
    void TearDown() override { std::filesystem::remove_all(dir_); }

    // As after a restart of the daemon, which reads what was stored.
    void start() {
        run_dir_.emplace(dir_);
        auto told = run_dir_->role();
        if (told)
            engine_->set_role(told->role);
        roles_.emplace(setup_, directory_, *run_dir_, *engine_, nullptr, *turns_, told);
    }
    boost::json::object set(std::string_view role, const RoleOrder& order) {
        auto done = roles_->set({{"role", role}, {"order", order.text()}});
        EXPECT_TRUE(done) << done.error().text;
        return done ? done->as_object() : boost::json::object{};
    }
    static RoleOrder order(std::uint64_t ticks, std::uint32_t pid = 7) { return {ticks, pid}; }

    boost::asio::io_context io_;
    table::Memory table_;
    NoLink link_;
    config::Setup setup_ = config::default_setup();
    Directory directory_{{}};
    std::string dir_;
    std::optional<sync::Engine> engine_;
    std::optional<Turns> turns_;
    std::optional<RunDir> run_dir_;
    std::optional<Roles> roles_;
};

TEST_F(RolesTest, OneThatIsSetIsInForceAndOutlivesARestart) {
    EXPECT_EQ(set("active", order(5)), (boost::json::object{{"role", "active"}, {"stored", true}}));
    EXPECT_EQ(engine_->role(), Role::active);
    EXPECT_EQ(*roles_->set({}), (boost::json::value{{"role", "active"}}));
    engine_->set_role(Role::automatic);
    start();
    EXPECT_EQ(engine_->role(), Role::active);
    // And so does when it was asked for.
    EXPECT_TRUE(set("standby", order(4)).at("overtaken").as_bool());
    EXPECT_EQ(engine_->role(), Role::active);
}

TEST_F(RolesTest, TheLastOneThatWasAskedForStays) {
    set("active", order(5, 7));
    const auto late = set("standby", order(4, 9));
    EXPECT_EQ(late, (boost::json::object{{"role", "active"}, {"overtaken", true}, {"by", "5 7"}}));
    EXPECT_EQ(engine_->role(), Role::active);
    EXPECT_FALSE(set("standby", order(6)).contains("overtaken"));
    EXPECT_EQ(engine_->role(), Role::standby);
    // One from the future is as of now, and keeps nobody out.
    const auto now = RoleOrder::now();
    set("active", order(now.ticks + 1'000'000));
    EXPECT_FALSE(set("standby", order(RoleOrder::now().ticks + 2'000'000)).contains("overtaken"));
    EXPECT_EQ(engine_->role(), Role::standby);
}

TEST_F(RolesTest, ABadOrderIsRefused) {
    const auto done = roles_->set({{"role", "active"}, {"order", "yesterday"}});
    ASSERT_FALSE(done);
    EXPECT_TRUE(done.error().text.starts_with("role: ")) << done.error().text;
    EXPECT_EQ(engine_->role(), Role::automatic);
}

TEST_F(RolesTest, OneThatCannotBeStoredIsTriedAgain) {
    std::filesystem::remove_all(dir_);
    const auto done = set("active", order(5));
    EXPECT_FALSE(done.at("stored").as_bool());
    EXPECT_NE(done.at("why").as_string().find("cannot write"), std::string::npos);
    EXPECT_EQ(engine_->role(), Role::active); // it is in force
    EXPECT_FALSE(run_dir_->role());
    std::filesystem::create_directory(dir_);
    roles_->store();
    EXPECT_EQ(run_dir_->role()->role, Role::active);
}

TEST_F(RolesTest, TheConfigurationsHoldsWhileNoneWasSet) {
    setup_.role = config::Role::standby;
    EXPECT_EQ(roles_->take_configured(), "role=standby is in force");
    EXPECT_EQ(engine_->role(), Role::standby);
    EXPECT_FALSE(run_dir_->role());
    set("active", order(5));
    EXPECT_NE(roles_->take_configured().find("the role was set to active by command"),
              std::string::npos);
    EXPECT_EQ(engine_->role(), Role::active);
}

TEST_F(RolesTest, AChangeBeginsATurn) {
    set("active", order(5));
    EXPECT_EQ(link_.flushes, 0u); // at its end
    io_.poll();
    EXPECT_EQ(link_.flushes, 1u);
    set("active", order(5)); // nothing new
    io_.restart();
    io_.poll();
    EXPECT_EQ(link_.flushes, 1u);
}

// ---- turns ---------------------------------------------------------------------------------

TEST_F(RolesTest, ATurnFlushesOnceAtItsEnd) {
    for (int n = 0; n < 5; n++)
        turns_->begin();
    EXPECT_EQ(link_.flushes, 0u);
    io_.poll();
    EXPECT_EQ(link_.flushes, 1u);
    turns_->begin();
    io_.restart();
    io_.poll();
    EXPECT_EQ(link_.flushes, 2u);
}

TEST_F(RolesTest, ATurnBeginsWhenTheEngineHasADeadline) {
    turns_->begin();
    io_.poll();
    const unsigned before = link_.flushes;
    io_.restart();
    io_.run_for(std::chrono::milliseconds(500)); // the round of copies: ten times a second
    EXPECT_GE(link_.flushes, before + 2);
}

} // namespace
} // namespace encsync::daemon
