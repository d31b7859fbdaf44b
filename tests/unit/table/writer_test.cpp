// SPDX-License-Identifier: ISC
// The writer's reaction to each answer of the kernel, which is replaced by a table of answers.
#include "flows.hpp"

#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/netlink.hpp"
#include "table/conntrack/writer.hpp"

#include <cerrno>
#include <deque>
#include <functional>
#include <gtest/gtest.h>

namespace encsync::table::test {
namespace {

class Answers final : public Transport {
  public:
    enum Kind : std::uint8_t { create, change, look, remove };
    struct Request {
        Kind kind;
        ctnetlink::Entry entry;
    };
    // The errno in the answer to a request; 0: no answer.
    std::function<int(const Request&)> answer = [](const Request&) { return 0; };
    // The result of a query.
    std::function<std::optional<state::Flow>(const Request&)> found = [](const Request&) {
        return std::nullopt;
    };
    int send_error = 0;
    int lose = 0; // the answers to this many batches are lost
    std::vector<Request> requests;
    std::vector<std::size_t> batches; // requests in each

    int send(Bytes batch) override {
        if (send_error != 0)
            return send_error;
        datagrams_.clear();
        batches.push_back(0);
        lost_ = lose > 0;
        lose -= lost_ ? 1 : 0;
        for (netlink::Messages m(batch); m.next(); batches.back()++)
            handle(m);
        return 0;
    }
    int receive(Bytes& datagram) override {
        if (lost_) {
            lost_ = false;
            datagrams_.clear();
            return ENOBUFS;
        }
        if (datagrams_.empty())
            return EAGAIN;
        current_ = datagrams_.front();
        datagrams_.pop_front();
        datagram = current_;
        return 0;
    }
    std::vector<Kind> kinds() const {
        std::vector<Kind> out;
        for (const Request& r : requests)
            out.push_back(r.kind);
        return out;
    }
    void push(std::vector<std::uint8_t> datagram) { datagrams_.push_back(std::move(datagram)); }

  private:
    void handle(const netlink::Messages& m) {
        const nlmsghdr& h = m.header();
        Request r{};
        r.kind = (h.nlmsg_type & 0xff) == 2            ? remove
                 : (h.nlmsg_type & 0xff) == 1          ? look
                 : (h.nlmsg_flags & NLM_F_CREATE) != 0 ? create
                                                       : change;
        // Requests without a reply tuple are no entries; their original tuple is parsed all the
        // same.
        ctnetlink::parse(m.message(), r.entry);
        requests.push_back(r);
        const int error = answer(r);
        if (error != 0) {
            std::vector<std::uint8_t> buffer(64);
            netlink::Writer w(buffer, NLMSG_ERROR, 0, h.nlmsg_seq);
            w.plain(nlmsgerr{-error, h});
            buffer.resize(w.finish());
            datagrams_.push_back(buffer);
        } else if (const auto flow = r.kind == look ? found(r) : std::nullopt) {
            std::vector<std::uint8_t> buffer(ctnetlink::kMaxRequest);
            state::Flow plain = *flow;
            // Written with the reply tuple unchanged: as in an answer.
            plain.reply = flow->reply;
            buffer.resize(write_entry(buffer, plain, h.nlmsg_seq));
            datagrams_.push_back(buffer);
        }
    }
    static std::size_t write_entry(MutableBytes buffer, const state::Flow& f, std::uint32_t seq);

