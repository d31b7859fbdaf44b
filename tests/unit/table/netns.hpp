// SPDX-License-Identifier: ISC
// A network namespace of the test's own, and a kernel table in it.
//
// The process enters a new namespace and returns at the end; the namespace ends with the last
// socket in it. It has no name, so there is nothing to clean up.
#pragma once

#include "table/conntrack/conntrack.hpp"
#include "util/fd.hpp"

#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <sched.h>
#include <vector>

namespace encsync::table::test {

struct Recorder : Listener {
    std::vector<state::Flow> created, updated, destroyed, withdrawn;
    std::map<state::Key, std::pair<state::Flow, bool>> dump;
    std::vector<std::pair<state::Key, Refusal>> refused;
    std::vector<std::pair<state::Expectation, bool>> expected; // and whether it was new
    std::vector<state::Expectation> unexpected;
    std::vector<state::Key> holders; // of clashes
    int dumps_begun = 0, dumps_ended = 0;

    void on_created(const state::Flow& f) override { created.push_back(f); }
    void on_updated(const state::Flow& f) override { updated.push_back(f); }
    void on_destroyed(const state::Flow& f) override { destroyed.push_back(f); }
    void on_withdrawn(const state::Flow& f) override { withdrawn.push_back(f); }
    void on_dump_begin() override {
        dump.clear();
        dumps_begun++;
    }
    void on_dump_entry(const state::Flow& f, bool untouched) override {
        dump[f.key] = {f, untouched};
    }
    void on_dump_end() override { dumps_ended++; }
    void on_refused(const state::Key& key, Refusal refusal) override {
        refused.emplace_back(key, refusal);
    }
    void on_clash(const state::Key& key, const state::Flow& holder, bool) override {
        holders.push_back(holder.key);
        on_refused(key, Refusal::clash);
    }
    void on_expected(const state::Expectation& e, bool fresh) override {
        expected.emplace_back(e, fresh);
    }
    void on_unexpected(const state::Expectation& e) override { unexpected.push_back(e); }
};

inline Fd this_namespace() {
    return Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

class InNamespace : public testing::Test {
  protected:
    void SetUp() override {
        home_ = this_namespace();
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "takes CAP_SYS_ADMIN";
    }
    void TearDown() override {
        if (home_) {
            ASSERT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
        }
    }

    static std::unique_ptr<Conntrack> open(boost::asio::io_context& io,
                                           ConntrackOptions options = {}) {
        auto table = Conntrack::open(io, std::move(options));
        if (!table) {
            ADD_FAILURE() << table.error().text;
            return nullptr;
        }
        return std::move(*table);
    }

    // Runs the loop until the condition holds; false after a time that no operation here takes.
    template<class F>
    bool run_until(F holds) {
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
        while (!holds()) {
            if (std::chrono::steady_clock::now() > limit)
                return false;
            io_.run_one_for(std::chrono::seconds(1));
        }
        return true;
    }

    // The kernel's current entries, read by a new dump of this table.
    void dump(Conntrack& table, Recorder& recorder) {
        const int before = recorder.dumps_ended;
        table.request_dump();
        ASSERT_TRUE(run_until([&] { return recorder.dumps_ended > before; }));
        // If a dump was running, ours is the one after it.
        ASSERT_TRUE(run_until([&] { return recorder.dumps_ended == recorder.dumps_begun; }));
    }

    Fd home_;
    boost::asio::io_context io_;
};

} // namespace encsync::table::test
