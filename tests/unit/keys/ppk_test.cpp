// SPDX-License-Identifier: ISC
// Preshared keys: their formats, how the next is made, and what a store does with them.
#include "keys/ppk.hpp"

#include "keys/lines.hpp"
#include "scratch.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;

Ppk some_ppk(std::uint8_t byte, std::uint32_t epoch, PpkOrigin origin = PpkOrigin::tunnel) {
    Ppk ppk;
    ppk.epoch = epoch;
    ppk.created = kNow;
    ppk.origin = origin;
    std::ranges::fill(ppk.secret.bytes(), byte);
    return ppk;
}

PpkMix some_mix(std::uint32_t epoch, std::uint8_t random = 1) {
    PpkMix mix{epoch, {{{"mickey", {random}}, {"minnie", {2}}}}};
    return mix;
}

std::string changed(std::string text, const std::string& from, const std::string& to) {
    const auto at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    text.replace(at, from.size(), to);
    const auto checksum = text.find("checksum: ");
    text.resize(checksum);
    return text + checksum_line(text);
}

TEST(Ppk, IsWrittenAsItIsRead) {
    PpkRing ring;
    ring.peer = "minnie";
    ring.keys.push_back(some_ppk(1, 7));
    ring.keys.push_back(some_ppk(2, 4294967295, PpkOrigin::mixed));
    ring.offer = 1;
    const std::string text(write_ppks(ring).view());
    const auto read = read_ppks(text);
    ASSERT_TRUE(read) << why(read);
    EXPECT_EQ(write_ppks(*read).view(), text);
    EXPECT_EQ(read->offered(), &read->keys[1]);
    EXPECT_EQ(read->find(id_of(ring.keys[0])), &read->keys[0]);
    for (std::size_t size = 0; size < text.size(); size++)
        EXPECT_FALSE(read_ppks(text.substr(0, size))) << size;
    const auto refused = [&](const std::string& from, const std::string& to) {
        return why(read_ppks(changed(text, from, to)));
    };
    EXPECT_FALSE(read->confirmed);
    const std::string confirmed = changed(text, "offer: 2\n", "offer: 2\nconfirmed: yes\n");
    ASSERT_TRUE(read_ppks(confirmed));
    EXPECT_TRUE(read_ppks(confirmed)->confirmed);
    EXPECT_EQ(write_ppks(*read_ppks(confirmed)).view(), confirmed);
    EXPECT_EQ(refused("offer: 2\n", "offer: 2\nconfirmed: no\n"), "line 4: expected 'ppk: '");
    EXPECT_EQ(refused("offer: 2", "offer: 3"), "line 3: it offers one that is not there");
    EXPECT_EQ(refused("offer: 2", "offer: 0"), "line 3: not a number from 1");
    EXPECT_EQ(refused("ppk: 7", "ppk: 0"), "line 4: not an epoch from 1");
    EXPECT_EQ(refused("ppk: 7", "ppk: 07"), "line 4: not an epoch from 1");
    EXPECT_EQ(refused("ppk: 4294967295", "ppk: 7"),
              "line 5: its epoch is not later than the one before");
    EXPECT_EQ(refused("tunnel", "pigeon"), "line 4: an unknown origin");
    EXPECT_EQ(refused("minnie", "no/name"),
              "line 2: the name has a character other than letters, digits and '._-'");
    EXPECT_EQ(refused("keys 1\n", "keys 2\n"), "line 1: a version that this encsync does not know");
}

TEST(Ppk, ThatIsCarriedIsWrittenAsItIsRead) {
    const CarriedPpk carried{{"mickey", "minnie"}, some_ppk(3, 1, PpkOrigin::hand)};
    const std::string text(write_carried(carried).view());
    const auto read = read_carried(text);
    ASSERT_TRUE(read) << why(read);
    EXPECT_EQ(write_carried(*read).view(), text);
    EXPECT_EQ(why(read_carried(changed(text, "mickey minnie", "minnie mickey"))),
              "line 2: expected two names, sorted");
    EXPECT_EQ(why(read_carried(changed(text, "hand", "tunnel"))),
              "line 3: not one that was made to be carried");
    EXPECT_FALSE(read_carried(text.substr(0, text.size() - 1)));
}

