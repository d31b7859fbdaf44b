// SPDX-License-Identifier: ISC
// Sealed stores: the formats, and a store on a real file system. Argon2id as cheap as it can be.
#include "keys/files.hpp"
#include "keys/lines.hpp"
#include "keys/store.hpp"
#include "scratch.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;

Passphrase phrase(std::string_view text) {
    return Passphrase(as_bytes(text));
}

struct Asked {
    std::string text = "correct horse battery";
    int times = 0;
};

std::shared_ptr<Unlock> unlock_with(Asked& asked) {
    return std::make_shared<Unlock>([&asked] {
        asked.times++;
        return Result(std::optional(phrase(asked.text)));
    });
}

class SealedStore : public testing::Test {
  protected:
    SealedStore() : store_(make()) {}

    Store make() const {
        auto store = Store::create(dir_);
        EXPECT_TRUE(store) << why(store);
        EXPECT_TRUE(store->init("mickey", kNow));
        return std::move(*store);
    }
    void seal() { ASSERT_TRUE(store_.seal(phrase("correct horse battery"), kMinKdfCost, kNow)); }
    Store open(std::shared_ptr<Unlock> unlock) const {
        auto store = Store::open(dir_, std::move(unlock));
        EXPECT_TRUE(store) << why(store);
        return std::move(*store);
    }
    std::string file(const char* name) const { return read_file(fs::path(dir_) / name); }
    // The file with its checksum made good again: as somebody would change it on purpose.
    void tamper(const char* name, std::string_view from, std::string_view to) const {
        std::string text = file(name);
        const auto at = text.find(from);
        ASSERT_NE(at, text.npos) << text;
        text.replace(at, from.size(), to);
        text.resize(text.rfind("checksum: "));
        write_file(fs::path(dir_) / name, text + checksum_line(text));
    }

    Scratch root_;
    std::string dir_ = root_ / "keys";
    Store store_;
};

TEST_F(SealedStore, IsReadWithThePassphraseOnly) {
    const auto identity = public_part(store_);
    const std::string plain = file("identity");
    const auto creator = store_.creatorid();
    seal();
    for (const char* name : {"identity", "node.secret"}) {
        EXPECT_TRUE(is_sealed(file(name))) << name;
        EXPECT_EQ(file(name).find("seed: "), std::string::npos);
        EXPECT_EQ(mode(fs::path(dir_) / name), 0600u);
    }
    EXPECT_EQ(*store_.sealing(), Sealing::sealed);

    Asked asked;
    Store with = open(unlock_with(asked));
    EXPECT_EQ(public_part(with), identity);
    EXPECT_EQ(*with.creatorid(), *creator);
    EXPECT_EQ(asked.times, 1); // Argon2id runs once

    Store without = open(nullptr);
    const std::string refused = why(without.identities());
    EXPECT_TRUE(refused.starts_with(dir_ + "/seal: the store is sealed, and no passphrase was "
                                           "given: encsync asks for it on a terminal"))
        << refused;
    EXPECT_FALSE(without.creatorid());
    EXPECT_FALSE(without.rotate_identity());
    EXPECT_FALSE(without.export_public());
    asked.text = "correct horse batterY";
    EXPECT_EQ(why(open(unlock_with(asked)).identities()),
              dir_ + "/seal: the passphrase is wrong, or somebody has changed this file");

    ASSERT_TRUE(with.unseal(kNow));
    EXPECT_EQ(file("identity"), plain);
    EXPECT_FALSE(fs::exists(fs::path(dir_) / "seal"));
    EXPECT_EQ(public_part(open(nullptr)), identity);
    EXPECT_EQ(*store_.sealing(), Sealing::plain);
}

TEST_F(SealedStore, NeedsNoPassphraseWhereNoSecretIsNeeded) {
    const auto identity = public_part(store_);
    seal();
    Store store = open(nullptr);
    const std::vector<PublicKey> minnie{make_identity("minnie", kNow)};
    EXPECT_EQ(*store.trust(minnie, kNow), 1u);
    EXPECT_EQ(store.trusted()->size(), 1u);
    // What a key may not be is still known.
    EXPECT_EQ(why(store.trust(*store.own_keys())),
              "this is this node's own key; trust it on the peers");
    EXPECT_EQ(*store.revoke("minnie", kNow), 1u);
    EXPECT_TRUE(store.differences(*store.log())->empty());
    EXPECT_EQ(store.own_keys()->front(), identity);
}

