// SPDX-License-Identifier: ISC
// Preshared keys of IKE: the format, and what a store does with them.
#include "keys/psk.hpp"

#include "keys/lines.hpp"
#include "scratch.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;

const std::string kKey = "sixteen and more", kOther = "another one that is longer";

SecretBytes secret(std::string_view text) {
    SecretBytes bytes(text.size());
    std::ranges::copy(as_bytes(text), bytes.bytes().begin());
    return bytes;
}

std::string written(std::string_view key, std::string_view next = {}) {
    PskPair psks{"minnie", {}};
    psks.keys.push_back({kNow, secret(key)});
    if (!next.empty())
        psks.keys.push_back({kNow + 60, secret(next)});
    return std::string(write_psks(psks).view());
}

std::string with_checksum(std::string text) {
    return text + checksum_line(text);
}

std::string block(const std::string& key, const std::string& minute = "00") {
    return "created: 2026-01-01T00:" + minute + ":00Z\nkey: " + base64(as_bytes(key)) + "\n";
}

std::string encoded(const std::string& key, const std::string& more = "") {
    return with_checksum("encsync ike preshared key 1\npeer: minnie\n" + block(key) + more);
}

TEST(Psk, IsWrittenAsItIsRead) {
    for (const std::string& key : {kKey, std::string(kMaxPreshared, '\xff')}) {
        const std::string text = written(key);
        EXPECT_EQ(text, encoded(key));
        EXPECT_LE(text.size(), kMaxSecretText);
        const auto read = read_psks(text);
        ASSERT_TRUE(read) << why(read);
        EXPECT_EQ(read->peer, "minnie");
        ASSERT_EQ(read->keys.size(), 1u);
        EXPECT_EQ(read->keys[0].created, kNow);
        EXPECT_EQ(as_text(read->keys[0].key.bytes()), key);
    }
    const std::string longest(kMaxPreshared, 'k');
    const std::string two = written(longest, kOther);
    EXPECT_EQ(two, encoded(longest, block(kOther, "01")));
    EXPECT_LE(written(longest, std::string(kMaxPreshared, 'l')).size(), kMaxSecretText);
    const auto read = read_psks(two);
    ASSERT_TRUE(read) << why(read);
    ASSERT_EQ(read->keys.size(), 2u);
    EXPECT_EQ(read->keys[1].created, kNow + 60);
    EXPECT_EQ(as_text(read->keys[1].key.bytes()), kOther);
    for (const std::string& text : {written(kKey), written(kKey, kOther)})
        for (std::size_t at = 0; at < text.size(); at++) {
            EXPECT_FALSE(read_psks(text.substr(0, at))) << at;
            std::string damaged = text;
            damaged[at] ^= 1;
            EXPECT_FALSE(read_psks(damaged)) << at;
        }
}

TEST(Psk, ThatNoWriterWritesIsRefused) {
    const auto refused = [](const std::string& text) { return why(read_psks(text)); };
    EXPECT_EQ(refused(encoded("fifteen and no ")), "line 4: a preshared key has 16 bytes at least");
    EXPECT_EQ(refused(encoded(std::string(1025, 'k'))),
              "line 4: key is not 1 to 1024 bytes in base64");
    EXPECT_EQ(refused(encoded(std::string(20, '\0'))), "line 4: a NUL byte in a preshared key");
    EXPECT_EQ(refused(with_checksum("encsync ike preshared key 1\npeer: no/name\n")),
              "line 2: the name has a character other than letters, digits and '._-'");
    EXPECT_EQ(refused(with_checksum("encsync ike preshared key 2\n")),
              "line 1: a version that this encsync does not know");
    EXPECT_EQ(refused(encoded(kKey) + "\n"), "line 6: trailing data");
    EXPECT_EQ(refused(encoded(kKey, block(kKey, "01"))), "line 6: the same key twice");
    EXPECT_EQ(refused(encoded(kKey, block(kOther) + block(kOther + "!"))),
              "line 8: more than 2 keys");
    EXPECT_EQ(refused(std::string(kMaxSecretText + 1, 'x')), "longer than 4096 bytes");
}

TEST(Psk, ThatIsMadeIsRandomAndFitsIntoAnyConfiguration) {
    const auto one = make_preshared(), other = make_preshared();
    EXPECT_TRUE(check_preshared(one.bytes()));
    EXPECT_EQ(one.bytes().size(), 64u);
    EXPECT_EQ(as_text(one.bytes()).find_first_not_of("0123456789abcdef"), std::string_view::npos);
    EXPECT_NE(as_text(one.bytes()), as_text(other.bytes()));
}