    std::deque<std::vector<std::uint8_t>> datagrams_;
    std::vector<std::uint8_t> current_;
    bool lost_ = false;
};

// These tests only need IPv4 with ports.
std::size_t Answers::write_entry(MutableBytes buffer, const state::Flow& f, std::uint32_t seq) {
    netlink::Writer w(buffer, 1 << 8, 0, seq);
    w.plain(std::array<std::uint8_t, 4>{AF_INET, 0, 0, 0});
    for (const int type : {1, 2}) {
        const state::Tuple& t = type == 1 ? f.key.orig : f.reply;
        const auto nest = w.begin(type);
        const auto ip = w.begin(1);
        w.put(1, t.src.bytes.data(), 4);
        w.put(2, t.dst.bytes.data(), 4);
        w.end(ip);
        const auto proto = w.begin(2);
        w.put_be(1, f.key.proto);
        w.put_be(2, t.sport);
        w.put_be(3, t.dport);
        w.end(proto);
        w.end(nest);
    }
    return w.finish();
}

struct Refusals : Listener {
    std::vector<std::pair<state::Key, Refusal>> all;
    std::function<void()> then = [] {};
    void on_created(const state::Flow&) override {}
    void on_updated(const state::Flow&) override {}
    void on_destroyed(const state::Flow&) override {}
    void on_dump_begin() override {}
    void on_dump_entry(const state::Flow&, bool) override {}
    void on_dump_end() override {}
    void on_refused(const state::Key& key, Refusal refusal) override {
        all.emplace_back(key, refusal);
        then();
    }
};

using Kinds = std::vector<Answers::Kind>;

class WriterTest : public testing::Test {
  protected:
    void put(const state::Flow& f) { writer_.put(f, 600); }
    void flush() {
        writer_.flush([this](const Writer::Refused& refused) {
            holders_.push_back(refused.holder);
            refusals_.on_refused(refused.key, refused.refusal);
        });
    }

    Answers kernel_;
    Hints hints_;
    int answered_ = 0;
    Writer writer_{kernel_, hints_, [this](const ctnetlink::Entry&) { answered_++; }};
    Refusals refusals_;
    std::vector<std::optional<state::Flow>> holders_; // of each
};

TEST_F(WriterTest, CreatesWhatItDoesNotKnowAndUpdatesWhatItDoes) {
    put(tcp(1));
    flush();
    put(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::create, Answers::change}));
    EXPECT_EQ(writer_.counters().created, 1U);
    EXPECT_EQ(writer_.counters().updated, 1U);
    writer_.remove(tcp(1));
    put(tcp(1));
    flush();
    EXPECT_EQ(kernel_.requests.back().kind, Answers::create);
}

state::Flow with_extras() {
    state::Flow f = tcp(1);
    f.extras = {{8}, *state::Name::of("ftp"), 0};
    return f;
}

TEST_F(WriterTest, AFlowWhoseHelperIsNotHereIsMadeWithoutIt) {
    kernel_.answer = [](const auto& r) {
        return r.entry.flow.extras.helper.empty() ? 0 : EOPNOTSUPP;
    };
    put(with_extras());
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::create, Answers::create}));
    EXPECT_EQ(kernel_.requests.back().entry.flow.extras.labels, (state::Labels{8}));
    EXPECT_EQ(writer_.counters().created, 1U);
    EXPECT_EQ(writer_.counters().without_helper, 1U);
    EXPECT_TRUE(refusals_.all.empty());
    // The same answer for a flow without any has its usual meaning.
    kernel_.answer = [](const auto&) { return EOPNOTSUPP; };
    put(tcp(2));
    flush();
    ASSERT_EQ(refusals_.all.size(), 1U);
    EXPECT_EQ(refusals_.all[0].second, Refusal::invalid);
}

TEST_F(WriterTest, AHelperThatWasLoadedJustNowIsTriedAgain) {
    int tries = 0;
    kernel_.answer = [&](const auto&) { return tries++ == 0 ? EAGAIN : 0; };
    put(with_extras());
    flush();
    EXPECT_EQ(tries, 2);
    EXPECT_EQ(kernel_.requests.back().entry.flow.extras.helper.text(), "ftp");
    EXPECT_EQ(writer_.counters().without_helper, 0U);
}

TEST_F(WriterTest, LabelsThatNothingHereUsesAreLeftOut) {
    hints_.set(with_extras());
    kernel_.answer = [](const auto& r) {
        return r.entry.flow.extras.labels == state::Labels{} ? 0 : ENOSPC;
    };
    put(with_extras());
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::change, Answers::change}));
    EXPECT_EQ(writer_.counters().updated, 1U);
    EXPECT_EQ(writer_.counters().without_labels, 1U);
    EXPECT_TRUE(refusals_.all.empty());
}

