// SPDX-License-Identifier: ISC
// Key files as text: whatever is written is read back, and anything else is refused by name.
#include "keys/format.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

constexpr UnixTime kNow = 1767225600; // 2026-01-01T00:00:00Z

PublicKey public_part(const Identity& identity) {
    return identity;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
    const auto at = text.find(from);
    EXPECT_NE(at, text.npos) << from;
    return text.replace(at, from.size(), to);
}

template<class T>
std::string why(const Result<T>& result) {
    return result ? std::string("accepted") : result.error().text;
}

TEST(Time, RoundTripsAtItsLimits) {
    for (const auto& [time, text] : {std::pair<UnixTime, const char*>{0, "1970-01-01T00:00:00Z"},
                                     {951782400, "2000-02-29T00:00:00Z"},
                                     {kNow, "2026-01-01T00:00:00Z"},
                                     {253402300799, "9999-12-31T23:59:59Z"}}) {
        EXPECT_EQ(to_text(time), text);
        const auto parsed = parse_time(text);
        ASSERT_TRUE(parsed) << text;
        EXPECT_EQ(*parsed, time);
    }
}

TEST(Time, RefusesEveryOtherSpelling) {
    for (const char* text :
         {"", "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00z", "2026-01-01 00:00:00Z",
          "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
          "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z", "1969-12-31T23:59:59Z",
          "2026-01-01T00:00:00ZZ", "+026-01-01T00:00:00Z", "-026-01-01T00:00:00Z",
          "2026-01-01T 0:00:00Z"})
        EXPECT_FALSE(parse_time(text)) << text;
}

TEST(Name, TakesWhatAConfigurationTakes) {
    for (const std::string name : {"m", "mickey", "fw-1.example", "A_b.9", "-"})
        EXPECT_TRUE(check_name(name)) << name;
    EXPECT_TRUE(check_name(std::string(63, 'x')));
}

TEST(Name, RefusesTheRest) {
    EXPECT_EQ(why(check_name("")), "the name is empty");
    EXPECT_EQ(why(check_name(std::string(64, 'x'))), "the name is longer than 63 characters");
    for (const std::string name : {"a b", "a/b", "a\nb", "m\xc3\xbcller", "a:b"})
        EXPECT_EQ(why(check_name(name)),
                  "the name has a character other than letters, digits and '._-'")
            << name;
    EXPECT_FALSE(check_name(std::string_view("a\0b", 3)));
}

TEST(PublicFile, RoundTrips) {
    const Identity identity = make_identity("mickey", kNow);
    const auto read = read_public(write_public(identity));
    ASSERT_TRUE(read) << read.error().text;
    ASSERT_EQ(read->size(), 1u);
    EXPECT_EQ(read->front(), public_part(identity));
    EXPECT_EQ(read->front().name, "mickey");
    EXPECT_EQ(read->front().created, kNow);
}

TEST(PublicFile, CarriesTwoWhileRotating) {
    const Identity first = make_identity("mickey", kNow), second = make_identity("mickey", kNow);
    const auto read = read_public(write_public(first) + write_public(second));
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(*read, (std::vector{public_part(first), public_part(second)}));
}

TEST(PublicFile, RefusesMoreThanItShouldHold) {
    const auto mickey = write_public(make_identity("mickey", kNow));
    const auto minnie = write_public(make_identity("minnie", kNow));
    EXPECT_EQ(why(read_public(mickey + mickey)), "the same key twice");
    EXPECT_EQ(why(read_public(mickey + minnie)), "two names in one file: mickey and minnie");
    EXPECT_EQ(why(read_public(mickey + write_public(make_identity("mickey", kNow)) + mickey)),
              "line 11: trailing data");
    EXPECT_EQ(why(read_public(mickey + "x")), "line 6: truncated");
    EXPECT_EQ(why(read_public(mickey + "\n")), "line 6: expected 'encsync public key 1'");
    EXPECT_EQ(why(read_public(mickey + std::string(4096, '\n'))), "longer than 4096 bytes");
}