class PskStore : public testing::Test {
  protected:
    PskStore() {
        auto store = Store::create(root_ / "mickey");
        EXPECT_TRUE(store->init("mickey", kNow));
        EXPECT_TRUE(store->trust(std::vector<PublicKey>{make_identity("minnie", kNow)}, kNow));
        store_.emplace(std::move(*store));
    }
    static Passphrase phrase() { return Passphrase(as_bytes("correct horse battery")); }
    static std::string held(const Store& store, const std::string& peer) {
        const auto psks = store.psks(peer);
        if (!psks)
            return psks.error().text;
        std::string all;
        if (*psks)
            for (const Psk& psk : (*psks)->keys)
                all += (all.empty() ? "" : ", ") + std::string(as_text(psk.key.bytes()));
        return *psks ? all : "none";
    }
    Result<std::size_t> put(const std::string& peer, const std::string& key, bool replace = false) {
        return store_->put_psk(peer, as_bytes(key), replace, kNow);
    }
    std::vector<std::string> events() const {
        std::vector<std::string> out;
        const auto log = store_->log();
        for (const LogEntry& entry : log->entries)
            if (entry.fingerprint == kPskPrint)
                out.push_back(fmt::format("{} {}", to_string(entry.event), entry.name));
        return out;
    }
    // Whether any file has it in clear.
    bool is_in_clear(const std::string& key) const {
        for (const auto& entry : fs::directory_iterator(root_.path() / "mickey")) {
            const std::string text = read_file(entry.path());
            if (text.find(key) != text.npos || text.find(base64(as_bytes(key))) != text.npos)
                return true;
        }
        return false;
    }

    Scratch root_;
    std::optional<Store> store_;
};

TEST_F(PskStore, IsStoredReplacedAndErased) {
    const std::string file = root_ / "mickey/psk.donald";
    EXPECT_EQ(held(*store_, "donald"), "none");
    EXPECT_FALSE(*store_->has_psk("donald"));
    EXPECT_EQ(why(store_->forget_psk("donald")),
              "there is no preshared key with 'donald'; 'encsync keys psk make donald FILE' makes "
              "one, 'encsync keys psk import donald FILE' takes one that the peer has");
    ASSERT_TRUE(put("donald", kKey));
    EXPECT_EQ(mode(file), 0600u);
    EXPECT_TRUE(*store_->has_psk("donald"));
    EXPECT_EQ(held(*store_, "donald"), kKey);
    EXPECT_EQ(held(*store_, "minnie"), "none");
    const std::string text = read_file(file);
    ASSERT_TRUE(store_->put_psk("donald", as_bytes(kKey), false, kNow + 9)); // the same
    EXPECT_EQ(read_file(file), text);
    EXPECT_EQ(*put("donald", kOther, true), 1u);
    EXPECT_EQ(held(*store_, "donald"), kOther);
    ASSERT_TRUE(put("chip", kKey));
    ASSERT_EQ(store_->psks()->size(), 2u);
    EXPECT_EQ(store_->psks()->front().peer, "chip");
    ASSERT_TRUE(store_->forget_psk("donald", kNow));
    EXPECT_FALSE(fs::exists(file));
    EXPECT_FALSE(store_->forget_psk("donald"));
    EXPECT_EQ(events(), (std::vector<std::string>{"psk donald", "psk donald", "psk chip",
                                                  "psk-gone donald"}));
    EXPECT_TRUE(store_->differences(*store_->log())->empty());
    EXPECT_EQ(read_file(root_ / "mickey/log").find(kKey), std::string::npos);
}

TEST_F(PskStore, TheNextOneIsBesideItUntilTheOlderOneIsRetired) {
    EXPECT_EQ(*put("donald", kKey), 1u);
    EXPECT_EQ(why(store_->retire_psk("donald")), "there is only one preshared key with donald");
    EXPECT_EQ(*put("donald", kOther), 2u);
    EXPECT_EQ(held(*store_, "donald"), kKey + ", " + kOther);
    for (const std::string& again : {kKey, kOther})
        EXPECT_EQ(*put("donald", again), 2u);
    EXPECT_EQ(*put("donald", "the next one once more"), 2u);
    EXPECT_EQ(held(*store_, "donald"), kKey + ", the next one once more");
    // What the peer has shown is not the one that is next by now.
    const PskId other = id_of({kNow, secret(kOther)}),
                next = id_of({kNow, secret("the next one once more")});
    EXPECT_EQ(why(store_->retire_psk("donald", &other)),
              "donald has shown another preshared key than the next one");
    EXPECT_EQ(held(*store_, "donald"), kKey + ", the next one once more");
    ASSERT_TRUE(store_->retire_psk("donald", &next, kNow));
    EXPECT_EQ(held(*store_, "donald"), "the next one once more");
    ASSERT_TRUE(put("donald", kOther));
    EXPECT_EQ(*put("donald", kOther, true), 1u); // the older one is known to somebody
    EXPECT_EQ(held(*store_, "donald"), kOther);
    EXPECT_FALSE(store_->retire_psk("minnie"));
    EXPECT_EQ(events(),
              (std::vector<std::string>{"psk donald", "psk-next donald", "psk-next donald",
                                        "psk donald", "psk-next donald", "psk donald"}));
    EXPECT_TRUE(store_->differences(*store_->log())->empty());
}

