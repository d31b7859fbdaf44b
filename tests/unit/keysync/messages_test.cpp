// SPDX-License-Identifier: ISC
#include "keysync/messages.hpp"

#include "pfsync/extension.hpp"

#include <gtest/gtest.h>

namespace encsync::keysync {
namespace {

namespace ext = pfsync::extension;

class KeyMessages : public testing::Test {
  protected:
    Bytes finish() { return Bytes(room_).first(packet_.finish()); }
    std::string refusal() {
        const auto messages = read(finish());
        return messages ? "read" : messages.error().text;
    }

    std::array<std::uint8_t, 2000> room_{};
    pfsync::Builder packet_{room_};
};

TEST_F(KeyMessages, AreReadAsTheyAreWritten) {
    const KeyState state{{1, 2}, {0xffffffffffffffff}, {3, 4, 5}};
    ASSERT_TRUE(write(packet_, state));
    for (const std::string text : {"", "a", "ab", "abc\n"})
        ASSERT_TRUE(write(packet_, text));
    const Bytes packet = finish();
    EXPECT_TRUE(is_about_keys(packet));
    const auto messages = read(packet);
    ASSERT_TRUE(messages) << messages.error().text;
    EXPECT_EQ(messages->state, state);
    EXPECT_EQ(messages->texts, (std::vector<std::string>{"", "a", "ab", "abc\n"}));
}

TEST_F(KeyMessages, AreTruncatedNowhere) {
    ASSERT_TRUE(write(packet_, KeyState{{1}, {}, {}}));
    ASSERT_TRUE(write(packet_, "some text"));
    const Bytes packet = finish();
    for (std::size_t size = 0; size < packet.size(); size++)
        EXPECT_FALSE(read(packet.first(size))) << size;
}

TEST_F(KeyMessages, TooManyKeysAreRefused) {
    packet_.add(ext::kKeys, ext::keys::size)[ext::keys::own] = 3;
    EXPECT_EQ(refusal(), "KEYS has 3 keys of one kind");
}

TEST_F(KeyMessages, ASenderWithoutAKeyIsRefused) {
    packet_.add(ext::kKeys, ext::keys::size);
    EXPECT_EQ(refusal(), "KEYS names no key of its sender");
}

TEST_F(KeyMessages, ATextBeyondItsMessageIsRefused) {
    std::uint8_t* m = packet_.add(ext::kKeyText, 8);
    m[1] = 7; // 6 fit
    EXPECT_EQ(refusal(), "KEY_TEXT of 8 bytes has a text of 7");
}

TEST_F(KeyMessages, AShortMessageIsRefused) {
    packet_.add(ext::kKeys, ext::keys::size - 4)[ext::keys::own] = 1;
    EXPECT_EQ(refusal(), "KEYS of 48 bytes");
}

TEST_F(KeyMessages, OtherMessagesAreNotForUs) {
    packet_.add(pfsync::Kind::remove_c);
    EXPECT_FALSE(is_about_keys(finish()));
    EXPECT_FALSE(is_about_keys({}));
}

TEST_F(KeyMessages, OtherMessagesBesideThemAreRefused) {
    ASSERT_TRUE(write(packet_, KeyState{{1}, {}, {}}));
    packet_.add(pfsync::Kind::clear);
    EXPECT_EQ(refusal(), "action 0 beside messages about keys");
}

} // namespace
} // namespace encsync::keysync
