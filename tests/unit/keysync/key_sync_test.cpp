// SPDX-License-Identifier: ISC
// Nodes that are connected by a wire without delay, each with a key store on the real file system.
#include "keysync/key_sync.hpp"

#include "keys/store.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <map>
#include <random>

namespace encsync::keysync {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
constexpr keys::UnixTime kNow = 1767225600;

template<class F>
void read_each(const std::string& text, F f) {
    const auto revocations = keys::read_revocations(text);
    for (const keys::Revocation& r : *revocations)
        f(r);
}

class TestNode : public sync::Link, public Writer {
  public:
    TestNode(const fs::path& root, std::string node, std::chrono::seconds rotate = 0s)
        : name(std::move(node)), store(std::move(*keys::Store::create(root / name))),
          sync(*this, this,
               {[this](PeerId peer, const keys::RawKey& key) { return sync.trusts(peer, key); },
                [this](PeerId peer) { return proof(peer); },
                [this] { load(); },
                [this](const std::string& why) { refused.push_back(why); },
                {},
                {},
                [this] { woken = true; }},
               rotate) {
        EXPECT_TRUE(store.init(name, kNow));
        load();
    }

    // Reads the store, as the daemon does.
    void load() {
        Own own;
        own.name = name;
        const auto identities = store.identities();
        for (const keys::Identity& identity : *identities)
            own.keys.push_back(identity.key);
        own.created = identities->front().created;
        own_ = own.keys;
        trusted_ = *store.trusted();
        own.newest = *store.export_newest();
        own.revoked = *store.revoked();
        for (const auto& [id, peer] : peers)
            sync.set(id, {peer->name, trusted(peer->name)});
        sync.set_own(std::move(own));
    }
    // As of the last load().
    const std::vector<keys::RawKey>& keys() const { return own_; }
    std::vector<keys::RawKey> trusted(const std::string& of) const {
        std::vector<keys::RawKey> out;
        for (const keys::TrustedKey& key : trusted_)
            if (key.name == of)
                out.push_back(key.key);
        return out;
    }
    bool is_up(PeerId peer) const {
        const TestNode& other = *peers.at(peer);
        return wired && other.wired && !trusted(other.name).empty() &&
               (blind || std::ranges::count(trusted(other.name), other.keys().front()) != 0);
    }
    // IKE authenticates anew whenever a key has changed.
    std::optional<keys::RawKey> proof(PeerId peer) const {
        return is_up(peer) && !blind ? std::optional(peers.at(peer)->keys().front()) : std::nullopt;
    }

    // sync::Link
    MutableBytes acquire(PeerId peer) override {
        return is_up(peer) && peers.at(peer)->is_up(peers.at(peer)->number_of(this))
                   ? MutableBytes(room_).first(room)
                   : MutableBytes();
    }
    void commit(PeerId peer, std::size_t size) override {
        if (size != 0)
            sent.emplace_back(peer,
                              std::vector(room_.begin(), room_.begin() + static_cast<long>(size)));
    }
    void flush() override {}
    PeerId number_of(const TestNode* node) const {
        for (const auto& [id, peer] : peers)
            if (peer == node)
                return id;
        return kMaxPeers;
    }

    // Writer
    void ask(const Request& request, std::function<void(const std::string&)> done) override {
        asked.push_back(request.kind);
        pending.emplace_back(request, std::move(done));
    }
    void write() {
        for (auto& [request, done] : std::exchange(pending, {})) {
            Result<void> result;
            const auto take = [&](const auto& r) {
                if (!r)
                    result = r.error();
            };
            switch (request.kind) {
            case Request::Kind::trust:
                take(store.trust(*keys::read_public_file(request.text), kNow));
                break;
            case Request::Kind::revoke:
                read_each(request.text,
                          [&](const keys::Revocation& r) { take(store.revoke(r, kNow)); });
                break;
            case Request::Kind::rotate:
                take(store.rotate_identity(kNow));
                break;
            case Request::Kind::retire:
                take(store.retire(kNow));
                break;
            case Request::Kind::retire_peer:
                take(store.retire_peer(request.text, kNow));
                break;
            default: // preshared keys: ppk_sync_test.cpp
                break;
            }
            done(result ? "" : result.error().text);
        }
    }

