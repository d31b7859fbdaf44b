// SPDX-License-Identifier: ISC
// Backups: the format, and a store that comes out of one.
#include "keys/backup.hpp"
#include "keys/files.hpp"
#include "keys/lines.hpp"
#include "scratch.hpp"

#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;

Passphrase phrase(std::string_view text) {
    return Passphrase(as_bytes(text));
}

class StoreBackup : public testing::Test {
  protected:
    StoreBackup() {
        auto store = Store::create(root_ / "mickey");
        EXPECT_TRUE(store->init("mickey", kNow));
        EXPECT_TRUE(store->rotate_identity(kNow));
        EXPECT_TRUE(store->trust(
            std::vector<PublicKey>{make_identity("minnie", kNow), make_identity("goofy", kNow)},
            kNow));
        EXPECT_TRUE(store->revoke("goofy", kNow));
        store_.emplace(std::move(*store));
    }
    Backup backup() const {
        auto made = store_->backup(phrase("for the backup"), kMinKdfCost, kNow);
        EXPECT_TRUE(made) << why(made);
        // As it comes back from a file.
        auto read = read_backup(write_backup(*made));
        EXPECT_TRUE(read) << why(read);
        return std::move(*read);
    }
    Result<Store> restore(const std::string& name, const Backup& from,
                          const Passphrase* seal = nullptr) const {
        return Store::restore(root_ / name, from, phrase("for the backup"), seal, kMinKdfCost,
                              kNow);
    }
    // Nothing was made, and nothing is left beside it.
    void expect_nothing(const std::string& name) const {
        EXPECT_FALSE(fs::exists(root_ / name));
        EXPECT_FALSE(fs::exists(root_ / ("." + name + ".restore")));
    }

    Scratch root_;
    std::optional<Store> store_;
};

TEST_F(StoreBackup, BringsBackTheSameStore) {
    const auto restored = restore("new", backup());
    ASSERT_TRUE(restored) << why(restored);
    EXPECT_EQ(restored->directory(), root_ / "new");
    EXPECT_EQ(mode(root_ / "new"), 0700u);
    for (const char* name :
         {"identity", "identity.next", "node.secret", "successions", "trusted", "revoked"}) {
        EXPECT_EQ(read_file(root_.path() / "new" / name), read_file(root_.path() / "mickey" / name))
            << name;
        EXPECT_EQ(mode(root_.path() / "new" / name), 0600u);
    }
    EXPECT_EQ(*restored->creatorid(), *store_->creatorid());
    const auto log = restored->log(), before = store_->log();
    ASSERT_EQ(log->entries.size(), before->entries.size() + 2); // for each identity
    EXPECT_TRUE(std::equal(before->entries.begin(), before->entries.end(), log->entries.begin()));
    EXPECT_EQ(log->entries.back().event, KeyEvent::restore);
    EXPECT_TRUE(restored->differences(*log)->empty());
    // Nothing is left beside it, and it is a store like any other.
    EXPECT_FALSE(fs::exists(root_ / ".new.restore"));
    auto again = Store::open(root_ / "new");
    EXPECT_TRUE(again->retire(kNow));
}

TEST_F(StoreBackup, OfASealedStoreNeedsItsPassphraseAndIsReadWithItsOwn) {
    const auto plain = public_part(*store_);
    ASSERT_TRUE(store_->seal(phrase("for the store"), kMinKdfCost, kNow));
    EXPECT_NE(why(store_->backup(phrase("for the backup"), kMinKdfCost))
                  .find("the store is sealed, and no passphrase was given"),
              std::string::npos);
    auto unlock =
        std::make_shared<Unlock>([] { return Result(std::optional(phrase("for the store"))); });
    store_.emplace(std::move(*Store::open(root_ / "mickey", unlock)));
    const auto restored = restore("new", backup());
    ASSERT_TRUE(restored) << why(restored);
    EXPECT_EQ(*restored->sealing(), Sealing::plain);
    EXPECT_EQ(public_part(*restored), plain);
    // Or sealed, from the first byte on.
    const auto passphrase = phrase("the new store's");
    const auto sealed = restore("sealed", backup(), &passphrase);
    ASSERT_TRUE(sealed) << why(sealed);
    EXPECT_EQ(*sealed->sealing(), Sealing::sealed);
    EXPECT_EQ(public_part(*sealed), plain);
    EXPECT_FALSE(Store::open(root_ / "sealed")->identities());
}

