// SPDX-License-Identifier: ISC
// The key store on a real file system.
#include "keys/store.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;
constexpr UnixTime kNow = 1767225600;

template<class T>
std::string why(const Result<T>& result) {
    return result ? std::string("accepted") : result.error().text;
}

class KeyStore : public testing::Test {
  protected:
    KeyStore() {
        std::string pattern = fs::temp_directory_path() / "encsync-keys-XXXXXX";
        if (!::mkdtemp(pattern.data()))
            std::abort();
        root_ = pattern;
    }
    ~KeyStore() override { fs::remove_all(root_); }

    Store make(const std::string& name) {
        auto store = Store::create(root_ / name);
        EXPECT_TRUE(store) << why(store);
        EXPECT_TRUE(store->init(name, kNow));
        return std::move(*store);
    }
    static std::vector<PublicKey> public_keys(const Store& store) {
        auto text = store.export_public();
        EXPECT_TRUE(text) << why(text);
        auto file = read_public_file(*text);
        EXPECT_TRUE(file) << why(file);
        return file->keys;
    }
    static std::vector<RawKey> trusted_keys(const Store& store) {
        auto trusted = store.trusted();
        EXPECT_TRUE(trusted) << why(trusted);
        std::vector<RawKey> keys;
        for (const TrustedKey& key : *trusted)
            keys.push_back(key.key);
        return keys;
    }
    static std::string read_file(const fs::path& path) {
        std::ifstream in(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    static mode_t mode(const fs::path& path) {
        struct stat info {};
        EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
        return info.st_mode & 07777;
    }

    fs::path root_;
};

TEST_F(KeyStore, InitMakesAnIdentityThatOthersCannotRead) {
    const auto dir = root_ / "a" / "b" / "keys"; // parents are made too
    const mode_t before = ::umask(0);
    auto store = Store::create(dir);
    ASSERT_TRUE(store) << why(store);
    ASSERT_TRUE(store->init("mickey", kNow));
    ::umask(before);
    EXPECT_EQ(mode(dir), 0700u);
    for (const auto& entry : fs::directory_iterator(dir))
        EXPECT_EQ(mode(entry.path()), 0600u) << entry.path();
    auto identities = store->identities();
    ASSERT_TRUE(identities) << why(identities);
    ASSERT_EQ(identities->size(), 1u);
    EXPECT_EQ(identities->front().name, "mickey");
    EXPECT_EQ(identities->front().created, kNow);
    EXPECT_EQ(public_keys(*store), std::vector<PublicKey>{identities->front()});
}

TEST_F(KeyStore, InitNeverOverwrites) {
    Store store = make("mickey");
    const auto before = public_keys(store);
    EXPECT_NE(why(store.init("mickey")).find("there is an identity already"), std::string::npos);
    EXPECT_EQ(public_keys(store), before);
}

TEST_F(KeyStore, InitRefusesABadNameAndLeavesNothing) {
    auto store = Store::create(root_ / "keys");
    ASSERT_TRUE(store);
    EXPECT_FALSE(store->init("no/name"));
    EXPECT_TRUE(fs::is_empty(root_ / "keys"));
}

TEST_F(KeyStore, InitFinishesWhatWasCutShort) {
    auto store = Store::create(root_ / "keys");
    ASSERT_TRUE(store);
    ASSERT_TRUE(store->init("mickey"));
    const auto creator = store->creatorid();
    ASSERT_TRUE(creator);
    fs::remove(root_ / "keys" / "identity"); // interrupted after the first of two files
    ASSERT_TRUE(store->init("mickey"));
    EXPECT_EQ(*store->creatorid(), *creator);
}

TEST_F(KeyStore, SaysWhatIsNotThere) {
    const auto dir = (root_ / "none").string();
    EXPECT_EQ(why(Store::open(dir)), dir + ": no keys here; 'encsync keys init' makes them");
    auto store = Store::create(dir);
    ASSERT_TRUE(store);
    EXPECT_EQ(why(store->identities()), dir + ": no identity here; 'encsync keys init' makes it");
    EXPECT_FALSE(store->export_public());
    EXPECT_FALSE(store->rotate_identity());
    EXPECT_FALSE(store->retire());
    EXPECT_FALSE(store->creatorid());
    EXPECT_TRUE(store->trusted());
}

TEST_F(KeyStore, RefusesADirectoryThatOthersCanEnter) {
    make("mickey");
    const auto dir = (root_ / "mickey").string();
    ASSERT_TRUE(Store::open(dir));
    ASSERT_EQ(::chmod(dir.c_str(), 0750), 0);
    EXPECT_EQ(why(Store::open(dir)), dir + ": mode 0750 lets others in; it must be 0700");
    EXPECT_FALSE(Store::create(dir));
}

TEST_F(KeyStore, RefusesAFileThatOthersCanRead) {
    Store store = make("mickey");
    const auto identity = (root_ / "mickey" / "identity").string();
    const auto secret = (root_ / "mickey" / "node.secret").string();
    ASSERT_TRUE(store.identities());
    ASSERT_EQ(::chmod(identity.c_str(), 0640), 0);
    EXPECT_EQ(why(store.identities()), identity + ": mode 0640 lets others in; it must be 0600");
    ASSERT_EQ(::chmod(secret.c_str(), 0604), 0);
    EXPECT_EQ(why(store.creatorid()), secret + ": mode 0604 lets others in; it must be 0600");
}

TEST_F(KeyStore, RefusesAForeignOwner) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only root can give a file away";
    Store store = make("mickey");
    const auto dir = (root_ / "mickey").string(), identity = dir + "/identity";
    ASSERT_EQ(::chown(identity.c_str(), 4242, 0), 0);
    EXPECT_EQ(why(store.identities()),
              identity + ": belongs to user 4242, not to user 0 who reads it");
    ASSERT_EQ(::chown(dir.c_str(), 4242, 0), 0);
    EXPECT_EQ(why(Store::open(dir)), dir + ": belongs to user 4242, not to user 0 who reads it");
}

TEST_F(KeyStore, RefusesWhatIsNoRegularFile) {
    Store store = make("mickey");
    const auto dir = root_ / "mickey", identity = dir / "identity";
    fs::rename(identity, dir / "elsewhere");
    fs::create_symlink("elsewhere", identity);
    EXPECT_EQ(why(store.identities()), identity.string() + ": is a symbolic link");
    fs::remove(identity);
    ASSERT_EQ(::mkfifo(identity.c_str(), 0600), 0);
    EXPECT_EQ(why(store.identities()), identity.string() + ": not a regular file");
    fs::remove(identity);
    fs::rename(dir / "elsewhere", identity);
    EXPECT_TRUE(store.identities());
}

TEST_F(KeyStore, NamesADamagedFile) {
    Store store = make("mickey");
    const auto identity = root_ / "mickey" / "identity";
    const std::string whole = read_file(identity);
    fs::resize_file(identity, whole.size() - 1);
    EXPECT_EQ(why(store.identities()), identity.string() + ": line 6: truncated");
    fs::resize_file(identity, 4097);
    EXPECT_EQ(why(store.identities()), identity.string() + ": longer than 4096 bytes");
    fs::resize_file(identity, 9000); // too long for a sealed one, too
    EXPECT_EQ(why(store.identities()), identity.string() + ": longer than 8192 bytes");
}

TEST_F(KeyStore, RotatesAnIdentity) {
    Store store = make("mickey");
    const auto old_key = public_keys(store).front();
    EXPECT_NE(why(store.retire()).find("there is one identity only"), std::string::npos);

    ASSERT_TRUE(store.rotate_identity(kNow - 1000)); // a clock set back
    auto both = public_keys(store);
    ASSERT_EQ(both.size(), 2u);
    EXPECT_EQ(both[0], old_key); // it still signs
    EXPECT_NE(both[1].key, old_key.key);
    EXPECT_EQ(both[1].name, "mickey");
    EXPECT_GT(both[1].created, old_key.created);
    EXPECT_NE(why(store.rotate_identity()).find("there are two identities already"),
              std::string::npos);
    EXPECT_EQ(public_keys(store), both);

    ASSERT_TRUE(store.retire());
    EXPECT_EQ(public_keys(store), std::vector{both[1]});
    EXPECT_FALSE(store.retire());
    ASSERT_TRUE(store.rotate_identity());
    EXPECT_EQ(public_keys(store).size(), 2u);
}

TEST_F(KeyStore, RefusesIdentitiesOfTwoNames) {
    Store mickey = make("mickey");
    make("minnie");
    fs::copy_file(root_ / "minnie" / "identity", root_ / "mickey" / "identity.next");
    EXPECT_NE(why(mickey.identities()).find("is of minnie, but identity is of mickey"),
              std::string::npos);
}

TEST_F(KeyStore, DerivesTheSameForEver) {
    Store store = make("mickey");
    const auto one = store.derive("state ids"), two = store.derive("index");
    const auto creator = store.creatorid();
    ASSERT_TRUE(one && two && creator);
    EXPECT_NE(*one, *two);
    EXPECT_NE(*creator, 0u);
    ASSERT_TRUE(store.rotate_identity());
    ASSERT_TRUE(store.retire());
    auto again = Store::open(root_ / "mickey");
    ASSERT_TRUE(again);
    EXPECT_EQ(*again->derive("state ids"), *one);
    EXPECT_EQ(*again->creatorid(), *creator);
    EXPECT_NE(*make("minnie").derive("state ids"), *one);
}

TEST_F(KeyStore, TrustsAndForgets) {
    Store mickey = make("mickey"), minnie = make("minnie");
    EXPECT_TRUE(trusted_keys(mickey).empty());
    const auto keys = public_keys(minnie);
    const auto fresh = mickey.trust(keys, kNow + 5);
    ASSERT_TRUE(fresh) << why(fresh);
    EXPECT_EQ(*fresh, 1u);
    auto trusted = mickey.trusted();
    ASSERT_TRUE(trusted);
    ASSERT_EQ(trusted->size(), 1u);
    EXPECT_EQ(trusted->front().name, "minnie");
    EXPECT_EQ(trusted->front().key, keys.front().key);
    EXPECT_EQ(trusted->front().since, kNow + 5);

    EXPECT_EQ(*mickey.trust(keys, kNow + 9), 0u); // again: nothing changes
    EXPECT_EQ(mickey.trusted()->front().since, kNow + 5);

    EXPECT_EQ(why(mickey.forget("goofy")), "no key of 'goofy' is trusted");
    EXPECT_EQ(*mickey.forget("minnie"), 1u);
    EXPECT_TRUE(trusted_keys(mickey).empty());
    EXPECT_FALSE(mickey.forget("minnie"));
}

TEST_F(KeyStore, RefusesToTrustWhatWouldBeAMixUp) {
    Store mickey = make("mickey"), minnie = make("minnie");
    EXPECT_EQ(why(mickey.trust(public_keys(mickey))),
              "this is this node's own key; trust it on the peers");
    const std::vector<PublicKey> namesake{make_identity("mickey", kNow)};
    EXPECT_EQ(why(mickey.trust(namesake)), "the key names mickey, which is this node's own name");
    auto keys = public_keys(minnie);
    ASSERT_TRUE(mickey.trust(keys));
    keys.front().name = "goofy";
    EXPECT_EQ(why(mickey.trust(keys)),
              fingerprint(keys.front().key) + " is trusted already, as minnie");
    const std::vector<PublicKey> odd{make_identity("a b", kNow)};
    EXPECT_FALSE(mickey.trust(odd));
    EXPECT_EQ(trusted_keys(mickey).size(), 1u);
}

TEST_F(KeyStore, FollowsAPeersRotation) {
    Store mickey = make("mickey"), minnie = make("minnie");
    const auto old_key = public_keys(minnie).front().key;
    ASSERT_TRUE(mickey.trust(public_keys(minnie), kNow));
    EXPECT_NE(why(mickey.retire_peer("minnie")).find("has one trusted key only"),
              std::string::npos);
    EXPECT_EQ(why(mickey.retire_peer("goofy")), "no key of 'goofy' is trusted");

    ASSERT_TRUE(minnie.rotate_identity(kNow));
    EXPECT_EQ(*mickey.trust(public_keys(minnie), kNow - 100), 1u); // a clock set back
    const auto new_key = public_keys(minnie).at(1).key;
    EXPECT_EQ(trusted_keys(mickey), (std::vector{old_key, new_key}));

    // There is no room for a third key, and nothing from its file is stored.
    const std::vector<PublicKey> more{make_identity("goofy", kNow), make_identity("minnie", kNow)};
    EXPECT_NE(why(mickey.trust(more)).find("minnie has two trusted keys already"),
              std::string::npos);
    EXPECT_EQ(trusted_keys(mickey).size(), 2u);

    ASSERT_TRUE(minnie.retire());
    ASSERT_TRUE(mickey.retire_peer("minnie"));
    EXPECT_EQ(trusted_keys(mickey), std::vector{new_key});
}

// Two keys trusted from one file at the same time: the first in the file is the older one.
TEST_F(KeyStore, RetiresTheOlderOfTwoTrustedTogether) {
    Store mickey = make("mickey"), minnie = make("minnie");
    ASSERT_TRUE(minnie.rotate_identity(kNow));
    const auto keys = public_keys(minnie);
    EXPECT_EQ(*mickey.trust(keys), 2u);
    ASSERT_TRUE(mickey.retire_peer("minnie"));
    EXPECT_EQ(trusted_keys(mickey), std::vector{keys[1].key});
}

TEST_F(KeyStore, SweepsUpWhatACrashLeft) {
    Store store = make("mickey");
    const auto left = root_ / "mickey" / ".new-0badcafe";
    std::ofstream(left) << "half a file";
    ASSERT_TRUE(store.rotate_identity());
    EXPECT_FALSE(fs::exists(left));
    EXPECT_EQ(public_keys(store).size(), 2u);
}

// A write that fails halfway, as on a full disk.
TEST_F(KeyStore, AFailedWriteLeavesTheOldState) {
    Store store = make("mickey");
    ASSERT_TRUE(store.trust(public_keys(make("minnie"))));
    const auto trusted = trusted_keys(store);
    const auto own = public_keys(store);
    const auto goofy = public_keys(make("goofy"));

    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{50, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto trust = store.trust(goofy);
    const auto rotate = store.rotate_identity();
    const auto file =
        Directory::open(root_ / "mickey")->write("file", std::vector<std::uint8_t>(100));
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    std::signal(SIGXFSZ, handler);

    const auto dir = (root_ / "mickey").string();
    // The log is what is written first.
    const auto full = dir + "/log: cannot write: File too large; the keys have not changed";
    EXPECT_EQ(why(trust), full);
    EXPECT_EQ(why(rotate), full);
    EXPECT_EQ(why(file), dir + "/file: cannot write: File too large");
    EXPECT_EQ(trusted_keys(store), trusted);
    EXPECT_EQ(public_keys(store), own);
    for (const auto& entry : fs::directory_iterator(dir))
        EXPECT_FALSE(entry.path().filename().string().starts_with(".new-")) << entry.path();
    EXPECT_TRUE(store.trust(goofy));
}

PublicFile exported(const Store& store) {
    auto file = read_public_file(*store.export_public());
    EXPECT_TRUE(file) << why(file);
    return std::move(*file);
}

TEST_F(KeyStore, AKeyThatTheTrustedOneHasSignedIsTrusted) {
    Store mickey = make("mickey"), minnie = make("minnie"), goofy = make("goofy");
    ASSERT_TRUE(mickey.trust(exported(minnie)));
    ASSERT_TRUE(goofy.trust(exported(minnie)));
    // Three rotations, of which mickey is told after the last one.
    for (int n = 0; n < 3; n++) {
        ASSERT_TRUE(minnie.rotate_identity());
        ASSERT_TRUE(minnie.retire());
    }
    EXPECT_EQ(exported(minnie).keys.size(), 1u);
    EXPECT_EQ(exported(minnie).successions.size(), 3u);
    EXPECT_EQ(*mickey.trust(exported(minnie)), 1u);
    EXPECT_EQ(*mickey.trust(exported(minnie)), 0u); // again
    EXPECT_EQ(trusted_keys(mickey).back(), exported(minnie).keys[0].key);
    // Only the last ones are kept; who has missed more needs --new-identity.
    for (std::size_t n = 0; n < kMaxSuccessions; n++) {
        ASSERT_TRUE(minnie.rotate_identity());
        ASSERT_TRUE(minnie.retire());
    }
    EXPECT_EQ(exported(minnie).successions.size(), kMaxSuccessions);
    EXPECT_NE(why(goofy.trust(exported(minnie))).find("--new-identity"), std::string::npos);
}

TEST_F(KeyStore, AKeyOfTheSameNameThatItHasNotSignedIsNot) {
    Store mickey = make("mickey"), minnie = make("minnie"), stolen = make("other");
    ASSERT_TRUE(mickey.trust(exported(minnie)));
    auto stranger = Store::create(root_ / "stranger");
    ASSERT_TRUE(stranger->init("minnie", kNow));
    const auto trusted = trusted_keys(mickey);
    const auto refused = why(mickey.trust(exported(*stranger)));
    EXPECT_NE(refused.find("minnie is trusted with " + fingerprint(trusted[0]) + ", and " +
                           fingerprint(exported(*stranger).keys[0].key) +
                           " is not signed by that key"),
              std::string::npos)
        << refused;
    EXPECT_NE(refused.find("--new-identity"), std::string::npos);
    // Nor with successions of its own, or minnie's, or with minnie's key beside it.
    ASSERT_TRUE(stranger->rotate_identity());
    ASSERT_TRUE(minnie.rotate_identity());
    PublicFile file = exported(*stranger);
    EXPECT_FALSE(mickey.trust(file));
    file.successions = exported(minnie).successions;
    EXPECT_FALSE(mickey.trust(file));
    file.keys[0] = exported(minnie).keys[0];
    EXPECT_FALSE(mickey.trust(file));
    EXPECT_EQ(trusted_keys(mickey), trusted);
    // Said to be right by who has looked, it is trusted; and a key whose name is not known is.
    EXPECT_EQ(*mickey.trust(std::vector{exported(*stranger).keys[0]}), 1u);
    EXPECT_EQ(*mickey.trust(exported(stolen)), 1u);
}

std::vector<std::string> events(const Store& store) {
    std::vector<std::string> out;
    const auto log = store.log();
    EXPECT_TRUE(log) << why(log);
    for (const LogEntry& entry : log->entries)
        out.push_back(
            fmt::format("{} {} {}", to_string(entry.event), entry.name, entry.fingerprint));
    return out;
}

std::vector<std::string> differences(const Store& store) {
    const auto log = store.log();
    EXPECT_TRUE(log) << why(log);
    const auto found = store.differences(*log);
    EXPECT_TRUE(found) << why(found);
    return *found;
}

TEST_F(KeyStore, ARevokedKeyIsNeverTrustedAgain) {
    Store mickey = make("mickey"), minnie = make("minnie"), goofy = make("goofy");
    ASSERT_TRUE(mickey.trust(exported(minnie)));
    ASSERT_TRUE(mickey.trust(exported(goofy)));
    ASSERT_TRUE(minnie.rotate_identity());
    ASSERT_TRUE(mickey.trust(exported(minnie)));
    EXPECT_EQ(*mickey.revoke("minnie", kNow + 5), 2u);
    EXPECT_EQ(trusted_keys(mickey).size(), 1u); // goofy's
    const auto revoked = *mickey.revoked();
    ASSERT_EQ(revoked.size(), 2u);
    EXPECT_EQ(revoked[0].name, "minnie");
    EXPECT_EQ(revoked[0].by, "mickey");
    EXPECT_EQ(revoked[0].when, kNow + 5);
    EXPECT_EQ(why(mickey.revoke("minnie")), "no key of 'minnie' is trusted");
    // Neither with its successions nor by an administrator who is sure.
    const std::string refused = why(mickey.trust(exported(minnie)));
    EXPECT_EQ(refused, fingerprint(exported(minnie).keys[0].key) +
                           " of minnie was revoked, and is never trusted again; minnie needs a new "
                           "identity");
    EXPECT_FALSE(mickey.trust(std::vector{exported(minnie).keys[1]}));
    EXPECT_EQ(events(mickey).back(), "revoke minnie " + fingerprint(exported(minnie).keys[1].key));
    EXPECT_TRUE(differences(mickey).empty());
    // With another identity it is a peer again.
    auto stranger = Store::create(root_ / "anew");
    ASSERT_TRUE(stranger->init("minnie", kNow));
    EXPECT_EQ(*mickey.trust(exported(*stranger)), 1u);
}

TEST_F(KeyStore, ARevocationIsTakenFromAPeer) {
    Store mickey = make("mickey"), minnie = make("minnie"), goofy = make("goofy");
    ASSERT_TRUE(goofy.trust(exported(minnie)));
    ASSERT_TRUE(mickey.trust(exported(minnie)));
    ASSERT_TRUE(mickey.revoke("minnie", kNow));
    const Revocation r = mickey.revoked()->front();
    EXPECT_TRUE(*goofy.revoke(r));
    EXPECT_FALSE(*goofy.revoke(r)); // again
    EXPECT_TRUE(trusted_keys(goofy).empty());
    EXPECT_EQ(*goofy.revoked(), *mickey.revoked());
    EXPECT_EQ(digest(*goofy.revoked()), digest(*mickey.revoked()));
    EXPECT_NE(digest(*goofy.revoked()), digest({}));
    // Of a key that is not trusted here, for the day on which somebody brings it.
    Store daisy = make("daisy");
    const auto before = events(daisy);
    EXPECT_TRUE(*daisy.revoke(r));
    EXPECT_EQ(events(daisy), before); // no key of its own has changed
    EXPECT_FALSE(daisy.trust(exported(minnie)));
    // Its own it keeps: the others drop it.
    EXPECT_EQ(why(minnie.revoke(r)),
              "this node's own key " + fingerprint(r.key) + " was revoked on mickey");
    EXPECT_TRUE(minnie.identities());
    for (const std::string bad : {"", "../x", "a b"}) {
        Revocation lie = r;
        lie.name = bad;
        EXPECT_FALSE(daisy.revoke(lie));
        lie.name = "minnie";
        lie.by = bad;
        EXPECT_FALSE(daisy.revoke(lie));
    }
}

TEST_F(KeyStore, RevocationsHaveALimit) {
    Store mickey = make("mickey");
    for (std::size_t n = 0; n < kMaxRevoked; n++) {
        Revocation r{{"x", kNow, {}}, kNow, "y"};
        r.key[0] = static_cast<std::uint8_t>(n);
        ASSERT_TRUE(*mickey.revoke(r));
    }
    Revocation r{{"x", kNow, {}}, kNow, "y"};
    r.key[1] = 1;
    EXPECT_EQ(why(mickey.revoke(r)), "256 keys are revoked already, which is the limit");
}

// A crash between the two writes of a revocation.
TEST_F(KeyStore, ARevokedKeyThatIsStillInTheListIsNotTrusted) {
    Store mickey = make("mickey"), minnie = make("minnie");
    ASSERT_TRUE(mickey.trust(exported(minnie)));
    const std::string list = read_file(root_ / "mickey" / "trusted");
    ASSERT_TRUE(mickey.revoke("minnie", kNow));
    std::ofstream(root_ / "mickey" / "trusted") << list;
    EXPECT_TRUE(trusted_keys(mickey).empty());
    EXPECT_TRUE(differences(mickey).empty());
}

TEST_F(KeyStore, RevocationsAreReadAsTheyAreWritten) {
    const Revocation one{{"minnie", kNow, {1}}, kNow + 1, "mickey"},
        two{{"goofy", kNow + 2, {2}}, kNow + 3, "daisy"};
    const std::string text = write_revocations({one, two});
    EXPECT_EQ(*read_revocations(text), (std::vector{one, two}));
    EXPECT_EQ(*read_revocations(write_revocations({})), std::vector<Revocation>());
    EXPECT_EQ(why(read_revocations(write_revocations({one, one}))), "line 3: the same key twice");
    EXPECT_EQ(why(read_revocations("encsync revoked keys 2\n")),
              "line 1: a version that this encsync does not know");
    for (std::size_t n = 0; n < text.size(); n++) {
        std::string bad = text;
        bad[n] ^= 1;
        EXPECT_FALSE(read_revocations(bad)) << n;
        EXPECT_FALSE(read_revocations(text.substr(0, n))) << n;
    }
    EXPECT_EQ(digest({one, two}), digest({two, one}));
}

TEST_F(KeyStore, LogsEachEvent) {
    Store store = make("mickey");
    const auto minnie = public_keys(make("minnie"));
    const std::string first = fingerprint(public_keys(store)[0].key);
    ASSERT_TRUE(store.trust(minnie, kNow));
    ASSERT_TRUE(store.trust(minnie, kNow)); // changes nothing
    ASSERT_TRUE(store.rotate_identity(kNow));
    const std::string second = fingerprint(public_keys(store)[1].key);
    ASSERT_TRUE(store.retire(kNow));
    ASSERT_TRUE(store.forget("minnie", kNow));
    const std::string peer = fingerprint(minnie[0].key);
    EXPECT_EQ(events(store),
              (std::vector<std::string>{"init mickey " + first, "trust minnie " + peer,
                                        "rotate mickey " + second, "retire mickey " + first,
                                        "forget minnie " + peer}));
    EXPECT_EQ(differences(store), std::vector<std::string>{});
    EXPECT_EQ(mode(root_ / "mickey" / "log"), 0600u);
}

TEST_F(KeyStore, LogsWhatAnOlderVersionLeft) {
    Store store = make("mickey");
    ASSERT_TRUE(store.trust(public_keys(make("minnie"))));
    fs::remove(root_ / "mickey" / "log");
    EXPECT_EQ(events(store), std::vector<std::string>{});
    EXPECT_EQ(differences(store), std::vector<std::string>{});
    ASSERT_TRUE(store.forget("minnie"));
    ASSERT_EQ(events(store).size(), 3u);
    EXPECT_TRUE(events(store)[0].starts_with("found mickey "));
    EXPECT_TRUE(events(store)[1].starts_with("found minnie "));
    EXPECT_EQ(differences(store), std::vector<std::string>{});
}

TEST_F(KeyStore, AKeyThatCameByAnotherWayIsNamed) {
    Store store = make("mickey"), other = make("other");
    ASSERT_TRUE(store.trust(public_keys(make("minnie"))));
    const auto trusted = root_ / "mickey" / "trusted";
    ASSERT_TRUE(other.trust(public_keys(make("goofy"))));
    fs::copy_file(root_ / "other" / "trusted", trusted, fs::copy_options::overwrite_existing);
    const auto found = differences(store);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_NE(found[0].find(" of goofy is there, though not according to the log"),
              std::string::npos);
    EXPECT_NE(found[1].find(" of minnie is not there, though it is in the log"), std::string::npos);
}

// Who finds it so waits, or looks again later.
TEST_F(KeyStore, ItsLogIsAheadOfItsKeysOnlyUnderTheLock) {
    const Store store = make("mickey");
    auto another = Store::open(root_ / "mickey");
    ASSERT_TRUE(another) << why(another);
    {
        const auto held = store.lock_unless_held();
        ASSERT_TRUE(held && *held);
        const auto refused = another->lock_unless_held();
        ASSERT_TRUE(refused) << why(refused);
        EXPECT_FALSE(*refused);
    }
    constexpr std::chrono::milliseconds kPause(1); // so that each gets the lock
    std::atomic<bool> over = false;
    std::jthread writer([&] {
        const auto minnie = public_keys(make("minnie"));
        for (int i = 0; i < 20; i++) {
            EXPECT_TRUE(another->trust(minnie));
            std::this_thread::sleep_for(kPause);
            EXPECT_TRUE(another->forget("minnie"));
            std::this_thread::sleep_for(kPause);
        }
        over = true;
    });
    unsigned looks = 0;
    for (; !over; std::this_thread::sleep_for(kPause)) {
        const auto lock = store.lock_unless_held();
        ASSERT_TRUE(lock) << why(lock);
        if (!*lock)
            continue;
        looks++;
        ASSERT_EQ(differences(store), std::vector<std::string>{});
    }
    EXPECT_GT(looks, 0u);
}

// What is not in the log is not done, and what was not done after all is in the log.
TEST_F(KeyStore, AnEventThatCannotBeLoggedDoesNotHappen) {
    Store store = make("mickey");
    const auto minnie = public_keys(make("minnie"));
    const auto file = root_ / "mickey" / "log";
    const std::string text = read_file(file);
    std::ofstream(file) << "something else\n";
    EXPECT_EQ(why(store.trust(minnie)), file.string() + ": line 1: expected 'encsync key log 1'");
    EXPECT_TRUE(trusted_keys(store).empty());
    // The end of an append that a crash interrupted goes.
    std::ofstream(file) << text << "2026-01-01T00:00:0";
    EXPECT_EQ(events(store).size(), 1u);
    ASSERT_TRUE(store.trust(minnie));
    EXPECT_EQ(events(store).size(), 2u);
    EXPECT_EQ(differences(store), std::vector<std::string>{});
}

// An existing file can still be written, but no new one be made.
TEST_F(KeyStore, AnEventThatDidNotHappenAfterAllIsLoggedAsSuch) {
    constexpr uid_t kNobody = 65534;
    const auto minnie = public_keys(make("minnie"));
    {
        Store store = make("mickey");
        ASSERT_TRUE(store.trust(public_keys(make("goofy"))));
    }
    const auto dir = root_ / "mickey";
    const bool root = ::geteuid() == 0;
    if (root) {
        for (const auto& path : {root_, dir, dir / "log", dir / "identity", dir / "trusted"})
            ASSERT_EQ(::chown(path.c_str(), kNobody, kNobody), 0);
        ASSERT_EQ(::seteuid(kNobody), 0);
    }
    fs::permissions(dir, fs::perms::owner_read | fs::perms::owner_exec);
    auto store = Store::open(dir);
    ASSERT_TRUE(store) << why(store);
    const auto trust = store->trust(minnie);
    const auto forget = store->forget("goofy");
    const auto logged = events(*store);
    const auto found = differences(*store);
    fs::permissions(dir, fs::perms::owner_all);
    const auto again = store->trust(minnie);
    const auto later = differences(*store);
    if (root) {
        ASSERT_EQ(::seteuid(0), 0);
    }
    EXPECT_EQ(why(trust), dir.string() + "/trusted: cannot write: Permission denied");
    EXPECT_FALSE(forget);
    ASSERT_EQ(logged.size(), 6u);
    EXPECT_TRUE(logged[2].starts_with("trust minnie "));
    EXPECT_TRUE(logged[3].starts_with("failed minnie "));
    EXPECT_TRUE(logged[4].starts_with("forget goofy "));
    EXPECT_TRUE(logged[5].starts_with("failed goofy "));
    EXPECT_EQ(found, std::vector<std::string>{});
    EXPECT_TRUE(again) << why(again);
    EXPECT_EQ(later, std::vector<std::string>{});
}

// Without the lock, writers that read the same old list would lose each other's keys.
TEST_F(KeyStore, KeepsWritersApart) {
    make("mickey");
    constexpr int kWriters = 8;
    std::vector<std::thread> writers;
    writers.reserve(kWriters);
    for (int i = 0; i < kWriters; i++)
        writers.emplace_back([this, i] {
            auto store = Store::open(root_ / "mickey");
            const std::vector<PublicKey> keys{make_identity("peer" + std::to_string(i), kNow)};
            EXPECT_TRUE(store->trust(keys, kNow));
        });
    for (auto& writer : writers)
        writer.join();
    auto store = Store::open(root_ / "mickey");
    EXPECT_EQ(trusted_keys(*store).size(), static_cast<std::size_t>(kWriters));
}

TEST(SecretMemory, MovesAndLeavesNothing) {
    SecretSeed one = SecretSeed::random();
    const std::vector<std::uint8_t> copy(one.bytes().begin(), one.bytes().end());
    SecretSeed two = std::move(one);
    EXPECT_TRUE(std::ranges::equal(two.bytes(), copy));
    EXPECT_TRUE(one.bytes().empty()); // NOLINT(bugprone-use-after-move): what we test
    EXPECT_FALSE(std::ranges::equal(SecretSeed::random().bytes(), copy));
    static_assert(!std::is_copy_constructible_v<SecretSeed>);
    static_assert(!std::is_copy_assignable_v<SecretSeed>);
}

} // namespace
} // namespace encsync::keys