    std::string name;
    keys::Store store;
    KeySync sync;
    std::map<PeerId, TestNode*> peers;
    bool wired = true;
    bool blind = false; // it goes on with SAs of before
    bool woken = false;
    std::size_t room = 1200;
    std::vector<std::pair<PeerId, std::vector<std::uint8_t>>> sent;
    std::vector<std::pair<Request, std::function<void(const std::string&)>>> pending;
    std::vector<Request::Kind> asked;
    std::vector<std::string> refused;

  private:
    std::array<std::uint8_t, 1400> room_{};
    std::vector<keys::RawKey> own_;
    std::vector<keys::TrustedKey> trusted_;
};

class KeySyncTest : public testing::Test {
  protected:
    KeySyncTest() {
        std::string pattern = fs::temp_directory_path() / "encsync-keysync-XXXXXX";
        if (!::mkdtemp(pattern.data()))
            std::abort();
        root_ = pattern;
    }
    ~KeySyncTest() override { fs::remove_all(root_); }

    TestNode& add(const std::string& name, std::chrono::seconds rotate = 0s) {
        nodes_.push_back(std::make_unique<TestNode>(root_, name, rotate));
        return *nodes_.back();
    }
    // Each trusts every other.
    void introduce() {
        for (auto& a : nodes_)
            for (PeerId id = 0; id < nodes_.size(); id++)
                if (nodes_[id] != a) {
                    a->peers[id] = nodes_[id].get();
                    EXPECT_TRUE(a->store.trust(
                        *keys::read_public_file(*nodes_[id]->store.export_public()), kNow));
                }
        for (auto& a : nodes_)
            a->load();
        follow_links();
    }
    void follow_links() {
        for (auto& a : nodes_)
            for (const auto& [id, peer] : a->peers) {
                const bool up = a->is_up(id) && peer->is_up(peer->number_of(a.get()));
                if (bool& was = up_[{a.get(), id}]; was != up) {
                    was = up;
                    up ? a->sync.on_up(id) : a->sync.on_down(id);
                }
            }
    }
    void pass(std::chrono::seconds span) {
        for (const Instant end = now_ + span; now_ < end; now_ += 1s) {
            for (auto& a : nodes_) {
                follow_links();
                a->sync.advance(now_, wall_ + (now_ - Instant()) / 1s);
                deliver(*a);
                a->write();
            }
        }
    }
    // At one instant: each node does something only if it is woken.
    void settle() {
        const auto woken = [](const auto& node) { return std::exchange(node->woken, false); };
        for (int turns = 0; std::ranges::count_if(nodes_, woken) != 0; turns++) {
            ASSERT_LT(turns, 100);
            for (auto& a : nodes_) {
                follow_links();
                a->sync.advance(now_, wall_);
                deliver(*a);
                a->write();
            }
        }
    }
    void deliver(TestNode& from) {
        for (auto& [to, packet] : std::exchange(from.sent, {})) {
            TestNode& receiver = *from.peers.at(to);
            if (lose && random_() % 3 != 0)
                continue;
            if (replay)
                receiver.sync.on_packet(receiver.number_of(&from), kept_[{&from, to}]);
            receiver.sync.on_packet(receiver.number_of(&from), packet);
            kept_[{&from, to}] = packet;
        }
    }
    // A packet that the node sends itself, outside of what KeySync sends.
    void say(TestNode& from, TestNode& to, std::string_view text) {
        std::array<std::uint8_t, 1400> room;
        pfsync::Builder packet(room);
        ASSERT_TRUE(write(packet, text));
        to.sync.on_packet(to.number_of(&from), Bytes(room).first(packet.finish()));
        to.write();
    }