TEST_F(SealedStore, RotatesSealed) {
    seal();
    Asked asked;
    Store store = open(unlock_with(asked));
    ASSERT_TRUE(store.rotate_identity(kNow));
    EXPECT_TRUE(is_sealed(file("identity.next")));
    const auto both = *store.own_keys();
    ASSERT_EQ(both.size(), 2u);
    ASSERT_TRUE(store.retire(kNow));
    EXPECT_TRUE(is_sealed(file("identity")));
    EXPECT_FALSE(fs::exists(fs::path(dir_) / "identity.next"));
    EXPECT_EQ(*store.own_keys(), std::vector{both[1]});
    EXPECT_EQ(store.identities()->front().key, both[1].key);
    EXPECT_TRUE(store.differences(*store.log())->empty());
    EXPECT_EQ(asked.times, 1);
}

TEST_F(SealedStore, ANewPassphraseWrapsTheStoreKeyOnly) {
    EXPECT_EQ(why(store_.change_passphrase(phrase("another passphrase"), kMinKdfCost)),
              "the store is not sealed; 'encsync keys seal' seals it");
    seal();
    const std::string before = file("identity"), seal_before = file("seal");
    Asked asked;
    Store store = open(unlock_with(asked));
    ASSERT_TRUE(store.change_passphrase(phrase("another passphrase"), kMinKdfCost));
    EXPECT_EQ(file("identity"), before);
    EXPECT_NE(file("seal"), seal_before);
    EXPECT_TRUE(store.identities()); // it has the store key
    EXPECT_FALSE(open(unlock_with(asked)).identities());
    asked.text = "another passphrase";
    EXPECT_TRUE(open(unlock_with(asked)).identities());
    // Nor does a wrong one change it.
    asked.text = "wrong passphrase";
    EXPECT_FALSE(
        open(unlock_with(asked)).change_passphrase(phrase("third passphrase"), kMinKdfCost));
}

TEST_F(SealedStore, SealingAnewMakesANewStoreKey) {
    seal();
    const std::string old = file("identity");
    Asked asked;
    Store store = open(unlock_with(asked));
    ASSERT_TRUE(store.unseal(kNow));
    seal();
    write_file(fs::path(dir_) / "identity", old);
    EXPECT_EQ(why(open(unlock_with(asked)).identities()),
              dir_ + "/identity: was sealed with the key of another store");
}

TEST_F(SealedStore, WhatIsDoneAlreadyIsRefused) {
    Asked asked;
    EXPECT_EQ(why(store_.unseal()), dir_ + ": is not sealed");
    seal();
    EXPECT_EQ(why(store_.seal(phrase("correct horse battery"), kMinKdfCost)),
              dir_ + ": is sealed already; --change changes the passphrase");
    asked.text = "wrong";
    Store store = open(unlock_with(asked));
    const auto logged = store.log()->entries.size();
    EXPECT_FALSE(store.unseal());
    EXPECT_EQ(store.log()->entries.size(), logged); // nothing was begun
    EXPECT_EQ(*store.sealing(), Sealing::sealed);
}

TEST_F(SealedStore, LogsBothWithoutChangingTheKeys) {
    seal();
    Asked asked;
    Store store = open(unlock_with(asked));
    ASSERT_TRUE(store.unseal(kNow));
    const auto log = store.log();
    ASSERT_EQ(log->entries.size(), 3u);
    EXPECT_EQ(log->entries[1].event, KeyEvent::seal);
    EXPECT_EQ(log->entries[2].event, KeyEvent::unseal);
    EXPECT_EQ(keys_of(*log).size(), 1u);
    EXPECT_TRUE(store.differences(*log)->empty());
}

