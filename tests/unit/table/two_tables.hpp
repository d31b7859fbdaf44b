// SPDX-License-Identifier: ISC
// Two tables of one kernel: `ours_` is under test, `other_` represents any other program. Both have
// read it when a test begins.
#pragma once

#include "flows.hpp"
#include "netns.hpp"

#include <algorithm>
#include <memory>

namespace encsync::table::test {

class TwoTables : public InNamespace {
  protected:
    void SetUp() override {
        InNamespace::SetUp();
        if (!HasFatalFailure())
            open_tables();
    }
    void open_tables() {
        ours_ = open(io_);
        other_ = open(io_);
        ASSERT_TRUE(ours_ && other_);
        ours_->start(our_);
        other_->start(others_);
        ASSERT_TRUE(run_until([&] { return our_.dumps_ended == 1 && others_.dumps_ended == 1; }));
    }
    void TearDown() override {
        ours_.reset();
        other_.reset();
        InNamespace::TearDown();
    }

    // The entry in the kernel, or fails.
    state::Flow read_back(const state::Key& key) {
        dump(*other_, others_);
        const auto at = others_.dump.find(key);
        if (at == others_.dump.end()) {
            ADD_FAILURE() << "not in the kernel";
            return {};
        }
        return at->second.first;
    }
    bool is_there(const state::Key& key) {
        dump(*other_, others_);
        return others_.dump.contains(key);
    }
    void put(const state::Flow& f, Lifetime lifetime = Lifetime::copy) {
        ours_->put(f, lifetime);
        ours_->flush();
    }
    // Both tables have received all earlier events.
    void settle() {
        const auto seen = [](const Recorder& r, const state::Key& key) {
            return std::any_of(r.created.begin(), r.created.end(),
                               [&](const auto& f) { return f.key == key; });
        };
        const state::Flow ours = udp(++marker_, "10.255.0.1"),
                          others = udp(++marker_, "10.255.0.1");
        ours_->put(ours, Lifetime::natural);
        ours_->flush();
        other_->put(others, Lifetime::natural);
        other_->flush();
        ASSERT_TRUE(run_until([&] { return seen(our_, others.key) && seen(others_, ours.key); }));
        const auto forget = [&](std::vector<state::Flow>& flows) {
            std::erase_if(flows,
                          [&](const auto& f) { return f.key == ours.key || f.key == others.key; });
        };
        forget(our_.created);
        forget(others_.created);
    }

    std::unique_ptr<Conntrack> ours_, other_;
    Recorder our_, others_;
    std::uint16_t marker_ = 0;
};

} // namespace encsync::table::test
