// SPDX-License-Identifier: ISC
// Two nodes that make preshared keys, each with a key store on the real file system, over a wire
// that loses, repeats and reorders, with crashes of either.
#include "keysync/ppk_sync.hpp"

#include "keys/store.hpp"
#include "keysync/ppk_request.hpp"

#include <deque>
#include <filesystem>
#include <gtest/gtest.h>
#include <random>

namespace encsync::keysync {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
constexpr keys::UnixTime kNow = 1767225600;
constexpr PeerId kPeer = 3;

class World;

class Node {
  public:
    Node(World& of, const fs::path& root, std::string node)
        : world(of), name(std::move(node)), store(std::move(*keys::Store::create(root / name))) {
        EXPECT_TRUE(store.init(name, kNow));
    }
    void start(const std::string& with);
    void load() {
        OwnPpks own{true, {}, 0, rotate};
        const auto ring = store.ppks(peer);
        own.offer = ring->offer;
        own.confirmed = ring->confirmed;
        for (const keys::Ppk& ppk : ring->keys)
            own.held.push_back({{keys::id_of(ppk), ppk.epoch}, ppk.created, ppk.origin});
        sync->set_name(name);
        sync->set(kPeer, peer, std::move(own));
    }
    std::vector<keys::PpkId> ids() const {
        std::vector<keys::PpkId> out;
        const auto ring = store.ppks(peer);
        for (const keys::Ppk& ppk : ring->keys)
            out.push_back(keys::id_of(ppk));
        return out;
    }
    std::optional<keys::PpkId> offered() const {
        const auto ring = store.ppks(peer);
        return ring->keys.empty() ? std::nullopt : std::optional(keys::id_of(*ring->offered()));
    }
    bool confirmed() const { return store.ppks(peer)->confirmed; }
    bool holds(const keys::PpkId& id) const { return std::ranges::count(ids(), id) != 0; }
    Result<void> carry_out(const Request& request) {
        switch (request.kind) {
        case Request::Kind::mix_ppk: {
            auto mix = read_mix(request.text);
            return mix ? store.mix_ppk(mix->peer, mix->base, mix->mix, kNow) : mix.error();
        }
        case Request::Kind::offer_ppk: {
            auto offer = read_offer(request.text);
            return offer ? store.offer_ppk(offer->peer, offer->id) : offer.error();
        }
        case Request::Kind::settle_ppk:
            return store.settle_ppk(request.text, kNow);
        default:
            return Error{"not about preshared keys"};
        }
    }
    void write(bool fails = false) {
        if (!pending)
            return;
        auto [request, done] = std::move(*pending);
        pending.reset();
        const auto result = fails ? Result<void>(Error{"disk full"}) : carry_out(request);
        if (!result)
            errors.push_back(result.error().text);
        load();
        done(static_cast<bool>(result));
    }

    World& world;
    std::string name, peer;
    keys::Store store;
    std::optional<PpkSync> sync;
    std::optional<std::pair<Request, std::function<void(bool)>>> pending;
    std::vector<std::string> errors;
    std::chrono::seconds rotate{};
    std::deque<PpkMessage> sent;
};

class World : public testing::Test {
  public:
    World() {
        std::string pattern = fs::temp_directory_path() / "encsync-ppk-XXXXXX";
        if (::mkdtemp(pattern.data()) == nullptr)
            std::abort();
        root_ = pattern;
        mickey.emplace(*this, root_, "mickey");
        minnie.emplace(*this, root_, "minnie");
        EXPECT_TRUE(mickey->store.trust(*keys::read_public(*minnie->store.export_public()), kNow));
        EXPECT_TRUE(minnie->store.trust(*keys::read_public(*mickey->store.export_public()), kNow));
        mickey->start("minnie");
        minnie->start("mickey");
        connect(*mickey);
    }
    ~World() override {
        mickey.reset();
        minnie.reset();
        fs::remove_all(root_);
    }
    Node& other(const Node& node) { return &node == &*mickey ? *minnie : *mickey; }
    // IKE, begun by that node.
    void connect(const Node& from) {
        used.reset();
        if (const auto id = from.offered(); id && other(from).holds(*id))
            used = id;
        authentications++;
    }
    void crash(Node& node, const Node& caller) {
        const std::string with = node.peer;
        node.pending.reset();
        node.start(with);
        mickey->sent.clear();
        minnie->sent.clear();
        Node& rest = other(node);
        rest.sync->on_down(kPeer);
        rest.sync->on_up(kPeer);
        connect(caller);
    }
    void second(double loss = 0) {
        now += 1s;
        for (Node* node : {&*mickey, &*minnie}) {
            node->sync->advance(kPeer, now, kNow + seconds++);
            if (auto message = node->sync->next_message(kPeer, now))
                node->sent.push_back(*message);
        }
        for (Node* node : {&*mickey, &*minnie}) {
            if (loss > 0)
                std::ranges::shuffle(node->sent, random);
            for (const PpkMessage& message : std::exchange(node->sent, {})) {
                const double lot = std::uniform_real_distribution<>()(random);
                if (lot < loss)
                    continue;
                other(*node).sync->on_message(kPeer, message);
                if (lot < 2 * loss) // it comes again, later
                    node->sent.push_back(message);
            }
            node->write();
        }
    }
    bool settled() const {
        return mickey->ids().size() == 1 && mickey->ids() == minnie->ids() &&
               used == mickey->offered() && mickey->sync->phase(kPeer) == PpkPhase::settled &&
               minnie->sync->phase(kPeer) == PpkPhase::settled;
    }
    bool settle(int within = 200) {
        for (int n = 0; n < within && !settled(); n++)
            second();
        return settled();
    }
    // Whoever calls, the other accepts.
    bool accepted() {
        return minnie->holds(*mickey->offered()) && mickey->holds(*minnie->offered());
    }
    std::uint32_t epoch() { return mickey->store.ppks("minnie")->keys.back().epoch; }