TEST_F(StoreBackup, IsRestoredOnlyWhereThereIsNothing) {
    const Backup from = backup();
    EXPECT_NE(why(restore("mickey", from)).find("there is something here already"),
              std::string::npos);
    EXPECT_EQ(*Store::open(root_ / "mickey")->creatorid(), *store_->creatorid());
    write_file(root_ / "file", "");
    EXPECT_FALSE(restore("file", from));
    fs::create_symlink("mickey", root_ / "link");
    EXPECT_FALSE(restore("link", from));
    fs::create_directory(root_ / "empty");
    EXPECT_TRUE(restore("empty/", from));
    EXPECT_EQ(mode(root_ / "empty"), 0700u);
}

TEST_F(StoreBackup, WhatACrashLeftIsRemoved) {
    fs::create_directory(root_ / ".new.restore");
    fs::permissions(root_ / ".new.restore", fs::perms::owner_all);
    write_file(root_.path() / ".new.restore" / "identity.old", "half of it");
    const auto restored = restore("new", backup());
    ASSERT_TRUE(restored) << why(restored);
    EXPECT_FALSE(fs::exists(root_.path() / "new" / "identity.old"));
}

TEST_F(StoreBackup, WithAWrongPassphraseOrTamperedMakesNothing) {
    Backup from = backup();
    EXPECT_EQ(why(Store::restore(root_ / "new", from, phrase("for the store"), nullptr)),
              "the passphrase is wrong, or somebody has changed this file");
    Backup other = from;
    other.of.name = "goofy";
    EXPECT_FALSE(restore("new", other));
    other = from;
    other.of.created++;
    EXPECT_FALSE(restore("new", other));
    other = from;
    other.sealed[5] ^= 1;
    EXPECT_FALSE(restore("new", other));
    other = from;
    other.sealed.resize(kTag);
    EXPECT_FALSE(restore("new", other));
    other = from;
    other.derivation.cost.passes++;
    EXPECT_FALSE(restore("new", other));
    expect_nothing("new");
    EXPECT_TRUE(restore("new", from)); // control
}

// Written by who has the passphrase, but not by encsync.
TEST_F(StoreBackup, OfABadStoreMakesNothing) {
    const auto content = open_backup(backup(), phrase("for the backup"));
    const std::string good(as_text(content->bytes()));
    const auto attempt = [&](const std::string& text) {
        SecretBytes bytes(text.size());
        std::ranges::copy(as_bytes(text), bytes.bytes().begin());
        auto made = make_backup("mickey", kNow, bytes, phrase("for the backup"), kMinKdfCost);
        auto refused = why(restore("new", *made));
        if (refused != "accepted")
            expect_nothing("new");
        return refused;
    };
    const auto without = [&](const char* name) {
        const auto parts = unpack(good);
        std::vector<Part> rest;
        for (const Part& part : *parts)
            if (std::string_view(part.name) != name)
                rest.push_back(part);
        const auto packed = pack(rest);
        return std::string(as_text(packed.bytes()));
    };
    EXPECT_NE(attempt(without("identity")).find("no identity here"), std::string::npos);
    EXPECT_NE(attempt(without("node.secret")).find("node.secret: not there"), std::string::npos);
    std::string damaged = good;
    damaged[good.find("seed: ") + 8] ^= 1;
    EXPECT_NE(attempt(damaged).find("/identity: line "), std::string::npos) << attempt(damaged);
    damaged = good;
    damaged[good.find("trusted: ") + 12] ^= 1;
    EXPECT_NE(attempt(damaged).find("/trusted: "), std::string::npos);
    damaged = good;
    damaged[good.rfind("revoke goofy") + 8] ^= 1;
    EXPECT_NE(attempt(damaged).find("the hash does not match"), std::string::npos);
    EXPECT_EQ(attempt(without("trusted")), "accepted"); // control: it may have trusted nobody
}

