// SPDX-License-Identifier: ISC
// Every operation on a key store, struck at every system call with which it changes a file: by a
// crash, by a crash in the middle of a write, by a full disk. Each time the store is the old one or
// the new one, the log says so, and the operation can be repeated.
#include "certificates.hpp"
#include "keys/files.hpp"
#include "keys/lines.hpp"
#include "scratch.hpp"
#include "traced.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;

Passphrase phrase() {
    return Passphrase(as_bytes("correct horse battery"));
}

std::shared_ptr<Unlock> unlock() {
    return std::make_shared<Unlock>([] { return Result(std::optional(phrase())); });
}

// Keys that are not made by chance, so that what is there can be compared.
PublicKey peer_key(std::uint8_t seed) {
    const std::array<std::uint8_t, crypto_sign_SEEDBYTES> seeds{seed};
    PublicKey key{fmt::format("peer{}", seed % 8), kNow, {}};
    std::array<std::uint8_t, crypto_sign_SECRETKEYBYTES> secret{};
    crypto_sign_seed_keypair(key.key.data(), secret.data(), seeds.data());
    return key;
}

struct Operation {
    const char* name;
    // How the store is before: made from a new one that trusts peer1, with two keys, and peer2.
    std::function<void(Store&)> prepare;
    // Returns the error, or nothing.
    std::function<Result<void>(const std::string& directory)> run;
    // What a repetition says if the operation was done before the crash: part of the error.
    // Empty: it succeeds again.
    std::string repeated;
    // The keys that may be missing from the store or its log after a crash.
    std::size_t keys = 1;
    bool existing = true; // false: it begins without a store
};

Result<void> with_store(const std::string& directory,
                        const std::function<Result<void>(Store&)>& action) {
    auto store = Store::open(directory, unlock());
    return store ? action(*store) : store.error();
}

template<class T>
Result<void> only_error(const Result<T>& result) {
    return result ? Result<void>() : result.error();
}

Backup some_backup() {
    Scratch root;
    auto store = Store::create(root / "mickey");
    EXPECT_TRUE(store->init("mickey", kNow));
    EXPECT_TRUE(store->trust(std::vector{peer_key(1), peer_key(9)}, kNow));
    EXPECT_TRUE(store->put_psk("peer5", as_bytes("sixteen and more"), false, kNow));
    auto made = store->backup(phrase(), kMinKdfCost, kNow);
    EXPECT_TRUE(made) << why(made);
    return std::move(*made);
}

void nothing(Store&) {}
void sealed(Store& store) {
    ASSERT_TRUE(store.seal(phrase(), kMinKdfCost, kNow));
}
// Two keys with peer1, which are not made by chance.
void offering(Store& store) {
    const PpkMix mix{1, {{{"mickey", {3}}, {"peer1", {4}}}}};
    ASSERT_TRUE(store.mix_ppk("peer1", {}, mix, kNow));
    PpkMix next = mix;
    next.epoch = 2;
    ASSERT_TRUE(store.mix_ppk("peer1", id_of(store.ppks("peer1")->keys[0]), next, kNow));
}
void rotating(Store& store) {
    ASSERT_TRUE(store.rotate_identity(kNow));
}
void preshared(Store& store) {
    ASSERT_TRUE(store.put_psk("peer5", as_bytes("sixteen and more"), false, kNow));
}

// The same ones in each process of a test.
const std::vector<std::uint8_t>& authority(std::size_t which) {
    static const auto make = [] { return make_certificate({kNow, kNow + 86400, nullptr, true}); };
    static const std::array made = {make(), make()};
    return made[which - 1];
}
void certified(Store& store) {
    ASSERT_TRUE(
        store.put_certificate("peer5", CertificateUse::authority, authority(1), false, kNow));
}