    fs::path root_;
    Instant now_ = Instant() + 1h;
    keys::UnixTime wall_ = kNow - 3600;
    std::vector<std::unique_ptr<TestNode>> nodes_;
    std::map<std::pair<TestNode*, PeerId>, bool> up_;
    std::map<std::pair<TestNode*, PeerId>, std::vector<std::uint8_t>> kept_;
    bool lose = false, replay = false;
    std::mt19937 random_{1};
};

TEST_F(KeySyncTest, ARotationTakesNoTimeIfNothingIsLost) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    settle();
    const auto before = mickey.keys();
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    mickey.load();
    const auto both = mickey.keys();
    settle();
    EXPECT_EQ(mickey.keys(), std::vector{both[1]});
    EXPECT_EQ(minnie.trusted("mickey"), mickey.keys());
    EXPECT_EQ(before, std::vector{both[0]});
    // And then there is nothing to do.
    EXPECT_FALSE(mickey.woken || minnie.woken);
}

TEST_F(KeySyncTest, ARotationEndsOnAllNodes) {
    for (const bool bad_wire : {false, true}) {
        SCOPED_TRACE(bad_wire);
        nodes_.clear();
        up_.clear();
        fs::remove_all(root_ / "mickey"), fs::remove_all(root_ / "minnie"),
            fs::remove_all(root_ / "goofy");
        TestNode &mickey = add("mickey"), &minnie = add("minnie"), &goofy = add("goofy");
        lose = replay = bad_wire;
        introduce();
        pass(15s);
        for (int round = 0; round < 3; round++) {
            const auto old = mickey.keys();
            ASSERT_TRUE(mickey.store.rotate_identity(kNow));
            mickey.load();
            pass(bad_wire ? 3min : 10s);
            EXPECT_EQ(mickey.keys().size(), 1u);
            EXPECT_NE(mickey.keys(), old);
            EXPECT_EQ(minnie.trusted("mickey"), mickey.keys());
            EXPECT_EQ(goofy.trusted("mickey"), mickey.keys());
        }
        for (const TestNode* node : {&mickey, &minnie, &goofy})
            EXPECT_TRUE(bad_wire || node->refused.empty()) << node->name;
    }
}

TEST_F(KeySyncTest, TwoThatRotateAtOnceBothDo) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    const auto a = mickey.keys(), b = minnie.keys();
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    ASSERT_TRUE(minnie.store.rotate_identity(kNow));
    mickey.load(), minnie.load();
    pass(20s);
    EXPECT_EQ(minnie.trusted("mickey"), mickey.keys());
    EXPECT_EQ(mickey.trusted("minnie"), minnie.keys());
    EXPECT_NE(mickey.keys(), a);
    EXPECT_NE(minnie.keys(), b);
}

TEST_F(KeySyncTest, WhoIsAwayDelaysIt) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie"), &goofy = add("goofy");
    introduce();
    pass(5s);
    goofy.wired = false;
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    mickey.load();
    pass(90s);
    EXPECT_EQ(mickey.keys().size(), 2u);
    EXPECT_EQ(minnie.trusted("mickey").size(), 2u);
    EXPECT_TRUE(mickey.sync.trusts(mickey.number_of(&minnie), mickey.keys()[1]));
    EXPECT_FALSE(mickey.sync.trusts(mickey.number_of(&goofy), mickey.keys()[1]));
    goofy.wired = true;
    pass(15s);
    EXPECT_EQ(mickey.keys().size(), 1u);
    EXPECT_EQ(goofy.trusted("mickey"), mickey.keys());
}

TEST_F(KeySyncTest, TheOlderKeyStaysUntilTheNewerHasProvedItself) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    ASSERT_TRUE(minnie.store.trust(*keys::read_public_file(*mickey.store.export_public()), kNow));
    mickey.load(), minnie.load();
    // mickey says that it has the newer key only, but proves itself with the older one.
    std::array<std::uint8_t, 200> room;
    pfsync::Builder packet(room);
    ASSERT_TRUE(write(packet, KeyState{{keys::key_print(mickey.keys()[1])}, {}, {}}));
    minnie.sync.on_packet(minnie.number_of(&mickey), Bytes(room).first(packet.finish()));
    minnie.sync.advance(now_, wall_);
    EXPECT_EQ(minnie.asked, std::vector<Request::Kind>());
    ASSERT_TRUE(mickey.store.retire(kNow)); // control: now it proves itself with that
    mickey.load();
    minnie.sync.advance(now_ + 1s, wall_);
    EXPECT_EQ(minnie.asked, std::vector{Request::Kind::retire_peer});
}