TEST(Ppk, NextIsTheSameOnBothNodesAndDependsOnAll) {
    const Ppk base = some_ppk(1, 1);
    const auto secret = [](const Ppk& ppk) {
        return std::vector<std::uint8_t>(ppk.secret.bytes().begin(), ppk.secret.bytes().end());
    };
    const Ppk next = next_ppk(&base, some_mix(2), kNow);
    PpkMix swapped = some_mix(2);
    std::swap(swapped.shares[0], swapped.shares[1]);
    EXPECT_EQ(secret(next_ppk(&base, swapped, kNow + 5)), secret(next));
    EXPECT_EQ(next.epoch, 2u);
    const Ppk other_base = some_ppk(2, 1);
    PpkMix other_name = some_mix(2);
    other_name.shares[0].name = "donald";
    std::set<std::vector<std::uint8_t>> all{secret(base),
                                            secret(next),
                                            secret(next_ppk(&other_base, some_mix(2), kNow)),
                                            secret(next_ppk(nullptr, some_mix(2), kNow)),
                                            secret(next_ppk(&base, some_mix(3), kNow)),
                                            secret(next_ppk(&base, some_mix(2, 9), kNow)),
                                            secret(next_ppk(&base, other_name, kNow))};
    EXPECT_EQ(all.size(), 7u);
    // The randoms of one end are not those of the other.
    PpkMix exchanged = some_mix(2);
    std::swap(exchanged.shares[0].random, exchanged.shares[1].random);
    EXPECT_NE(secret(next_ppk(&base, exchanged, kNow)), secret(next));
    EXPECT_EQ(next.origin, PpkOrigin::tunnel);
    const Ppk by_hand = some_ppk(1, 1, PpkOrigin::hand);
    EXPECT_EQ(next_ppk(&by_hand, some_mix(2), kNow).origin, PpkOrigin::mixed);
}

class PpkStore : public testing::Test {
  protected:
    PpkStore() : mickey_(make("mickey")), minnie_(make("minnie")) {
        EXPECT_TRUE(mickey_.trust(std::vector{public_part(minnie_)}, kNow));
        EXPECT_TRUE(minnie_.trust(std::vector{public_part(mickey_)}, kNow));
    }
    Store make(const std::string& name) {
        auto store = Store::create(root_ / name);
        EXPECT_TRUE(store->init(name, kNow));
        return std::move(*store);
    }
    static std::vector<std::string> ids(const Store& store, const std::string& peer) {
        const auto ring = store.ppks(peer);
        EXPECT_TRUE(ring) << why(ring);
        std::vector<std::string> out;
        for (const Ppk& ppk : ring->keys)
            out.push_back(to_text(id_of(ppk)));
        return out;
    }
    static PpkId offered(const Store& store, const std::string& peer) {
        return id_of(*store.ppks(peer)->offered());
    }
    std::vector<std::string> events() {
        std::vector<std::string> out;
        const auto log = mickey_.log();
        for (const LogEntry& entry : log->entries)
            if (entry.event == KeyEvent::ppk || entry.event == KeyEvent::ppk_gone)
                out.push_back(
                    fmt::format("{} {} {}", to_string(entry.event), entry.name, entry.fingerprint));
        return out;
    }

    Scratch root_;
    Store mickey_, minnie_;
};

TEST_F(PpkStore, IsMixedOfferedAndSettled) {
    EXPECT_TRUE(mickey_.ppks("minnie")->keys.empty());
    ASSERT_TRUE(mickey_.mix_ppk("minnie", {}, some_mix(1), kNow));
    const auto first = ids(mickey_, "minnie");
    ASSERT_EQ(first.size(), 1u);
    EXPECT_TRUE(mickey_.mix_ppk("minnie", {}, some_mix(1), kNow)); // once more
    EXPECT_EQ(ids(mickey_, "minnie"), first);
    const PpkId base = offered(mickey_, "minnie");
    ASSERT_TRUE(mickey_.mix_ppk("minnie", base, some_mix(2), kNow));
    const auto both = ids(mickey_, "minnie");
    ASSERT_EQ(both.size(), 2u);
    EXPECT_EQ(both[0], first[0]);
    EXPECT_EQ(offered(mickey_, "minnie"), base);
    // The step begins again: what it had left is replaced.
    ASSERT_TRUE(mickey_.mix_ppk("minnie", base, some_mix(2, 9), kNow));
    const auto again = ids(mickey_, "minnie");
    ASSERT_EQ(again.size(), 2u);
    EXPECT_NE(again[1], both[1]);
    ASSERT_TRUE(mickey_.offer_ppk("minnie", id_of(mickey_.ppks("minnie")->keys[1])));
    EXPECT_EQ(to_text(offered(mickey_, "minnie")), again[1]);
    ASSERT_TRUE(mickey_.settle_ppk("minnie", kNow));
    EXPECT_EQ(ids(mickey_, "minnie"), std::vector{again[1]});
    EXPECT_TRUE(mickey_.settle_ppk("minnie", kNow));
    EXPECT_EQ(events(),
              (std::vector<std::string>{"ppk minnie " + first[0], "ppk minnie " + both[1],
                                        "ppk minnie " + again[1], "ppk-gone minnie " + both[1],
                                        "ppk-gone minnie " + first[0]}));
    EXPECT_EQ(mickey_.differences(*mickey_.log())->size(), 0u);
    const std::string log = read_file(root_ / "mickey/log");
    EXPECT_EQ(log.find(base64(mickey_.ppks("minnie")->keys[0].secret.bytes())), log.npos);
}