TEST_F(WriterTest, AnUpdateOfWhatIsGoneCreates) {
    hints_.set(tcp(1));
    for (const int gone : {ENOENT, ETIME}) {
        kernel_.requests.clear();
        kernel_.answer = [&](const auto& r) { return r.kind == Answers::change ? gone : 0; };
        put(tcp(1));
        flush();
        EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::change, Answers::create}));
    }
    EXPECT_TRUE(refusals_.all.empty());
}

TEST_F(WriterTest, AnExistingEntryIsLookedAtFirst) {
    kernel_.answer = [](const auto& r) { return r.kind == Answers::create ? EEXIST : 0; };
    kernel_.found = [](const auto&) { return tcp(1); };
    put(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::create, Answers::look, Answers::change}));
    EXPECT_EQ(writer_.counters().updated, 1U);
    EXPECT_EQ(writer_.counters().created, 0U);
}

TEST_F(WriterTest, AnEntryWithOtherNatIsReplaced) {
    int creates = 0;
    kernel_.answer = [&](const auto& r) {
        return r.kind == Answers::create && creates++ == 0 ? EEXIST : 0;
    };
    kernel_.found = [](const auto&) { return snat(tcp(1), "198.51.100.1", 7); };
    put(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(),
              (Kinds{Answers::create, Answers::look, Answers::remove, Answers::create}));
    EXPECT_EQ(writer_.counters().replaced, 1U);
    EXPECT_TRUE(refusals_.all.empty());
}

TEST_F(WriterTest, NoAnswerToALookIsAClash) {
    kernel_.answer = [](const auto& r) {
        return r.kind == Answers::create ? EEXIST : r.kind == Answers::look ? ENOENT : 0;
    };
    put(tcp(1));
    flush();
    // By the original tuple, by the reply, and once more, because it may be gone meanwhile.
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::create, Answers::look, Answers::look,
                                      Answers::create, Answers::look, Answers::look}));
    EXPECT_FALSE(holders_.at(0));
    ASSERT_EQ(refusals_.all.size(), 1U);
    EXPECT_EQ(refusals_.all[0], std::pair(tcp(1).key, Refusal::clash));
    EXPECT_EQ(writer_.counters().refused[static_cast<std::size_t>(Refusal::clash)], 1U);
    EXPECT_FALSE(hints_.holds(tcp(1)));
}

TEST_F(WriterTest, AClashNamesWhoHoldsTheReply) {
    int looks = 0;
    kernel_.answer = [&](const auto& r) {
        return r.kind == Answers::create                     ? EEXIST
               : r.kind == Answers::look && looks++ % 2 == 0 ? ENOENT
                                                             : 0;
    };
    kernel_.found = [](const auto&) { return tcp(2); };
    put(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::create, Answers::look, Answers::look}));
    ASSERT_EQ(holders_.size(), 1U);
    ASSERT_TRUE(holders_[0]);
    EXPECT_EQ(holders_[0]->key, tcp(2).key);
    EXPECT_EQ(refusals_.all[0], std::pair(tcp(1).key, Refusal::clash));
}

TEST_F(WriterTest, StatusBitsThatCannotBeClearedAreLeft) {
    hints_.set(tcp(1));
    int changes = 0;
    kernel_.answer = [&](const auto&) { return changes++ == 0 ? EBUSY : 0; };
    put(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::change, Answers::change}));
    EXPECT_TRUE(refusals_.all.empty());
}