TEST(PublicFile, RefusesByName) {
    const auto text = write_public(make_identity("mickey", kNow));
    EXPECT_EQ(why(read_public(replaced(text, "key 1\n", "key 2\n"))),
              "line 1: a version that this encsync does not know");
    EXPECT_EQ(why(read_public("ssh-ed25519 AAAA\n")), "line 1: expected 'encsync public key 1'");
    EXPECT_EQ(why(read_public(replaced(text, "name: mickey", "name: mickeY"))),
              "line 5: the signature is wrong: the file is damaged or was changed");
    EXPECT_EQ(why(read_public(replaced(text, "name: mickey", "name: mic/ey"))),
              "line 2: the name has a character other than letters, digits and '._-'");
    EXPECT_EQ(why(read_public(replaced(text, "name: ", "name:  "))),
              "line 2: the name has a character other than letters, digits and '._-'");
    EXPECT_EQ(why(read_public(replaced(text, "2026-01-01", "2026-01-32"))),
              "line 3: not a time such as 2026-01-31T12:00:00Z");
    EXPECT_EQ(why(read_public(replaced(text, "created: ", "made: "))),
              "line 3: expected 'created: '");
    EXPECT_EQ(why(read_public(replaced(text, "=\nsig", "A\nsig"))),
              "line 4: key is not 32 bytes in base64");
    EXPECT_EQ(why(read_public(replaced(text, "\n", "\r\n"))),
              "line 1: lines end in CR LF, as Windows writes them; they must end in LF");
    EXPECT_EQ(why(read_public(replaced(text, "key 1", "key 2"))),
              "line 1: a version that this encsync does not know");
    EXPECT_EQ(why(read_public(replaced(text, "name: mickey", "name: .."))),
              "line 2: '..' cannot be a name");
}

// The all-zero key is of small order: any signature would do for some message.
TEST(PublicFile, RefusesAWeakKey) {
    const auto text = fmt::format("encsync public key 1\nname: mickey\n"
                                  "created: 2026-01-01T00:00:00Z\nkey: {}=\nsignature: {}==\n",
                                  std::string(43, 'A'), std::string(86, 'A'));
    EXPECT_EQ(why(read_public(text)), "line 4: not a valid Ed25519 public key");
}

TEST(PublicFile, RefusesAnotherKeysSignature) {
    const auto one = write_public(make_identity("mickey", kNow));
    const auto two = write_public(make_identity("mickey", kNow));
    const auto at = one.find("signature: ");
    EXPECT_TRUE(read_public(one));
    EXPECT_EQ(why(read_public(one.substr(0, at) + two.substr(at))),
              "line 5: the signature is wrong: the file is damaged or was changed");
}

TEST(PublicFile, RefusesEveryTruncationAndEveryChangedByte) {
    const auto text = write_public(make_identity("mickey", kNow));
    for (std::size_t size = 0; size < text.size(); size++)
        EXPECT_FALSE(read_public(std::string(text, 0, size))) << size;
    for (std::size_t i = 0; i < text.size(); i++) {
        auto changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        EXPECT_FALSE(read_public(changed)) << i;
    }
}

TEST(SecretFile, RoundTrips) {
    const Identity identity = make_identity("mickey", kNow);
    const SecretText text = write_secret(identity);
    const auto read = read_secret(text.view());
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_EQ(public_part(*read), public_part(identity));
    EXPECT_TRUE(std::ranges::equal(read->seed.bytes(), identity.seed.bytes()));
}

TEST(SecretFile, RefusesEveryTruncationAndEveryChangedByte) {
    const SecretText secret = write_secret(make_identity("mickey", kNow));
    const std::string text(secret.view());
    for (std::size_t size = 0; size < text.size(); size++)
        EXPECT_FALSE(read_secret(std::string(text, 0, size))) << size;
    for (std::size_t i = 0; i < text.size(); i++) {
        auto changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        EXPECT_FALSE(read_secret(changed)) << i;
    }
    EXPECT_EQ(why(read_secret(text + "\n")), "line 7: trailing data");
    EXPECT_EQ(why(read_secret(text + std::string(kMaxSecretText, 'x'))), "longer than 4096 bytes");
    EXPECT_EQ(why(read_secret(replaced(text, "mickey", "mikkey"))),
              "line 6: the checksum does not match: the file is damaged");
}

