// SPDX-License-Identifier: ISC
// Certificates: what is read of one, the format, and what a store does with them.
#include "keys/x509.hpp"

#include "certificates.hpp"
#include "keys/files.hpp"
#include "keys/lines.hpp"
#include "scratch.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

namespace fs = std::filesystem;

constexpr UnixTime kDay = 86400;
constexpr auto kOwn = CertificateUse::own, kAuthority = CertificateUse::authority;

TEST(X509, ReadsTheValidityOfACertificate) {
    // Before 2050 it is UTCTime, from then on GeneralizedTime.
    for (const char* until : {"2026-07-01T00:00:00Z", "2049-12-31T23:59:59Z",
                              "2050-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}) {
        const auto der = make_certificate({kNow, *parse_time(until)});
        const auto validity = read_validity(der);
        ASSERT_TRUE(validity) << validity.error().text;
        EXPECT_EQ(validity->from, kNow);
        EXPECT_EQ(to_text(validity->until), until);
        for (std::size_t size = 0; size < der.size(); size++)
            EXPECT_FALSE(read_validity(Bytes(der).first(size))) << size;
    }
    EXPECT_EQ(read_validity({}).error().text, "is no X.509 certificate");
}

TEST(X509, RefusesWhatCannotBeUsed) {
    const RawKey key = make_identity("mickey", kNow).key;
    const std::vector<PublicKey> own{{"mickey", kNow, {1}}, {"mickey", kNow, key}};
    const auto refused = [&](CertificateUse use, const Wanted& wanted) {
        return why(check_certificate(use, make_certificate(wanted), own, kNow));
    };
    const UnixTime end = kNow + 40 * kDay;
    EXPECT_EQ(refused(kOwn, {kNow, end, &key}), "accepted");
    EXPECT_EQ(refused(kOwn, {kNow, end}),
              "is not for this node's key; certify the one that 'encsync keys export --pem' "
              "prints");
    EXPECT_EQ(refused(kAuthority, {kNow, end, nullptr, true}), "accepted");
    EXPECT_EQ(refused(kAuthority, {kNow, end}),
              "is not the certificate of an authority: its basic constraints do not say CA, or its "
              "key usage does not let it certify");
    for (const CertificateUse use : kCertificateUses) {
        EXPECT_EQ(refused(use, {kNow - 9 * kDay, kNow - kDay, &key, true}),
                  "it expired 1 day ago, at 2025-12-31T00:00:00Z");
        EXPECT_EQ(refused(use, {kNow + 60, end, &key, true}),
                  "it is not valid before 2026-01-01T00:01:00Z, and it is 2026-01-01T00:00:00Z "
                  "now");
        auto more = make_certificate({kNow, end, &key, true});
        more.push_back(0);
        for (const Bytes bad : {as_bytes("none"), Bytes(more)})
            EXPECT_EQ(why(check_certificate(use, bad, own, kNow)), "is no X.509 certificate");
        EXPECT_EQ(why(check_certificate(use, std::vector<std::uint8_t>(16385), own, kNow)),
                  "a certificate has 16384 bytes at most");
    }
}

TEST(X509, NamesWhoItIsFor) {
    const auto der = make_certificate({kNow, kNow + kDay, nullptr, false, "mickey"});
    EXPECT_TRUE(names(der, "mickey"));
    for (const char* other : {"minnie", "mickey.example.org", "micke", ""})
        EXPECT_FALSE(names(der, other)) << other;
    EXPECT_FALSE(names(make_certificate({kNow, kNow + kDay}), "mickey"));
    EXPECT_FALSE(names({}, "mickey"));
}

std::string with_checksum(const std::string& text) {
    return text + checksum_line(text);
}

std::string block(const std::string& field, std::string_view der) {
    return "created: 2026-01-01T00:00:00Z\n" + field + ": " + base64(as_bytes(der)) + "\n";
}

std::string encoded(const std::string& blocks) {
    return with_checksum("encsync certificates 1\npeer: minnie\n" + blocks);
}

HeldCertificate held(std::string_view der) {
    return {kNow, {der.begin(), der.end()}};
}

TEST(Certificates, AreWrittenAsTheyAreRead) {
    PeerCertificates all{"minnie"};
    all.of(kOwn) = {held("one"), held("two")};
    all.of(kAuthority) = {held("three"), held("four")};
    const std::string text = encoded(block("certificate", "one") + block("certificate", "two") +
                                     block("authority", "three") + block("authority", "four"));
    EXPECT_EQ(write_certificates(all), text);
    const auto read = read_certificates(text);
    ASSERT_TRUE(read) << why(read);
    EXPECT_EQ(*read, all);
    for (std::size_t at = 0; at < text.size(); at++) {
        EXPECT_FALSE(read_certificates(text.substr(0, at))) << at;
        std::string damaged = text;
        damaged[at] ^= 1;
        EXPECT_FALSE(read_certificates(damaged)) << at;
    }
    all.of(kOwn).clear();
    all.of(kAuthority).pop_back();
    EXPECT_EQ(write_certificates(all), encoded(block("authority", "three")));
    EXPECT_EQ(*read_certificates(write_certificates(all)), all);
    const std::string longest(kMaxCertificate, 'c'), other(kMaxCertificate, 'd');
    for (const CertificateUse use : kCertificateUses)
        all.of(use) = {held(longest), held(other)};
    EXPECT_EQ(*read_certificates(write_certificates(all)), all);
}

TEST(Certificates, AreInOneForm) {
    const auto refused = [](const std::string& text) { return why(read_certificates(text)); };
    const std::string own = block("certificate", "one"), authority = block("authority", "two");
    EXPECT_EQ(refused(encoded(own + authority)), "accepted");
    EXPECT_EQ(refused(encoded("")), "no certificate is in it");
    EXPECT_EQ(refused(encoded(authority + own)), "line 6: in the wrong order");
    EXPECT_EQ(refused(encoded(own + own)), "line 6: the same certificate twice");
    EXPECT_EQ(refused(encoded(own + block("certificate", "2") + block("certificate", "3"))),
              "line 8: more than 2 of this kind");
    EXPECT_EQ(refused(encoded(block("certificate", std::string(16385, 'c')))),
              "line 4: certificate is not 1 to 16384 bytes in base64");
    EXPECT_EQ(refused(encoded(block("key", "one"))), "line 3: expected 'checksum: '");
    EXPECT_EQ(refused(encoded(own + "created: now\nauthority: AAAA\n")).substr(0, 7), "line 5:");
    EXPECT_EQ(refused(with_checksum("encsync certificates 2\n")),
              "line 1: a version that this encsync does not know");
    EXPECT_EQ(refused(std::string(kMaxCertificatesText + 1, 'x')), "longer than 98304 bytes");
}

class CertificateStore : public testing::Test {
  protected:
    CertificateStore() {
        auto store = Store::create(root_ / "mickey");
        EXPECT_TRUE(store->init("mickey", kNow));
        store_.emplace(std::move(*store));
    }
    // For the identity that signs, or the next one.
    std::vector<std::uint8_t> own(std::size_t which = 0) const {
        const auto keys = store_->own_keys();
        return make_certificate({kNow, kNow + 40 * kDay, &keys->at(which).key});
    }
    static std::vector<std::uint8_t> authority() {
        return make_certificate({kNow, kNow + 40 * kDay, nullptr, true});
    }
    std::vector<std::vector<std::uint8_t>> held_now(CertificateUse use) const {
        std::vector<std::vector<std::uint8_t>> out;
        if (const auto all = store_->certificates("donald"); all && *all)
            for (const HeldCertificate& one : (*all)->of(use))
                out.push_back(one.der);
        return out;
    }
    std::vector<std::string> events() const {
        std::vector<std::string> out;
        const auto log = store_->log();
        for (const LogEntry& entry : log->entries)
            if (entry.event >= KeyEvent::cert)
                out.push_back(
                    fmt::format("{} {} {}", to_string(entry.event), entry.name, entry.fingerprint));
        return out;
    }
    Result<std::size_t> put(CertificateUse use, Bytes der, bool replace = false) {
        return store_->put_certificate("donald", use, der, replace, kNow);
    }

    using Ders = std::vector<std::vector<std::uint8_t>>;
    Scratch root_;
    std::optional<Store> store_;
};

TEST_F(CertificateStore, TheNextOneIsBesideItUntilTheOlderOneIsRetired) {
    const auto one = own(), two = own(), three = own(), ca = authority();
    EXPECT_EQ(why(store_->retire_certificate("donald", kOwn)),
              "there is no certificate for 'donald' in the key store; 'encsync keys cert import "
              "donald FILE' puts one there");
    EXPECT_EQ(*put(kOwn, one), 1u);
    EXPECT_EQ(why(store_->retire_certificate("donald", kOwn)),
              "there is only one certificate for donald");
    EXPECT_EQ(why(store_->retire_certificate("donald", kAuthority)),
              "there is no authority for 'donald' in the key store; 'encsync keys cert import "
              "--authority donald FILE' puts its certificate there");
    EXPECT_EQ(*put(kAuthority, ca), 1u);
    EXPECT_EQ(*put(kOwn, two), 2u);
    for (const auto& again : {one, two})
        EXPECT_EQ(*put(kOwn, again), 2u);
    EXPECT_EQ(held_now(kOwn), (Ders{one, two}));
    EXPECT_EQ(why(put(kOwn, three)),
              "there are two already, and nobody knows which of them donald needs: 'encsync keys "
              "cert retire donald' drops the older one, with --next the other");
    ASSERT_TRUE(store_->retire_certificate("donald", kOwn, true, nullptr, kNow));
    EXPECT_EQ(held_now(kOwn), (Ders{one}));
    EXPECT_EQ(*put(kOwn, three), 2u);
    const CertificateId other = certificate_id(two), next = certificate_id(three);
    EXPECT_EQ(why(store_->retire_certificate("donald", kOwn, false, &other)),
              "donald has accepted another certificate than the next one");
    ASSERT_TRUE(store_->retire_certificate("donald", kOwn, false, &next, kNow));
    EXPECT_EQ(held_now(kOwn), (Ders{three}));
    EXPECT_EQ(held_now(kAuthority), (Ders{ca}));
    EXPECT_EQ(mode(root_ / "mickey/x509.donald"), 0600u);
    const auto print = [](const auto& der) { return certificate_fingerprint(der); };
    EXPECT_EQ(events(), (std::vector<std::string>{
                            "cert donald " + print(one), "ca donald " + print(ca),
                            "cert donald " + print(two), "cert-gone donald " + print(two),
                            "cert donald " + print(three), "cert-gone donald " + print(one)}));
    EXPECT_TRUE(store_->differences(*store_->log())->empty());
}

TEST_F(CertificateStore, OneMayTakeThePlaceOfAllAtOnce) {
    const auto one = authority(), two = authority();
    ASSERT_TRUE(put(kAuthority, one));
    EXPECT_EQ(*put(kAuthority, two, true), 1u);
    EXPECT_EQ(held_now(kAuthority), (Ders{two}));
    EXPECT_EQ(*put(kAuthority, one), 2u);
    EXPECT_EQ(*put(kAuthority, one, true), 1u); // which is there
    EXPECT_EQ(held_now(kAuthority), (Ders{one}));
    const auto print = [](const auto& der) { return certificate_fingerprint(der); };
    EXPECT_EQ(events(),
              (std::vector<std::string>{"ca donald " + print(one), "ca-gone donald " + print(one),
                                        "ca donald " + print(two), "ca donald " + print(one),
                                        "ca-gone donald " + print(two)}));
}

TEST_F(CertificateStore, IsOfAKeyThatThisNodeHasOrWillHave) {
    EXPECT_EQ(why(put(kOwn, authority())).substr(0, 29), "is not for this node's key; c");
    ASSERT_TRUE(store_->rotate_identity(kNow));
    EXPECT_EQ(*put(kOwn, own(0)), 1u);
    EXPECT_EQ(*put(kOwn, own(1)), 2u);
    EXPECT_EQ(why(store_->put_certificate("../donald", kOwn, own(), false, kNow)),
              "the name has a character other than letters, digits and '._-'");
    for (std::size_t n = 0; n < kMaxCertified; n++)
        write_file(root_ / fmt::format("mickey/x509.peer{}", n), "");
    EXPECT_EQ(why(store_->put_certificate("chip", kOwn, own(), false, kNow)),
              "there are certificates for 129 peers already, which is the limit");
}

TEST_F(CertificateStore, GoesWithThePeer) {
    const auto one = own(), ca = authority();
    ASSERT_TRUE(put(kOwn, one));
    ASSERT_TRUE(put(kAuthority, ca));
    ASSERT_TRUE(store_->forget_certificates("donald", kOwn, kNow));
    EXPECT_EQ(held_now(kOwn), Ders{});
    EXPECT_FALSE(store_->forget_certificates("donald", kOwn));
    EXPECT_EQ(held_now(kAuthority), Ders{ca});
    ASSERT_TRUE(put(kOwn, one));
    EXPECT_EQ(*store_->forget("donald", kNow), 2u); // no key of which is trusted
    EXPECT_FALSE(fs::exists(root_ / "mickey/x509.donald"));
    ASSERT_TRUE(put(kOwn, one));
    ASSERT_TRUE(store_->forget_certificates("donald", kOwn, kNow));
    EXPECT_FALSE(fs::exists(root_ / "mickey/x509.donald"));
    EXPECT_EQ(events().back(), "cert-gone donald " + certificate_fingerprint(one));
    EXPECT_TRUE(store_->certificates()->empty());
}

TEST_F(CertificateStore, ThatWasPutThereByAnotherWayIsNamed) {
    ASSERT_TRUE(put(kAuthority, authority()));
    EXPECT_TRUE(store_->differences(*store_->log())->empty());
    PeerCertificates planted{"donald"};
    planted.of(kAuthority).push_back({kNow, authority()});
    write_file(root_ / "mickey/x509.donald", write_certificates(planted));
    const auto differences = *store_->differences(*store_->log());
    ASSERT_EQ(differences.size(), 2u); // and the one that is gone
    const std::string print = certificate_fingerprint(planted.of(kAuthority)[0].der);
    EXPECT_TRUE(std::ranges::any_of(differences, [&](const std::string& line) {
        return line.find(print) != line.npos;
    })) << differences[0];
}

TEST_F(CertificateStore, ThatCannotBeReadKeepsNoKeyTrusted) {
    const std::string file = root_ / "mickey/x509.minnie";
    const auto minnie = make_identity("minnie", kNow);
    ASSERT_TRUE(store_->trust(std::vector<PublicKey>{minnie}, kNow));
    write_file(file, "damaged");
    EXPECT_TRUE(store_->revoke("minnie", kNow));
    EXPECT_TRUE(store_->trusted()->empty());
    EXPECT_FALSE(fs::exists(file));
    EXPECT_EQ(events().back(), "ca-gone minnie unreadable");
    EXPECT_TRUE(store_->differences(*store_->log())->empty());
}

TEST_F(CertificateStore, OfOneUseIsNotOfTheOther) {
    const auto both = make_certificate({kNow, kNow + kDay, &store_->own_keys()->front().key, true});
    ASSERT_TRUE(put(kOwn, both));
    EXPECT_EQ(why(put(kAuthority, both)), "is there for the other use");
}

TEST_F(CertificateStore, OfAnotherPeerIsRefused) {
    ASSERT_TRUE(put(kOwn, own()));
    fs::rename(root_ / "mickey/x509.donald", root_ / "mickey/x509.chip");
    EXPECT_EQ(why(store_->certificates("chip")),
              root_ / "mickey/x509.chip: is of donald, and somebody has put it here");
    write_file(root_ / "mickey/x509.chip", "encsync certificates 1\npeer: chip\n");
    EXPECT_EQ(why(store_->certificates()).substr(0, (root_ / "mickey/x509.chip: line").size()),
              root_ / "mickey/x509.chip: line");
}

TEST_F(CertificateStore, IsInABackupAndNotSealed) {
    const Passphrase phrase(as_bytes("correct horse battery"));
    ASSERT_TRUE(put(kOwn, own()));
    ASSERT_TRUE(store_->put_psk("donald", as_bytes("sixteen and more"), false, kNow));
    const std::string text = read_file(root_ / "mickey/x509.donald");
    ASSERT_TRUE(store_->seal(phrase, kMinKdfCost, kNow));
    EXPECT_EQ(read_file(root_ / "mickey/x509.donald"), text);
    // Public, so without the passphrase.
    EXPECT_TRUE(Store::open(root_ / "mickey")
                    ->put_certificate("donald", kAuthority, authority(), false, kNow));
    const auto before = *store_->certificates("donald");
    const auto unlock = std::make_shared<Unlock>(
        [&] { return Result(std::optional(Passphrase(as_bytes("correct horse battery")))); });
    const auto backup = Store::open(root_ / "mickey", unlock)->backup(phrase, kMinKdfCost, kNow);
    ASSERT_TRUE(backup) << why(backup);
    const auto restored =
        Store::restore(root_ / "again", *backup, phrase, nullptr, kMinKdfCost, kNow);
    ASSERT_TRUE(restored) << why(restored);
    EXPECT_EQ(*restored->certificates("donald"), before);
    EXPECT_EQ(restored->psks()->size(), 1u);
}

} // namespace
} // namespace encsync::keys