    std::mt19937 random{1};
    Instant now = Instant() + 1h;
    keys::UnixTime seconds = 0;
    std::optional<keys::PpkId> used;
    int authentications = 0;
    std::optional<Node> mickey, minnie;

  private:
    fs::path root_;
};

void Node::start(const std::string& with) {
    peer = with;
    sync.emplace(PpkHooks{[this](PeerId) { return world.used; },
                          [this](PeerId) { world.connect(*this); },
                          [this](Request request, std::function<void(bool)> done) {
                              EXPECT_FALSE(pending);
                              pending.emplace(std::move(request), std::move(done));
                          },
                          [this](MutableBytes into) {
                              for (std::uint8_t& byte : into)
                                  byte = static_cast<std::uint8_t>(world.random());
                          }});
    load();
    sync->on_up(kPeer);
}

using PpkExchange = World;

TEST_F(PpkExchange, MakesTheFirstKeyAndUsesIt) {
    EXPECT_FALSE(used);
    ASSERT_TRUE(settle(15));
    EXPECT_EQ(epoch(), 1u);
    EXPECT_EQ(authentications, 2); // the first, and one with the key
    second();
    EXPECT_TRUE(mickey->confirmed() && minnie->confirmed());
    for (int n = 0; n < 500; n++)
        second();
    EXPECT_TRUE(settled());
    EXPECT_EQ(authentications, 2);
}

TEST_F(PpkExchange, MakesTheNextOneWhenEitherIsTold) {
    ASSERT_TRUE(settle());
    std::uint32_t expected = 1;
    for (Node* node : {&*mickey, &*minnie, &*mickey}) {
        const auto old = *node->offered();
        ASSERT_TRUE(node->sync->rotate(kPeer));
        for (int n = 0; n < 30; n++) {
            second();
            ASSERT_TRUE(accepted());
        }
        ASSERT_TRUE(settled());
        EXPECT_EQ(epoch(), ++expected);
        EXPECT_FALSE(mickey->holds(old) || minnie->holds(old));
    }
    EXPECT_TRUE(mickey->errors.empty() && minnie->errors.empty());
}

TEST_F(PpkExchange, MakesTheNextOneByAge) {
    minnie->rotate = 60s;
    minnie->load();
    ASSERT_TRUE(settle());
    for (int n = 0; n < 80; n++)
        second();
    EXPECT_GE(epoch(), 2u);
}

TEST_F(PpkExchange, BothToldAtOnceMakeOne) {
    ASSERT_TRUE(settle());
    ASSERT_TRUE(mickey->sync->rotate(kPeer));
    ASSERT_TRUE(minnie->sync->rotate(kPeer));
    for (int n = 0; n < 60; n++)
        second();
    EXPECT_TRUE(settled());
    EXPECT_EQ(epoch(), 2u);
}

TEST_F(PpkExchange, SurvivesWhateverHappens) {
    ASSERT_TRUE(settle());
    std::uint32_t last = epoch();
    for (int round = 0; round < 40; round++) {
        SCOPED_TRACE(round);
        (random() % 2 == 0 ? mickey : minnie)->sync->rotate(kPeer);
        for (int n = 0; n < 25; n++) {
            second(0.3);
            ASSERT_TRUE(accepted()) << n;
            if (random() % 8 == 0) {
                Node& node = random() % 2 == 0 ? *mickey : *minnie;
                crash(node, random() % 2 == 0 ? *mickey : *minnie);
                ASSERT_TRUE(used) << n; // no authentication without a key
            }
            if (random() % 16 == 0)
                (random() % 2 == 0 ? mickey : minnie)->write(true);
        }
        now += 1h; // the limit of steps in a time is another test's
        ASSERT_TRUE(settle());
        EXPECT_GE(epoch(), last);
        last = epoch();
        mickey->errors.clear();
        minnie->errors.clear();
    }
    EXPECT_GT(last, 15u);
}

// A node that requires one from then on must find it at the other, whatever happens to the first.
TEST_F(PpkExchange, IsConfirmedOnlyWhenBothKeepIt) {
    for (int round = 0; round < 60; round++) {
        SCOPED_TRACE(round);
        for (Node* node : {&*mickey, &*minnie})
            static_cast<void>(node->store.forget_ppk(node->peer, kNow));
        crash(*mickey, *minnie);
        crash(*minnie, *minnie);
        ASSERT_FALSE(mickey->confirmed() || minnie->confirmed());
        for (int n = 0; n < 25; n++) {
            second(0.3);
            if (random() % 8 == 0)
                crash(random() % 2 == 0 ? *mickey : *minnie, random() % 2 == 0 ? *mickey : *minnie);
            if (mickey->confirmed() || minnie->confirmed()) {
                ASSERT_TRUE(mickey->offered() && minnie->offered() && accepted()) << n;
            }
        }
        now += 1h;
        ASSERT_TRUE(settle());
    }
}

TEST_F(PpkExchange, AStoreThatIsLostGetsANewOne) {
    for (Node* loser : {&*mickey, &*minnie}) {
        ASSERT_TRUE(settle());
        const std::uint32_t before = epoch();
        ASSERT_TRUE(loser->store.forget_ppk(loser->peer, kNow));
        crash(*loser, *loser);
        EXPECT_FALSE(used);
        ASSERT_TRUE(settle());
        EXPECT_GT(epoch(), before);
    }
}

TEST_F(PpkExchange, OneThatIsCarriedWaitsAndIsThenUsed) {
    ASSERT_TRUE(settle());
    for (Node* maker : {&*mickey, &*minnie}) {
        const auto text = maker->store.make_carried(maker->peer, kNow);
        maker->load();
        maker->sync->rotate(kPeer);
        for (int n = 0; n < 100; n++)
            second();
        EXPECT_FALSE(settled());
        EXPECT_TRUE(accepted());
        EXPECT_TRUE(other(*maker).errors.empty());
        ASSERT_TRUE(other(*maker).store.take_carried(text->view(), kNow));
        other(*maker).load();
        ASSERT_TRUE(settle());
        // And the next ones are made of it.
        ASSERT_TRUE(maker->sync->rotate(kPeer));
        for (int n = 0; n < 30; n++)
            second();
        ASSERT_TRUE(settled());
        EXPECT_EQ(maker->store.ppks(maker->peer)->keys.front().origin, keys::PpkOrigin::mixed);
    }
}

TEST_F(PpkExchange, APeerThatLiesGetsNoKeyErasedThatItHolds) {
    ASSERT_TRUE(settle());
    const auto id = *minnie->offered();
    PpkState lie;
    lie.held = {{id, 1}};
    for (std::uint64_t n = 0; n < 200; n++) {
        PpkStep step{2, id, {static_cast<std::uint8_t>(n), 7}, {}};
        lie.step = step;
        minnie->sync->on_message(kPeer, {77, n + 1, lie}); // another random each second
        now += 1s;
        minnie->sync->advance(kPeer, now, kNow);
        minnie->write();
        EXPECT_TRUE(minnie->holds(id));
        EXPECT_EQ(minnie->offered(), id);
    }
    // Each of them is in the log for good, so there are not many.
    EXPECT_LT(minnie->store.log()->entries.size(), 60u);
}

TEST_F(PpkExchange, AnOldMessageIsIgnored) {
    ASSERT_TRUE(settle());
    PpkState state;
    state.held = {{keys::PpkId{1}, 1}};
    minnie->sync->on_message(kPeer, {5, 10, state});
    EXPECT_NE(minnie->sync->phase(kPeer), PpkPhase::settled);
    state.held = {{*minnie->offered(), 1}};
    minnie->sync->on_message(kPeer, {5, 10, state});
    minnie->sync->on_message(kPeer, {5, 9, state});
    EXPECT_NE(minnie->sync->phase(kPeer), PpkPhase::settled);
    minnie->sync->on_message(kPeer, {5, 11, state}); // control
    EXPECT_EQ(minnie->sync->phase(kPeer), PpkPhase::settled);
}

TEST(PpkRequest, IsReadAsItIsWritten) {
    PpkMixRequest mix{"minnie", keys::PpkId{1, 2}, {7, {{{"mickey", {3}}, {"minnie", {4}}}}}};
    for (const bool base : {true, false}) {
        if (!base)
            mix.base.reset();
        const auto read = read_mix(write_mix(mix));
        ASSERT_TRUE(read);
        EXPECT_EQ(write_mix(*read), write_mix(mix));
        EXPECT_EQ(read->base, mix.base);
    }
    const auto offer = read_offer(write_offer({"minnie", keys::PpkId{9}}));
    ASSERT_TRUE(offer);
    EXPECT_EQ(offer->id, keys::PpkId{9});
    for (const char* text : {"", "minnie", "minnie - x mickey a minnie b", "a b c"}) {
        EXPECT_FALSE(read_mix(text));
        EXPECT_FALSE(read_offer(text));
    }
}

} // namespace
} // namespace encsync::keysync