// As a crash leaves them: with the seal, and the first file sealed or not.
TEST_F(SealedStore, FinishesWhatWasInterrupted) {
    const std::string plain_secret = file("node.secret"), plain = file("identity");
    seal();
    write_file(fs::path(dir_) / "node.secret", plain_secret);
    Asked asked;
    Store store = open(unlock_with(asked));
    EXPECT_EQ(*store.sealing(), Sealing::partly);
    EXPECT_TRUE(store.identities() && store.creatorid());
    EXPECT_EQ(why(store.change_passphrase(phrase("another passphrase"), kMinKdfCost)),
              dir_ + ": sealing or unsealing was interrupted; finish it first");
    EXPECT_EQ(why(store.seal(phrase("another passphrase"), kMinKdfCost)),
              dir_ + "/seal: the passphrase is wrong, or somebody has changed this file");
    EXPECT_TRUE(store.seal(phrase(asked.text), kMinKdfCost));
    EXPECT_EQ(*store.sealing(), Sealing::sealed);
    write_file(fs::path(dir_) / "identity", plain);
    EXPECT_TRUE(store.unseal());
    EXPECT_EQ(*store.sealing(), Sealing::plain);
    EXPECT_EQ(file("identity"), plain);
}

TEST_F(SealedStore, NamesWhatIsWrongWithASealedFile) {
    ASSERT_TRUE(store_.rotate_identity(kNow));
    seal();
    Asked asked;
    const auto refused = [&] { return why(open(unlock_with(asked)).identities()); };
    const fs::path identity = fs::path(dir_) / "identity", next = fs::path(dir_) / "identity.next";
    const std::string whole = file("identity"), other = file("identity.next");

    write_file(identity, whole.substr(0, whole.size() - 1));
    EXPECT_EQ(refused(), identity.string() + ": line 9: truncated");
    write_file(identity, whole + "\n");
    EXPECT_EQ(refused(), identity.string() + ": line 10: trailing data");
    std::string damaged = whole;
    damaged[whole.find("created: ") + 12] ^= 1;
    write_file(identity, damaged);
    EXPECT_NE(refused().find("line 9: the checksum does not match: the file is damaged"),
              std::string::npos)
        << refused();
    write_file(identity, "encsync sealed file 2" + whole.substr(whole.find('\n')));
    EXPECT_EQ(refused(), identity.string() + ": line 1: a version that this encsync does not know");

    write_file(identity, other);
    write_file(next, whole);
    EXPECT_EQ(refused(), next.string() + ": is the file identity, and somebody has put it here");
    tamper("identity", "file: identity.next", "file: identity");
    fs::remove(next);
    EXPECT_EQ(refused(), identity.string() + ": was changed after it was sealed");
    write_file(identity, whole);
    EXPECT_EQ(refused(), "accepted"); // control
    tamper("identity", "name: mickey", "name: goofy");
    EXPECT_EQ(refused(), identity.string() + ": was changed after it was sealed");
    const std::string sealed = whole.substr(whole.find("sealed: ") + 8);
    for (const char* other_text : {"", "z", "zzzz", "AAAA", "AAA="}) {
        write_file(identity, whole);
        tamper("identity", sealed.substr(0, sealed.find('\n')), other_text);
        EXPECT_NE(refused().find("/identity: line 8: "), std::string::npos) << refused();
    }
    write_file(identity, whole);
    fs::remove(fs::path(dir_) / "seal");
    EXPECT_EQ(refused(), identity.string() + ": is sealed, but the file seal is not there");
}

TEST_F(SealedStore, NamesWhatIsWrongWithTheSeal) {
    seal();
    Asked asked;
    const auto refused = [&] { return why(open(unlock_with(asked)).identities()); };
    const fs::path seal = fs::path(dir_) / "seal";
    const std::string whole = file("seal");
    write_file(seal, whole.substr(0, whole.size() / 2));
    EXPECT_NE(refused().find(": truncated"), std::string::npos) << refused();
    write_file(seal, "encsync seal 2" + whole.substr(whole.find('\n')));
    EXPECT_EQ(refused(), seal.string() + ": line 1: a version that this encsync does not know");
    // Neither memory nor time are spent on what encsync does not write.
    for (const auto* cost : {"1 999999999999", "17 8192", "1 8191", "0 8192", "01 8192", "1  8192",
                             "1 8192 1", "-1 8192", "1", "1 99999999999999999999999"}) {
        write_file(seal, whole);
        tamper("seal", "argon2id 1 8192", std::string("argon2id ") + cost);
        EXPECT_NE(refused().find("/seal: line 3: "), std::string::npos) << cost << refused();
    }
    // Within the bounds it is the wrong key.
    write_file(seal, whole);
    tamper("seal", "argon2id 1 8192", "argon2id 2 8192");
    EXPECT_EQ(refused(),
              seal.string() + ": the passphrase is wrong, or somebody has changed this file");
    write_file(seal, whole);
    EXPECT_EQ(refused(), "accepted"); // control
}