// As after `keys retire --force`, while the SAs of before go on.
TEST_F(KeySyncTest, AKeyThatIsInUseAlreadyIsSent) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    minnie.blind = true;
    ASSERT_TRUE(mickey.store.retire(kNow));
    mickey.load();
    EXPECT_EQ(std::ranges::count(minnie.trusted("mickey"), mickey.keys()[0]), 0);
    pass(5s);
    EXPECT_EQ(std::ranges::count(minnie.trusted("mickey"), mickey.keys()[0]), 1);
    minnie.blind = false;
    pass(5s);
    EXPECT_EQ(minnie.trusted("mickey"), mickey.keys());
}

TEST_F(KeySyncTest, APeerThatLiesIsRefused) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie"), &goofy = add("goofy"),
             &stranger = add("stranger");
    nodes_.pop_back(); // nobody's peer
    (void)stranger;
    auto other = std::make_unique<TestNode>(root_ / "x", "minnie");
    introduce();
    pass(5s);
    const auto before = mickey.trusted("minnie");
    // A key of another name, signed well.
    ASSERT_TRUE(goofy.store.rotate_identity(kNow));
    goofy.load();
    say(minnie, mickey, *goofy.store.export_newest());
    // One of its own name that the trusted one has not signed.
    say(minnie, mickey, *other->store.export_public());
    say(minnie, mickey, "encsync secret key 1\n");
    say(minnie, mickey, "encsync revoked keys 1\nrevoked: x\n");
    std::string damaged = *goofy.store.export_newest();
    damaged[100] ^= 1;
    say(goofy, mickey, damaged);
    EXPECT_EQ(mickey.trusted("minnie"), before);
    EXPECT_EQ(mickey.trusted("goofy"), goofy.trusted("goofy").empty()
                                           ? std::vector{goofy.keys()[0]}
                                           : std::vector<keys::RawKey>());
    ASSERT_EQ(mickey.refused.size(), 5u) << fmt::format("{}", fmt::join(mickey.refused, "; "));
    EXPECT_EQ(mickey.refused[0], "what minnie says of keys is refused: a key of 'goofy'");
    EXPECT_NE(mickey.refused[1].find("is not signed by that key"), std::string::npos);
    EXPECT_EQ(mickey.refused[2], "what minnie says of keys is refused: a text of a kind that this "
                                 "encsync does not know");
    EXPECT_EQ(
        mickey.refused[3],
        "what minnie says of keys is refused: line 2: expected two times, a key and two names");
    // Control.
    say(goofy, mickey, *goofy.store.export_newest());
    EXPECT_EQ(mickey.trusted("goofy"), goofy.keys());
    // None of it holds up a rotation here.
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    mickey.load();
    pass(10s);
    EXPECT_EQ(mickey.keys().size(), 1u);
}

TEST_F(KeySyncTest, AFloodOfTextsIsNotRead) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    for (int n = 0; n < 2000; n++)
        say(minnie, mickey, "encsync secret key 1\n");
    EXPECT_EQ(mickey.refused.back(), "what minnie says of keys is refused: more of it than is read "
                                     "in a minute");
    mickey.sync.advance(now_ + 2min, wall_);
    mickey.refused.clear();
    say(minnie, mickey, "encsync secret key 1\n");
    EXPECT_EQ(mickey.refused[0], "what minnie says of keys is refused: a text of a kind that this "
                                 "encsync does not know");
}