std::vector<Operation> operations() {
    const auto in = [](std::function<Result<void>(Store&)> action) {
        return [action = std::move(action)](const std::string& directory) {
            return with_store(directory, action);
        };
    };
    const auto rotate = in([](Store& s) { return s.rotate_identity(kNow + 1); });
    const auto retire = in([](Store& s) { return s.retire(kNow + 1); });
    const auto trust = in([](Store& s) {
        return only_error(s.trust(std::vector{peer_key(3), peer_key(4)}, kNow + 1));
    });
    const auto put_psk = in([](Store& s) {
        return only_error(
            s.put_psk("peer5", as_bytes("another one that is longer"), false, kNow + 1));
    });
    const auto put_certificate = in([](Store& s) {
        return only_error(
            s.put_certificate("peer5", CertificateUse::authority, authority(2), false, kNow + 1));
    });
    const auto restore = [from = std::make_shared<Backup>(some_backup())](const Passphrase* seal) {
        return [from, seal](const std::string& directory) {
            return only_error(
                Store::restore(directory, *from, phrase(), seal, kMinKdfCost, kNow + 1));
        };
    };
    static const Passphrase seal_with = phrase();
    return {
        {"Init", nothing,
         [](const std::string& directory) -> Result<void> {
             auto store = Store::create(directory);
             return store ? store->init("mickey", kNow + 1) : store.error();
         },
         "there is an identity already", 1, false},
        {"Rotate", nothing, rotate, "there are two identities already"},
        {"RotateSealed", sealed, rotate, "there are two identities already"},
        {"Retire", rotating, retire, "there is one identity only"},
        {"RetireSealed",
         [](Store& s) {
             rotating(s);
             sealed(s);
         },
         retire, "there is one identity only"},
        {"Trust", nothing, trust, "", 2},
        {"TrustFirst", // with the log yet to be made
         [](Store& s) { fs::remove(s.directory() + "/log"); }, trust, "", 2},
        {"Forget", nothing, in([](Store& s) { return only_error(s.forget("peer1", kNow + 1)); }),
         "no key of 'peer1'", 2},
        {"RetirePeer", nothing, in([](Store& s) { return s.retire_peer("peer1", kNow + 1); }),
         "has one trusted key only"},
        {"Revoke", nothing, in([](Store& s) { return only_error(s.revoke("peer1", kNow + 1)); }),
         "no key of 'peer1'", 2},
        {"Seal",
         [](Store& s) {
             rotating(s);
             preshared(s);
         },
         in([](Store& s) { return s.seal(phrase(), kMinKdfCost, kNow + 1); }), "is sealed already",
         0},
        {"Unseal",
         [](Store& s) {
             rotating(s);
             preshared(s);
             sealed(s);
         },
         in([](Store& s) { return s.unseal(kNow + 1); }), "is not sealed", 0},
        {"Change", sealed, in([](Store& s) { return s.change_passphrase(phrase(), kMinKdfCost); }),
         "", 0},
        {"MixPpk", offering, in([](Store& s) {
             const PpkMix mix{9, {{{"mickey", {1}}, {"peer1", {2}}}}};
             const auto ring = s.ppks("peer1");
             if (!ring || ring->keys.empty())
                 return Result<void>(Error{"no key"});
             return s.mix_ppk("peer1", id_of(ring->keys[0]), mix, kNow + 1);
         }),
         "", 0},
        {"OfferPpk", offering,
         in([](Store& s) { return s.offer_ppk("peer1", id_of(s.ppks("peer1")->keys.back())); }), "",
         0},
        {"SettlePpk", offering, in([](Store& s) { return s.settle_ppk("peer1", kNow + 1); }), "",
         0},
        {"ForgetPpk", offering,
         in([](Store& s) { return only_error(s.forget_ppk("peer1", kNow + 1)); }),
         "there is no preshared key", 0},
        {"PutPsk", preshared, put_psk, "", 0},
        {"PutPskSealed",
         [](Store& s) {
             preshared(s);
             sealed(s);
         },
         put_psk, "", 0},
        {"RetirePsk",
         [](Store& s) {
             preshared(s);
             ASSERT_TRUE(s.put_psk("peer5", as_bytes("another one that is longer"), false, kNow));
         },
         in([](Store& s) { return s.retire_psk("peer5", nullptr, kNow + 1); }),
         "there is only one preshared key", 0},
        {"ForgetPsk", preshared, in([](Store& s) { return s.forget_psk("peer5", kNow + 1); }),
         "there is no preshared key", 0},
        {"PutCertificate", certified, put_certificate, ""},
        {"RetireCertificate",
         [](Store& s) {
             certified(s);
             ASSERT_TRUE(
                 s.put_certificate("peer5", CertificateUse::authority, authority(2), false, kNow));
         },
         in([](Store& s) {
             return s.retire_certificate("peer5", CertificateUse::authority, false, nullptr,
                                         kNow + 1);
         }),
         "there is only one authority"},
        {"ForgetCertificates", certified, in([](Store& s) {
             return s.forget_certificates("peer5", CertificateUse::authority, kNow + 1);
         }),
         "there is no authority"},
        {"ForgetWhoHasAPskOnly", preshared,
         in([](Store& s) { return only_error(s.forget("peer5", kNow + 1)); }), "no key of 'peer5'",
         0},
        {"Restore", nothing, restore(nullptr), "there is something here already", 0, false},
        {"RestoreSealed", nothing, restore(&seal_with), "there is something here already", 0,
         false},
    };
}