TEST(SecretFile, RefusesASeedThatIsNotTheKeys) {
    Identity identity = make_identity("mickey", kNow);
    identity.seed = SecretSeed::random();
    EXPECT_EQ(why(read_secret(write_secret(identity).view())),
              "the public key does not belong to the seed");
}

TEST(NodeSecret, RoundTripsAndRefusesEveryTruncationAndEveryChangedByte) {
    const SecretSeed secret = SecretSeed::random();
    const SecretText written = write_node_secret(secret);
    const std::string text(written.view());
    const auto read = read_node_secret(text);
    ASSERT_TRUE(read) << read.error().text;
    EXPECT_TRUE(std::ranges::equal(read->bytes(), secret.bytes()));
    for (std::size_t size = 0; size < text.size(); size++)
        EXPECT_FALSE(read_node_secret(std::string(text, 0, size))) << size;
    for (std::size_t i = 0; i < text.size(); i++) {
        auto changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        EXPECT_FALSE(read_node_secret(changed)) << i;
    }
    EXPECT_FALSE(read_node_secret(text + "x"));
    EXPECT_FALSE(read_secret(text)); // the kinds must not be confused
}

TrustedKey trusted_key(const char* name, UnixTime since = kNow) {
    TrustedKey key;
    static_cast<PublicKey&>(key) = make_identity(name, kNow);
    key.since = since;
    return key;
}

TEST(TrustedList, RoundTrips) {
    const std::vector keys{trusted_key("minnie"), trusted_key("minnie", kNow + 1),
                           trusted_key("goofy")};
    for (const auto& some : {std::vector<TrustedKey>{}, keys}) {
        const auto read = read_trusted(write_trusted(some));
        ASSERT_TRUE(read) << read.error().text;
        EXPECT_EQ(*read, some);
    }
}

TEST(TrustedList, RefusesEveryTruncationAndEveryChangedByte) {
    const auto text = write_trusted({trusted_key("minnie"), trusted_key("goofy")});
    for (std::size_t size = 0; size < text.size(); size++)
        EXPECT_FALSE(read_trusted(std::string(text, 0, size))) << size;
    for (std::size_t i = 0; i < text.size(); i++) {
        auto changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 1);
        EXPECT_FALSE(read_trusted(changed)) << i;
    }
}

// Its checksum has a '/' in base64, which has an equivalent among the bytes that are not ASCII.
TEST(TrustedList, RefusesBytesThatAreNotAscii) {
    const auto text = write_trusted({});
    ASSERT_TRUE(read_trusted(text));
    ASSERT_NE(text.find('/'), std::string::npos);
    for (std::size_t i = 0; i < text.size(); i++) {
        auto changed = text;
        changed[i] = static_cast<char>(changed[i] ^ 0x80);
        EXPECT_FALSE(read_trusted(changed)) << i;
    }
}

// The checksum is not secret, so a list may be intact and still be one that we never write.
TEST(TrustedList, RefusesWhatAStoreNeverHolds) {
    const TrustedKey one = trusted_key("minnie");
    EXPECT_EQ(why(read_trusted(write_trusted({one, one}))), "line 3: the same key twice");
    EXPECT_EQ(why(read_trusted(write_trusted({one, trusted_key("minnie"), trusted_key("minnie")}))),
              "line 4: more than 2 keys for minnie");
    TrustedKey weak = one;
    weak.key.fill(0);
    EXPECT_EQ(why(read_trusted(write_trusted({weak}))),
              "line 2: expected two times, a key and a name");
    TrustedKey odd = one;
    odd.name = "min nie";
    EXPECT_EQ(why(read_trusted(write_trusted({odd}))),
              "line 2: expected two times, a key and a name");
    std::vector<TrustedKey> many;
    for (std::size_t i = 0; i <= kMaxTrusted; i++)
        many.push_back(trusted_key(fmt::format("n{}", i).c_str()));
    EXPECT_EQ(why(read_trusted(write_trusted(many))), "line 130: more than 128 keys");
    many.pop_back();
    EXPECT_TRUE(read_trusted(write_trusted(many)));
}