TEST_F(KeySyncTest, ARevocationReachesAllAlsoThroughOthers) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie"), &goofy = add("goofy"),
             &stolen = add("stolen");
    introduce();
    stolen.wired = false; // its thief says nothing
    for (auto [a, b] : {std::pair(&mickey, &goofy), std::pair(&goofy, &mickey)}) {
        const PeerId number = a->number_of(b); // they do not know each other
        a->sync.forget(number);
        a->peers.erase(number);
    }
    pass(5s);
    goofy.wired = false;
    const auto key = stolen.keys()[0];
    EXPECT_EQ(*mickey.store.revoke("stolen", kNow), 1u);
    mickey.load();
    pass(10s);
    EXPECT_EQ(minnie.trusted("stolen"), std::vector<keys::RawKey>());
    EXPECT_EQ(goofy.trusted("stolen"), std::vector{key}); // away
    goofy.wired = true;
    pass(10s);
    EXPECT_EQ(goofy.trusted("stolen"), std::vector<keys::RawKey>());
    EXPECT_EQ(goofy.store.revoked()->front().by, "mickey");
    // What all have is not sent again and again.
    pass(3min);
    std::size_t sent = 0;
    for (int n = 0; n < 55; n++) {
        now_ += 1s;
        for (auto& node : nodes_) {
            node->sync.advance(now_, wall_);
            sent += std::exchange(node->sent, {}).size();
        }
    }
    EXPECT_LE(sent, 6u); // KEYS of each to each, once
}

TEST_F(KeySyncTest, AnOwnKeyThatIsRevokedIsNamed) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    const keys::Revocation r{{"minnie", kNow, minnie.keys()[0]}, kNow, "goofy"},
        other{{"daisy", kNow, mickey.keys()[0]}, kNow, "goofy"};
    say(mickey, minnie, keys::write_revocations({r, other}));
    EXPECT_EQ(minnie.refused,
              std::vector<std::string>{"this node's own key was revoked on goofy: its peers refuse "
                                       "it, and it needs a new identity"});
    EXPECT_EQ(*minnie.store.revoked(), std::vector{other}); // it may be true
    EXPECT_TRUE(minnie.store.identities());
}

TEST_F(KeySyncTest, ManyRevocationsAreSplitAmongPackets) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    mickey.room = 512;
    for (std::size_t n = 0; n < 20; n++) {
        keys::Revocation r{
            {std::string(keys::kMaxName, 'x'), kNow, {}}, kNow, std::string(keys::kMaxName, 'y')};
        r.key[0] = static_cast<std::uint8_t>(n);
        ASSERT_TRUE(mickey.store.revoke(r, kNow));
    }
    mickey.load();
    pass(5s);
    EXPECT_EQ(minnie.store.revoked()->size(), 20u);
    EXPECT_EQ(minnie.refused, std::vector<std::string>());
}

TEST_F(KeySyncTest, ATextThatFitsIntoNoPacketIsNamed) {
    TestNode &mickey = add(std::string(63, 'm')), &minnie = add("minnie");
    introduce();
    pass(3s);
    mickey.room = 512;
    ASSERT_TRUE(mickey.store.rotate_identity(kNow));
    mickey.load();
    pass(5s);
    ASSERT_FALSE(mickey.refused.empty());
    EXPECT_NE(mickey.refused[0].find("do not fit into a packet to it"), std::string::npos);
    EXPECT_EQ(minnie.trusted(mickey.name).size(), 1u);
}

TEST_F(KeySyncTest, AgeBeginsARotation) {
    TestNode &mickey = add("mickey", 20s), &minnie = add("minnie");
    introduce();
    wall_ = kNow - (now_ - Instant()) / 1s; // now
    const auto old = mickey.keys(), minnies = minnie.keys();
    pass(20s);
    EXPECT_EQ(mickey.keys(), old);
    pass(10s);
    EXPECT_NE(mickey.keys(), old);
    EXPECT_EQ(minnie.trusted("mickey"), mickey.keys());
    EXPECT_EQ(minnie.keys(), minnies); // control
}

TEST_F(KeySyncTest, WithoutAWriterNothingHappens) {
    TestNode &mickey = add("mickey"), &minnie = add("minnie");
    introduce();
    KeySync off(mickey, nullptr, {}, 1s);
    off.set(1, {"minnie", mickey.trusted("minnie")});
    off.set_own({"mickey", mickey.keys(), {}, 0, {}});
    off.on_up(1);
    std::array<std::uint8_t, 1400> room;
    pfsync::Builder packet(room);
    ASSERT_TRUE(write(packet, "encsync public key 1\n"));
    off.on_packet(1, Bytes(room).first(packet.finish()));
    off.advance(now_ + 1h, wall_);
    EXPECT_TRUE(mickey.sent.empty());
    (void)minnie;
}

} // namespace
} // namespace encsync::keysync