TEST_F(PpkStore, RefusesWhatAPeerMayNotAskFor) {
    EXPECT_EQ(why(mickey_.mix_ppk("donald", {}, some_mix(1))), "no key of 'donald' is trusted");
    PpkMix foreign = some_mix(1);
    foreign.shares[0].name = "donald";
    EXPECT_EQ(why(mickey_.mix_ppk("minnie", {}, foreign)),
              "'donald' has no part in a key with 'minnie'");
    ASSERT_TRUE(mickey_.mix_ppk("minnie", {}, some_mix(5), kNow));
    const PpkId base = offered(mickey_, "minnie");
    EXPECT_NE(why(mickey_.mix_ppk("minnie", PpkId{1}, some_mix(6))).find("is not there"),
              std::string::npos);
    EXPECT_EQ(why(mickey_.mix_ppk("minnie", base, some_mix(5, 7))),
              "the epoch 5 of a key with minnie is not later than 5");
    EXPECT_FALSE(mickey_.offer_ppk("minnie", PpkId{1}));
    EXPECT_FALSE(mickey_.ppks("no/name"));
    EXPECT_EQ(ids(mickey_, "minnie").size(), 1u);
}

TEST_F(PpkStore, IsCarried) {
    const auto text = mickey_.make_carried("minnie", kNow);
    ASSERT_TRUE(text) << why(text);
    EXPECT_EQ(*minnie_.take_carried(text->view(), kNow), "mickey");
    EXPECT_EQ(ids(minnie_, "mickey"), ids(mickey_, "minnie"));
    EXPECT_TRUE(minnie_.take_carried(text->view(), kNow)); // once more
    EXPECT_EQ(ids(minnie_, "mickey").size(), 1u);
    Store donald = make("donald");
    EXPECT_EQ(why(donald.take_carried(text->view(), kNow)),
              "it is for mickey and minnie, and this node is donald");
    EXPECT_EQ(why(mickey_.make_carried("donald")), "no key of 'donald' is trusted");
    // Another one is added beside it, and not replaced by what a peer says.
    const PpkId base = offered(mickey_, "minnie");
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    EXPECT_EQ(ids(mickey_, "minnie").size(), 2u);
    EXPECT_NE(why(mickey_.mix_ppk("minnie", base, some_mix(9))).find("waits to be taken"),
              std::string::npos);
    EXPECT_NE(why(mickey_.make_carried("minnie")).find("there are two preshared keys"),
              std::string::npos);
    EXPECT_EQ(*mickey_.forget_ppk("minnie", kNow), 2u);
    EXPECT_EQ(why(mickey_.forget_ppk("minnie")), "there is no preshared key with 'minnie'");
}

TEST_F(PpkStore, TheOnlyOneThatWasCarriedIsNotReplacedByAPeer) {
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    EXPECT_NE(why(mickey_.mix_ppk("minnie", {}, some_mix(9))).find("waits to be taken"),
              std::string::npos);
}