// What the store holds, in words; keys that were made by chance are "new", unless `known`.
std::string picture(const std::string& directory, const std::vector<PublicKey>& known) {
    if (!fs::exists(directory) || fs::is_empty(directory))
        return "none";
    auto store = Store::open(directory, unlock());
    if (!store)
        return store.error().text;
    const auto identities = store->identities();
    if (!identities)
        return identities.error().text.find("no identity here") != std::string::npos
                   ? "none"
                   : identities.error().text;
    const auto creatorid = store->creatorid();
    const auto trusted = store->trusted();
    const auto revoked = store->revoked();
    const auto exported = store->export_public(); // with the successions
    for (const std::string& reason :
         {why(creatorid), why(trusted), why(revoked), why(exported), why(store->own_keys())})
        if (reason != "accepted")
            return reason;
    std::string text;
    for (const Identity& mine : *identities) {
        const auto at = std::ranges::find(known, mine.key, &PublicKey::key);
        text += at == known.end() ? "new " : fmt::format("mine{} ", at - known.begin());
    }
    for (const TrustedKey& key : *trusted)
        text += fingerprint(key.key) + " ";
    text += "without";
    for (const Revocation& key : *revoked)
        text += " " + fingerprint(key.key);
    if (fs::exists(directory + "/ppk.peer1")) {
        const auto ring = store->ppks("peer1");
        if (!ring)
            return ring.error().text;
        for (const Ppk& ppk : ring->keys)
            text += (&ppk == ring->offered() ? " *" : " ") + to_text(id_of(ppk));
    }
    const auto psks = store->psks();
    if (!psks)
        return psks.error().text;
    for (const PskPair& of : *psks)
        for (const Psk& psk : of.keys)
            text += fmt::format(" {}: {}", of.peer, as_text(psk.key.bytes()));
    const auto certificates = store->certificates();
    if (!certificates)
        return certificates.error().text;
    for (const PeerCertificates& of : *certificates)
        for (const HeldCertificate& one : of.of(CertificateUse::authority))
            text += fmt::format(" {}: {}", of.peer, certificate_fingerprint(one.der));
    if (!known.empty())
        text += fmt::format(" {:08x}", *creatorid);
    return text;
}

struct Case {
    Operation operation;
    Strike strike;
};

void PrintTo(const Case& given, std::ostream* out) {
    *out << given.operation.name;
}

class Struck : public testing::TestWithParam<Case> {};

TEST_P(Struck, LeavesTheOldStoreOrTheNewOne) {
    const Operation& operation = GetParam().operation;
    const Strike how = GetParam().strike;
    Scratch root;
    const std::string origin = root / "origin", directory = root / "keys";
    std::vector<PublicKey> known;
    if (operation.existing) {
        auto store = Store::create(origin, unlock());
        ASSERT_TRUE(store->init("mickey", kNow));
        ASSERT_TRUE(
            store->trust(std::vector{peer_key(1), peer_key(9), peer_key(2)}, kNow)); // 9: peer1's
        operation.prepare(*store);
        known = *store->own_keys();
    }
    const auto begin_anew = [&] {
        fs::remove_all(directory);
        fs::remove_all(root / ".keys.restore");
        if (operation.existing)
            fs::copy(origin, directory, fs::copy_options::recursive);
    };
    begin_anew();
    const std::string before = picture(directory, known);
    ASSERT_TRUE(operation.run(directory)) << why(operation.run(directory));
    const std::string after = picture(directory, known);
    const Sealing sealing_after = *Store::open(directory)->sealing();

    int calls = 0;
    for (;; calls++) {
        SCOPED_TRACE(fmt::format("call {}", calls));
        begin_anew();
        bool succeeded = false;
        const Traced outcome = trace([&] { return static_cast<bool>(operation.run(directory)); },
                                     {how, calls}, &succeeded);
        if (outcome == Traced::not_permitted)
            GTEST_SKIP() << "this process may not trace another here";
        const std::string now = picture(directory, known);
        if (outcome == Traced::not_reached) {
            EXPECT_TRUE(succeeded);
            EXPECT_EQ(now, after);
            break;
        }
        ASSERT_TRUE(now == before || now == after) << now << "\nis neither\n"
                                                   << before << "\nnor\n"
                                                   << after;
        if (succeeded) {
            EXPECT_EQ(now, after); // what failed did not matter
        }
        const auto differences = [&]() -> std::vector<std::string> {
            auto store = Store::open(directory, unlock());
            if (now == "none" || !store)
                return {};
            const auto log = store->log();
            EXPECT_TRUE(log) << why(log);
            return *store->differences(*log);
        };
        // At most what was interrupted.
        EXPECT_LE(differences().size(), operation.keys) << differences().front();
        // After a crash or an error it is simply repeated.
        const auto again = operation.run(directory);
        if (!again) {
            EXPECT_EQ(now, after) << why(again); // it was done
            EXPECT_FALSE(operation.repeated.empty());
            EXPECT_NE(why(again).find(operation.repeated), std::string::npos) << why(again);
        }
        EXPECT_EQ(picture(directory, known), after);
        EXPECT_EQ(*Store::open(directory)->sealing(), sealing_after);
        EXPECT_LE(differences().size(), operation.keys);
        for (const auto& entry : fs::directory_iterator(root.path()))
            EXPECT_TRUE(entry.path() == origin || entry.path() == directory) << entry.path();
    }
    EXPECT_GE(calls, how == Strike::torn ? 1 : 3); // it was struck at all
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const Operation& operation : operations())
        for (const Strike strike : {Strike::crash, Strike::torn, Strike::full})
            all.push_back({operation, strike});
    return all;
}