TEST_F(WriterTest, AFullTableIsRefusedOnceAndNotTriedAgain) {
    for (const int error : {ENOMEM, ENFILE, ENOSPC}) {
        kernel_.requests.clear();
        refusals_.all.clear();
        kernel_.answer = [&](const auto&) { return error; };
        put(tcp(1));
        flush();
        EXPECT_EQ(kernel_.requests.size(), 1U);
        ASSERT_EQ(refusals_.all.size(), 1U);
        EXPECT_EQ(refusals_.all[0].second, Refusal::table_full);
    }
    EXPECT_EQ(writer_.counters().refused[static_cast<std::size_t>(Refusal::table_full)], 3U);
}

TEST_F(WriterTest, ErrnosHaveTheirMeaning) {
    EXPECT_EQ(Writer::refusal_of(EEXIST), Refusal::clash);
    EXPECT_EQ(Writer::refusal_of(EINVAL), Refusal::invalid);
    EXPECT_EQ(Writer::refusal_of(EOPNOTSUPP), Refusal::invalid);
    EXPECT_EQ(Writer::refusal_of(ERANGE), Refusal::invalid);
    EXPECT_EQ(Writer::refusal_of(EPERM), Refusal::other);
}

TEST_F(WriterTest, RefreshOfWhatIsGoneCreates) {
    kernel_.answer = [](const auto& r) { return r.kind == Answers::change ? ENOENT : 0; };
    writer_.refresh(tcp(1), 600);
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::change, Answers::create}));
    kernel_.answer = [](const auto&) { return 0; };
    writer_.refresh(tcp(1), 600);
    flush();
    EXPECT_EQ(writer_.counters().refreshed, 1U);
    EXPECT_EQ(writer_.counters().created, 1U);
}

TEST_F(WriterTest, RelaxingWhatIsGoneDoesNothing) {
    kernel_.answer = [](const auto&) { return ENOENT; };
    writer_.relax(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(), Kinds{Answers::change});
    EXPECT_TRUE(refusals_.all.empty());
    EXPECT_EQ(writer_.counters().relaxed, 0U);
    kernel_.answer = [](const auto&) { return 0; };
    writer_.relax(tcp(1));
    flush();
    EXPECT_EQ(writer_.counters().relaxed, 1U);
}

TEST_F(WriterTest, RemovingWhatIsGoneIsNoRefusal) {
    kernel_.answer = [](const auto&) { return ENOENT; };
    writer_.remove(tcp(1));
    flush();
    EXPECT_TRUE(refusals_.all.empty());
    EXPECT_EQ(writer_.counters().deleted, 0U);
    kernel_.answer = [](const auto&) { return EBUSY; };
    writer_.remove(tcp(1));
    flush();
    ASSERT_EQ(refusals_.all.size(), 1U);
    EXPECT_EQ(refusals_.all[0].second, Refusal::other);
}

TEST_F(WriterTest, ALaterOperationOnTheFlowHasTheLastWord) {
    kernel_.answer = [](const auto& r) { return r.kind == Answers::create ? EEXIST : 0; };
    put(tcp(1));
    writer_.remove(tcp(1));
    flush();
    EXPECT_EQ(kernel_.kinds(), (Kinds{Answers::create, Answers::remove})); // and no query
    // Re-arming does not contain the state, so it does not replace a put.
    kernel_.requests.clear();
    kernel_.found = [](const auto&) { return tcp(2); };
    put(tcp(2));
    writer_.refresh(tcp(2), 600);
    flush();
    EXPECT_EQ(kernel_.kinds(),
              (Kinds{Answers::create, Answers::change, Answers::look, Answers::change}));
}

TEST_F(WriterTest, LostAnswersAreAskedForAgainInSmallPieces) {
    kernel_.lose = 1;
    kernel_.answer = [](const auto& r) { return r.entry.flow.key.orig.sport == 7 ? EINVAL : 0; };
    for (std::uint16_t i = 0; i < 100; i++)
        put(tcp(i));
    flush();
    EXPECT_EQ(writer_.counters().lost_answers, 1U);
    ASSERT_EQ(kernel_.batches.size(), 1U + (100 + 15) / 16);
    EXPECT_EQ(kernel_.batches[0], 100U);
    EXPECT_EQ(kernel_.batches[1], 16U);
    ASSERT_EQ(refusals_.all.size(), 1U);
    EXPECT_EQ(refusals_.all[0], std::pair(tcp(7).key, Refusal::invalid));
    EXPECT_EQ(writer_.counters().created, 99U);
}