TEST_F(StoreBackup, ItsContentIsInOneForm) {
    const auto refused = [](const std::string& text) { return why(unpack(text)); };
    const std::string title = "encsync key store 1\n";
    EXPECT_EQ(refused(title), "accepted");
    EXPECT_EQ(refused(title + "file: identity 3\nabcfile: log 0\n"), "accepted");
    EXPECT_EQ(refused(title + "file: identity 3\nab"), "after line 2: truncated");
    EXPECT_EQ(refused(title + "file: identity 3\nabcd"), "line 3: truncated");
    EXPECT_EQ(refused(title + "file: log 0\nfile: log 0\n"),
              "line 3: an unknown file, or in the wrong order");
    EXPECT_EQ(refused(title + "file: log 0\nfile: identity 0\n"),
              "line 3: an unknown file, or in the wrong order");
    EXPECT_EQ(refused(title + "file: ../log 0\n"),
              "line 2: an unknown file, or in the wrong order");
    EXPECT_EQ(refused(title + "file: seal 0\n"), "line 2: an unknown file, or in the wrong order");
    const std::string keys = "file: log 0\nfile: psk.chip 1\nafile: psk.donald 1\nb";
    EXPECT_EQ(refused(title + keys), "accepted");
    EXPECT_EQ(refused(title + keys + "file: psk.donald 0\n"),
              "line 5: an unknown file, or in the wrong order");
    EXPECT_EQ(refused(title + keys + "file: log 0\n"),
              "line 5: an unknown file, or in the wrong order");
    EXPECT_EQ(refused(title + keys + "file: x509.chip 1\nc"), "accepted");
    EXPECT_EQ(refused(title + "file: x509.chip 1\ncfile: psk.donald 1\nb"),
              "line 3: an unknown file, or in the wrong order");
    for (const char* name : {"psk.", "psk../log", "ppk.minnie", "psk", "x509."})
        EXPECT_EQ(refused(title + "file: " + name + " 0\n"),
                  "line 2: an unknown file, or in the wrong order");
    std::string many = title;
    for (std::size_t n = 0; n <= kMaxPsks + kMaxCertified + kBackupFiles.size(); n++)
        many += "file: psk." + std::to_string(1000 + n) + " 0\n";
    EXPECT_EQ(refused(many), "line 265: too many files");
    for (const char* size : {"2049", "01", "-1", "+1", "", "1 ", "99999999999999999999999"})
        for (const char* name : {"identity", "psk.minnie"})
            EXPECT_FALSE(
                unpack(title + "file: " + name + " " + size + "\n" + std::string(3000, 'x')))
                << size;
    EXPECT_EQ(refused("encsync key store 2\n"),
              "line 1: a version that this encsync does not know");
}

TEST_F(StoreBackup, NamesWhatIsWrongWithTheFile) {
    const std::string whole = write_backup(backup());
    const auto refused = [](const std::string& text) { return why(read_backup(text)); };
    EXPECT_EQ(refused(whole), "accepted");
    EXPECT_EQ(refused(whole + "x"), "line 9: trailing data");
    EXPECT_NE(refused(whole.substr(0, whole.size() / 2)).find("truncated"), std::string::npos);
    for (std::size_t at = 0; at < whole.size(); at += at < 300 ? 1 : 7) {
        EXPECT_FALSE(read_backup(whole.substr(0, at))) << at;
        std::string damaged = whole;
        damaged[at] ^= 1;
        EXPECT_FALSE(read_backup(damaged)) << at;
    }
    EXPECT_EQ(refused("encsync key backup 2" + whole.substr(20)),
              "line 1: a version that this encsync does not know");
    EXPECT_EQ(refused(std::string(kMaxBackupText + 1, 'x')),
              "longer than " + std::to_string(kMaxBackupText) + " bytes");
    // What is read back is written again unchanged.
    EXPECT_EQ(write_backup(*read_backup(whole)), whole);
}

TEST(NewFile, IsNeverWrittenOverAnother) {
    Scratch root;
    const std::string path = root / "backup";
    ASSERT_TRUE(write_new(path, as_bytes("one")));
    EXPECT_EQ(read_file(path), "one");
    EXPECT_EQ(mode(path), 0600u);
    EXPECT_EQ(why(write_new(path, as_bytes("two"))),
              path + ": is there already, and is not overwritten");
    EXPECT_EQ(read_file(path), "one");
    fs::create_symlink("none", root / "link");
    EXPECT_FALSE(write_new(root / "link", as_bytes("three")));
    EXPECT_FALSE(fs::exists(root / "none"));
    EXPECT_FALSE(write_new(root / "no/where", as_bytes("four")));
    for (const auto& entry : fs::directory_iterator(root.path()))
        EXPECT_NE(entry.path().extension(), ".new");
}

} // namespace
} // namespace encsync::keys