TEST_F(PskStore, RefusesWhatAFileMayNotHave) {
    EXPECT_EQ(why(put("donald", "fifteen and no ")), "a preshared key has 16 bytes at least");
    EXPECT_EQ(why(put("donald", std::string(1025, 'k'))), "a preshared key has 1024 bytes at most");
    EXPECT_EQ(why(put("donald", std::string(20, '\0'))), "a NUL byte in a preshared key");
    EXPECT_EQ(why(put("../donald", kKey)),
              "the name has a character other than letters, digits and '._-'");
    EXPECT_FALSE(store_->forget_psk("../trusted"));
    EXPECT_TRUE(events().empty());
    for (std::size_t n = 0; n < kMaxPsks; n++)
        write_file(root_ / fmt::format("mickey/psk.peer{}", n), "");
    EXPECT_EQ(why(put("donald", kKey)),
              "there are preshared keys with 128 peers already, which is the limit");
    fs::remove(root_ / "mickey/psk.peer5");
    EXPECT_TRUE(put("donald", kKey));
}

TEST_F(PskStore, OfAnotherPeerIsRefused) {
    ASSERT_TRUE(put("donald", kKey));
    fs::rename(root_ / "mickey/psk.donald", root_ / "mickey/psk.minnie");
    EXPECT_EQ(held(*store_, "minnie"),
              (root_ / "mickey/psk.minnie") + ": is of donald, and somebody has put it here");
    fs::permissions(root_ / "mickey/psk.minnie", fs::perms::owner_read | fs::perms::others_read);
    EXPECT_NE(held(*store_, "minnie").find("lets others in"), std::string::npos);
}

TEST_F(PskStore, GoesWithThePeer) {
    ASSERT_TRUE(put("minnie", kKey));
    ASSERT_TRUE(put("donald", kKey)); // who has no other key
    ASSERT_TRUE(put("chip", kKey));
    EXPECT_EQ(*store_->forget("donald", kNow), 1u);
    EXPECT_EQ(*store_->revoke("chip", kNow), 1u);
    EXPECT_EQ(held(*store_, "minnie"), kKey); // control
    EXPECT_EQ(*store_->revoke("minnie", kNow), 2u);
    EXPECT_TRUE(store_->psks()->empty());
    EXPECT_EQ(events(),
              (std::vector<std::string>{"psk minnie", "psk donald", "psk chip", "psk-gone donald",
                                        "psk-gone chip", "psk-gone minnie"}));
    EXPECT_TRUE(store_->differences(*store_->log())->empty());
    EXPECT_EQ(why(store_->forget("donald")), "no key of 'donald' is trusted");
}

TEST_F(PskStore, IsSealedWithTheStore) {
    const std::string longest(kMaxPreshared, 'k');
    ASSERT_TRUE(put("donald", kKey));
    ASSERT_TRUE(put("chip", longest));
    EXPECT_TRUE(is_in_clear(kKey)); // control
    ASSERT_TRUE(store_->seal(phrase(), kMinKdfCost, kNow));
    EXPECT_EQ(*store_->sealing(), Sealing::sealed);
    EXPECT_FALSE(is_in_clear(kKey));
    EXPECT_NE(held(*Store::open(root_ / "mickey"), "donald").find("no passphrase was given"),
              std::string::npos);
    const auto unlock = std::make_shared<Unlock>([] { return Result(std::optional(phrase())); });
    store_.emplace(std::move(*Store::open(root_ / "mickey", unlock)));
    EXPECT_EQ(held(*store_, "donald"), kKey);
    EXPECT_EQ(held(*store_, "chip"), longest);
    ASSERT_TRUE(put("donald", kOther, true));
    EXPECT_FALSE(is_in_clear(kOther));
    ASSERT_TRUE(put("chip", std::string(kMaxPreshared, 'l')));
    ASSERT_TRUE(store_->retire_psk("chip", nullptr, kNow));
    ASSERT_TRUE(put("chip", longest, true));
    // Nor does it need the passphrase to be erased.
    auto closed = Store::open(root_ / "mickey");
    EXPECT_TRUE(*closed->has_psk("donald"));
    ASSERT_TRUE(closed->forget_psk("donald", kNow));
    ASSERT_TRUE(store_->unseal(kNow));
    EXPECT_EQ(held(*Store::open(root_ / "mickey"), "chip"), longest);
}

TEST_F(PskStore, IsInABackup) {
    ASSERT_TRUE(put("donald", kKey));
    ASSERT_TRUE(put("chip", kOther));
    const auto backup = store_->backup(phrase(), kMinKdfCost, kNow);
    ASSERT_TRUE(backup) << why(backup);
    const Passphrase passphrase = phrase();
    for (const Passphrase* seal : {static_cast<const Passphrase*>(nullptr), &passphrase}) {
        const std::string place = root_ / (seal == nullptr ? "plain" : "sealed");
        const auto restored = Store::restore(place, *backup, phrase(), seal, kMinKdfCost, kNow);
        ASSERT_TRUE(restored) << why(restored);
        auto open = Store::open(
            place, std::make_shared<Unlock>([] { return Result(std::optional(phrase())); }));
        EXPECT_EQ(held(*open, "donald"), kKey);
        EXPECT_EQ(held(*open, "chip"), kOther);
        EXPECT_EQ(*open->sealing(), seal == nullptr ? Sealing::plain : Sealing::sealed);
    }
}

} // namespace
} // namespace encsync::keys