TEST_F(WriterTest, AKernelThatTakesNothingEndsInRefusals) {
    for (const int error : {ENOBUFS, EBADF}) {
        refusals_.all.clear();
        kernel_.send_error = error;
        put(tcp(1));
        put(tcp(2));
        flush();
        ASSERT_EQ(refusals_.all.size(), 2U);
        EXPECT_EQ(refusals_.all[0].second, Refusal::other);
    }
    EXPECT_TRUE(writer_.empty());
}

TEST_F(WriterTest, AnswersThatLoopEndInARefusal) {
    // Contradictory answers: the entry exists, and it does not.
    kernel_.answer = [](const auto& r) {
        return r.kind == Answers::create ? EEXIST : r.kind == Answers::change ? ENOENT : 0;
    };
    kernel_.found = [](const auto&) { return tcp(1); };
    put(tcp(1));
    flush();
    ASSERT_EQ(refusals_.all.size(), 1U);
    EXPECT_EQ(refusals_.all[0].second, Refusal::other);
}

TEST_F(WriterTest, WhatAListenerAsksForInARefusalWaitsForTheNextFlush) {
    kernel_.answer = [](const auto&) { return ENOMEM; };
    refusals_.then = [this] {
        put(tcp(9));
        flush();
    };
    put(tcp(1));
    flush();
    ASSERT_EQ(refusals_.all.size(), 1U);
    flush();
    ASSERT_EQ(refusals_.all.size(), 2U);
    EXPECT_EQ(refusals_.all[1].first, tcp(9).key);
}

TEST_F(WriterTest, ManyOperationsGoInBatches) {
    for (std::uint16_t i = 0; i < 1000; i++)
        put(tcp(i));
    flush();
    EXPECT_EQ(kernel_.requests.size(), 1000U);
    EXPECT_LE(kernel_.batches.size(), 4U);
    EXPECT_EQ(writer_.counters().created, 1000U);
}

TEST_F(WriterTest, QuestionsAreAnsweredAndRefusalsOfThemAreNobodysAffair) {
    kernel_.found = [](const auto&) { return tcp(1); };
    writer_.ask(tcp(1));
    flush();
    EXPECT_EQ(answered_, 1);
    kernel_.answer = [](const auto&) { return ENOENT; };
    writer_.ask(tcp(1));
    flush();
    EXPECT_EQ(answered_, 1);
    EXPECT_TRUE(refusals_.all.empty());
}

TEST_F(WriterTest, AnswersToNothingAreSkipped) {
    kernel_.answer = [this](const Answers::Request&) {
        kernel_.push({1, 2, 3});
        std::vector<std::uint8_t> buffer(64);
        netlink::Writer w(buffer, NLMSG_ERROR, 0, 0xffff0000);
        w.plain(nlmsgerr{-ENOMEM, {}});
        buffer.resize(w.finish());
        kernel_.push(buffer);
        return 0;
    };
    put(tcp(1));
    flush();
    EXPECT_TRUE(refusals_.all.empty());
    EXPECT_EQ(writer_.counters().created, 1U);
}

TEST(Hints, HoldWhatTheyWereTold) {
    Hints h;
    EXPECT_FALSE(h.holds(tcp(1)));
    h.set(tcp(1));
    EXPECT_TRUE(h.holds(tcp(1)));
    EXPECT_FALSE(h.holds(snat(tcp(1), "198.51.100.1", 1)));
    EXPECT_FALSE(h.holds(tcp(2)));
    h.forget(tcp(1).key);
    EXPECT_FALSE(h.holds(tcp(1)));
    h.set(tcp(1));
    h.forget_all();
    EXPECT_FALSE(h.holds(tcp(1)));
}

} // namespace
} // namespace encsync::table::test