// Once one was used, that is known of all that follow, until the peer is another machine.
TEST_F(PpkStore, ThatWasUsedIsConfirmed) {
    const auto confirmed = [&] { return mickey_.ppks("minnie")->confirmed; };
    ASSERT_TRUE(mickey_.mix_ppk("minnie", {}, some_mix(1), kNow));
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    ASSERT_TRUE(mickey_.drop_unoffered_ppk("minnie", kNow));
    EXPECT_EQ(ids(mickey_, "minnie").size(), 1u);
    EXPECT_FALSE(confirmed());
    ASSERT_TRUE(mickey_.settle_ppk("minnie", kNow));
    EXPECT_TRUE(confirmed());
    ASSERT_TRUE(mickey_.mix_ppk("minnie", offered(mickey_, "minnie"), some_mix(2), kNow));
    EXPECT_TRUE(confirmed());
    ASSERT_TRUE(mickey_.offer_ppk("minnie", id_of(mickey_.ppks("minnie")->keys[1])));
    EXPECT_TRUE(confirmed());
    ASSERT_TRUE(mickey_.settle_ppk("minnie", kNow));
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    EXPECT_TRUE(confirmed());
    ASSERT_TRUE(mickey_.trust(std::vector{public_part(minnie_)}, kNow)); // the same one
    EXPECT_TRUE(confirmed());
    auto anew = Store::create(root_ / "anew");
    ASSERT_TRUE(anew->init("minnie", kNow));
    ASSERT_TRUE(mickey_.trust(std::vector{public_part(*anew)}, kNow));
    EXPECT_TRUE(mickey_.ppks("minnie")->keys.empty());
    ASSERT_TRUE(mickey_.mix_ppk("minnie", {}, some_mix(1), kNow));
    EXPECT_FALSE(confirmed());
}

TEST_F(PpkStore, StaysWithTheSuccessorOfAnIdentity) {
    ASSERT_TRUE(mickey_.mix_ppk("minnie", {}, some_mix(1), kNow));
    ASSERT_TRUE(minnie_.rotate_identity(kNow));
    ASSERT_EQ(*mickey_.trust(*read_public_file(*minnie_.export_public()), kNow), 1u);
    EXPECT_EQ(ids(mickey_, "minnie").size(), 1u);
}

TEST_F(PpkStore, GoesWithThePeer) {
    const std::string file = root_ / "mickey/ppk.minnie";
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    EXPECT_EQ(mode(file), 0600u);
    ASSERT_TRUE(mickey_.forget("minnie", kNow));
    EXPECT_FALSE(fs::exists(file));
    ASSERT_TRUE(mickey_.trust(std::vector{public_part(minnie_)}, kNow));
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    ASSERT_TRUE(mickey_.revoke("minnie", kNow));
    EXPECT_FALSE(fs::exists(file));
    EXPECT_TRUE(mickey_.ppks()->empty());
}

TEST_F(PpkStore, IsSealedWithTheStore) {
    const auto phrase = [] { return Passphrase(as_bytes("correct horse battery")); };
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    const auto before = ids(mickey_, "minnie");
    ASSERT_TRUE(mickey_.seal(phrase(), kMinKdfCost, kNow));
    EXPECT_NE(read_file(root_ / "mickey/ppk.minnie").find("file: ppk.minnie"), std::string::npos);
    EXPECT_EQ(*mickey_.sealing(), Sealing::sealed);
    auto closed = Store::open(root_ / "mickey");
    EXPECT_FALSE(closed->ppks("minnie"));
    auto opened =
        Store::open(root_ / "mickey",
                    std::make_shared<Unlock>([&] { return Result(std::optional(phrase())); }));
    EXPECT_EQ(ids(*opened, "minnie"), before);
    ASSERT_TRUE(opened->make_carried("minnie", kNow));
    EXPECT_NE(read_file(root_ / "mickey/ppk.minnie").find("encsync sealed file"),
              std::string::npos);
    ASSERT_TRUE(opened->unseal(kNow));
    EXPECT_EQ(ids(*Store::open(root_ / "mickey"), "minnie").size(), 2u);
    // Nor does it need the passphrase to be dropped with its peer.
    ASSERT_TRUE(opened->seal(phrase(), kMinKdfCost, kNow));
    ASSERT_TRUE(Store::open(root_ / "mickey")->forget("minnie", kNow));
    EXPECT_FALSE(fs::exists(root_ / "mickey/ppk.minnie"));
}

TEST_F(PpkStore, OfAnotherPeerIsRefused) {
    ASSERT_TRUE(mickey_.make_carried("minnie", kNow));
    fs::rename(root_ / "mickey/ppk.minnie", root_ / "mickey/ppk.donald");
    EXPECT_NE(why(mickey_.ppks("donald")).find("is of minnie, and somebody has put it here"),
              std::string::npos);
}

} // namespace
} // namespace encsync::keys