TEST(TrustedList, TheLargestOneFits) {
    TrustedKey longest = trusted_key(std::string(kMaxName, 'x').c_str());
    const auto line = write_trusted({longest}).size() - write_trusted({}).size();
    EXPECT_LE(write_trusted({}).size() + kMaxTrusted * line, kMaxTrustedText);
}

// RFC 8032, 7.1, test 1: the seed and its public key; the fingerprint by
// openssl dgst -sha256.
TEST(Identity, DerivesThePublicKeyOfRfc8032) {
    const std::array<std::uint8_t, 32> seed{0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60,
                                            0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
                                            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19,
                                            0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60};
    const RawKey key{0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe,
                     0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6,
                     0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
    Identity identity;
    identity.name = "mickey";
    identity.key = key;
    std::ranges::copy(seed, identity.seed.bytes().begin());
    EXPECT_TRUE(read_secret(write_secret(identity).view())); // refuses if key and seed disagree
    EXPECT_TRUE(read_public(write_public(identity)));
    EXPECT_EQ(fingerprint(key), "SHA256:If4x36FUomFia/hUBG/SJxt77UtqvkWqWId+9H+XIbk");
    EXPECT_EQ(short_fingerprint(key), fingerprint(key).substr(7, 12));
}

// ---- successions ---------------------------------------------------------------------------

class Successions : public testing::Test {
  protected:
    const Identity a = make_identity("mickey", kNow), b = make_identity("mickey", kNow + 1),
                   c = make_identity("mickey", kNow + 2);
};

TEST_F(Successions, ReadBackAsTheyWereWritten) {
    const std::vector all{make_succession(a, b.key), make_succession(b, c.key)};
    const std::string text = write_successions(all);
    const auto read = read_successions(text);
    ASSERT_TRUE(read) << why(read);
    EXPECT_EQ(*read, all);
    const auto file = read_public_file(write_public(b) + write_public(c) + text);
    ASSERT_TRUE(file) << why(file);
    EXPECT_EQ(file->keys.size(), 2u);
    EXPECT_EQ(file->successions, all);
    // A file of a node that has had one identity only.
    EXPECT_TRUE(read_public_file(write_public(a))->successions.empty());
    EXPECT_TRUE(read_successions("")->empty());
}

TEST_F(Successions, EachChangedByteIsRefused) {
    const std::string text = write_successions({make_succession(a, b.key)});
    for (std::size_t at = 0; at < text.size(); at++) {
        std::string changed = text;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        EXPECT_FALSE(read_successions(changed)) << at;
        if (at > 0) {
            EXPECT_FALSE(read_successions(text.substr(0, at))) << at;
        }
    }
}

TEST_F(Successions, RefusalsSayWhatIsWrong) {
    // Signed by the new key, in place of the old one.
    Succession forged = make_succession(b, b.key);
    forged.from = a.key;
    EXPECT_EQ(why(read_successions(write_successions({forged}))),
              "line 5: the signature is wrong: the file is damaged or was changed");
    const auto other = make_identity("minnie", kNow);
    const auto ours = make_succession(a, b.key), theirs = make_succession(other, a.key);
    EXPECT_EQ(why(read_successions(write_successions({ours, theirs}))),
              "line 10: two names in one file: mickey and minnie");
    EXPECT_EQ(why(read_public_file(write_public(other) + write_successions({ours}))),
              "two names in one file: minnie and mickey");
    EXPECT_EQ(why(read_successions(
                  write_successions(std::vector<Succession>(kMaxSuccessions + 1, ours)))),
              "line 45: more than 8 successions");
    EXPECT_EQ(why(read_public_file(write_successions({ours}))),
              "line 1: expected 'encsync public key 1'");
}

TEST_F(Successions, LeadFromOlderKeysToNewerOnes) {
    const std::vector all{make_succession(b, c.key), make_succession(a, b.key),
                          make_succession(b, b.key)};
    EXPECT_TRUE(succeeds(all, a.key, c.key));
    EXPECT_TRUE(succeeds(all, b.key, c.key));
    EXPECT_TRUE(succeeds({}, a.key, a.key));
    EXPECT_FALSE(succeeds(all, c.key, a.key));
    EXPECT_FALSE(succeeds({all[1]}, a.key, c.key));
}

} // namespace
} // namespace encsync::keys