TEST_F(SealedStore, TheUnlockOfAnotherStoreDoesNotOpenIt) {
    seal();
    Asked asked;
    auto unlock = unlock_with(asked);
    auto other = Store::create(root_ / "other", unlock);
    ASSERT_TRUE(other->init("minnie", kNow));
    ASSERT_TRUE(other->seal(phrase("the other's passphrase"), kMinKdfCost));
    EXPECT_TRUE(other->identities()); // kept when it was sealed
    EXPECT_EQ(asked.times, 0);
    EXPECT_EQ(public_part(open(unlock)).name, "mickey"); // asked again, for this one
    EXPECT_EQ(asked.times, 1);
    EXPECT_FALSE(other->identities());
}

TEST(Seal, IsReadAsItWasWritten) {
    const StoreKey key = StoreKey::random();
    const auto made = make_seal(key, phrase("correct horse battery"), kMinKdfCost);
    ASSERT_TRUE(made) << why(made);
    const auto read = read_seal(write_seal(*made));
    ASSERT_TRUE(read) << why(read);
    EXPECT_EQ(*read, *made);
    EXPECT_TRUE(std::ranges::equal(open_seal(*read, phrase("correct horse battery"))->bytes(),
                                   key.bytes()));
    EXPECT_FALSE(open_seal(*read, phrase("correct horse")));
}

TEST(PassphraseFile, IsReadWithoutItsLineEnd) {
    Scratch root;
    const auto path = root / "passphrase";
    const auto is = [&](const std::string& content) {
        write_file(path, content);
        const auto read = read_passphrase(path);
        return read ? "[" + std::string(as_text(read->bytes())) + "]" : read.error().text;
    };
    EXPECT_EQ(is("a b"), "[a b]");
    EXPECT_EQ(is("a b\n"), "[a b]");
    EXPECT_EQ(is("a b\r\n"), "[a b]");
    EXPECT_EQ(is("a\n\n"), "[a\n]");
    EXPECT_EQ(is(""), path + ": no passphrase in it");
    EXPECT_EQ(is("\n"), path + ": no passphrase in it");
    EXPECT_EQ(is(std::string(1024, 'a') + "\r\n").size(), 1026u);
    EXPECT_EQ(is(std::string(1025, 'a')), path + ": a passphrase has 1024 bytes at most");
    EXPECT_EQ(is(std::string(5000, 'a')), path + ": a passphrase has 1024 bytes at most");
    ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
    EXPECT_EQ(why(read_passphrase(path)), path + ": mode 0640 lets others in; it must be 0600");
}

TEST(Unattended, ReadsTheFileThatIsNamedElseTheCredential) {
    Scratch root;
    ::unsetenv("CREDENTIALS_DIRECTORY");
    EXPECT_FALSE(unattended_passphrase("")->has_value());
    ::setenv("CREDENTIALS_DIRECTORY", root.path().c_str(), 1);
    EXPECT_FALSE(unattended_passphrase("")->has_value());
    write_file(root / "encsync.passphrase", "by systemd");
    EXPECT_EQ(as_text((*unattended_passphrase(""))->bytes()), "by systemd");
    EXPECT_FALSE(unattended_passphrase(root / "none")); // one that is named must be there
    write_file(root / "file", "by file\n");
    EXPECT_EQ(as_text((*unattended_passphrase(root / "file"))->bytes()), "by file");
    ::unsetenv("CREDENTIALS_DIRECTORY");
}

} // namespace
} // namespace encsync::keys