// Control: a file that is written in place is seen empty, half and whole.
TEST(Traced, StrikesWhereItIsTold) {
    Scratch root;
    const std::string path = root / "file";
    const auto in_place = [&] {
        const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        return fd && ::write(fd.get(), "new", 3) == 3 && ::fsync(fd.get()) == 0;
    };
    const auto left = [&](Strike strike, int call) {
        write_file(path, "old");
        bool succeeded = false;
        const Traced outcome = trace(in_place, {strike, call}, &succeeded);
        if (outcome == Traced::not_permitted)
            return std::string("not permitted");
        return fmt::format("{}{}{}", read_file(path), succeeded ? " done" : "",
                           outcome == Traced::struck ? "" : " not reached");
    };
    if (left(Strike::crash, 0) == "not permitted")
        GTEST_SKIP() << "this process may not trace another here";
    EXPECT_EQ(left(Strike::crash, 0), "old");
    EXPECT_EQ(left(Strike::crash, 1), "");
    EXPECT_EQ(left(Strike::crash, 2), "new");
    EXPECT_EQ(left(Strike::crash, 3), "new done not reached");
    EXPECT_EQ(left(Strike::torn, 0), "ne");
    EXPECT_EQ(left(Strike::torn, 1), "new done not reached");
    EXPECT_EQ(left(Strike::full, 0), "old");
    EXPECT_EQ(left(Strike::full, 1), "");
    EXPECT_EQ(left(Strike::full, 2), "new");
}

TEST(NewFile, IsWholeOrNotThereAfterACrash) {
    Scratch root;
    const std::string path = root / "backup", text(5000, 'x');
    for (const Strike strike : {Strike::crash, Strike::torn, Strike::full})
        for (int call = 0;; call++) {
            SCOPED_TRACE(fmt::format("strike {}, call {}", static_cast<int>(strike), call));
            const Traced outcome = trace(
                [&] { return static_cast<bool>(write_new(path, as_bytes(text))); }, {strike, call});
            if (outcome == Traced::not_permitted)
                GTEST_SKIP() << "this process may not trace another here";
            const std::string left = read_file(path);
            EXPECT_TRUE(left.empty() || left == text) << left.size();
            // What is there after all is not overwritten; else it is simply repeated.
            EXPECT_EQ(static_cast<bool>(write_new(path, as_bytes(text))), left.empty());
            EXPECT_EQ(read_file(path), text);
            EXPECT_FALSE(fs::exists(path + ".new"));
            fs::remove(path);
            if (outcome == Traced::not_reached)
                break;
        }
}

std::string name_of(const testing::TestParamInfo<Case>& given) {
    constexpr std::array kHow = {"ByACrash", "InTheMiddle", "ByAFullDisk"};
    return std::string(given.param.operation.name) +
           kHow[static_cast<std::size_t>(given.param.strike)];
}
INSTANTIATE_TEST_SUITE_P(Store, Struck, testing::ValuesIn(cases()), name_of);

} // namespace
} // namespace encsync::keys
