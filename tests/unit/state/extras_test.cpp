// SPDX-License-Identifier: ISC
#include "state/extras.hpp"

#include "state/index.hpp"

#include <array>
#include <gtest/gtest.h>
#include <string>

namespace encsync::state {
namespace {

TEST(Name, IsShortAndOfHarmlessCharacters) {
    for (const std::string text : {"", "ftp", "Q.931", "nat-follow", "a_name-of.15-ch"}) {
        ASSERT_TRUE(Name::of(text)) << text;
        EXPECT_EQ(Name::of(text)->text(), text);
        std::array<std::uint8_t, Name::kSize> bytes{};
        std::copy(text.begin(), text.end(), bytes.begin());
        EXPECT_EQ(Name::read(bytes.data()), Name::of(text));
    }
    for (const std::string text : {"a-name-of-16-chr", "f tp", "../ftp", "ftp\n", "\xc3\xbc"})
        EXPECT_FALSE(Name::of(text)) << text;
    EXPECT_FALSE(Name::of(std::string_view("f\0p", 3)));
    std::array<std::uint8_t, Name::kSize> bytes{'f', 't', 'p', 0, 'x'};
    EXPECT_FALSE(Name::read(bytes.data())) << "something behind the NUL";
    bytes.fill('x');
    EXPECT_FALSE(Name::read(bytes.data())) << "no NUL";
}

TEST(Labels, HaveNumbers) {
    EXPECT_TRUE(numbers({}).empty());
    const Labels labels = with_label(with_label(with_label({}, 127), 0), 9);
    EXPECT_EQ(numbers(labels), (std::vector<unsigned>{0, 9, 127}));
    EXPECT_EQ(labels[1], 2);
}

Flow flow(std::uint16_t port) {
    Flow f;
    f.key.proto = 17;
    f.key.orig.sport = port;
    f.reply = inverse(f.key);
    f.id = {port, 1};
    return f;
}

TEST(Extras, AreKeptForTheFlowsThatHaveAny) {
    Index index({});
    for (std::uint16_t n = 0; n < 1000; n++)
        index.insert(flow(n), 0, 0);
    const std::size_t without = index.memory_bytes();
    Flow f = flow(1000);
    f.extras = {with_label({}, 3), *Name::of("ftp"), 7200};
    const Slot slot = index.insert(f, 0, 0).first;
    EXPECT_EQ(index.extras(slot), f.extras);
    EXPECT_EQ(index.flow(slot, 0).extras, f.extras);
    EXPECT_TRUE(index.flow(index.find(flow(1).key), 0).extras.empty());
    EXPECT_EQ(index.with_extras(), std::vector<Slot>{slot});
    EXPECT_GT(index.memory_bytes(), without);

    EXPECT_FALSE(index.set_extras(slot, f.extras));
    f.extras.lifetime = 0;
    EXPECT_TRUE(index.set_extras(slot, f.extras));
    EXPECT_EQ(index.extras(slot).lifetime, 0U);
    EXPECT_TRUE(index.set_extras(slot, {}));
    EXPECT_TRUE(index.with_extras().empty());
}

TEST(Extras, DieWithTheirFlow) {
    Index index({});
    Flow f = flow(1);
    f.extras.lifetime = 7200;
    const Slot slot = index.insert(f, 0, 0).first;
    index.erase(slot);
    ASSERT_EQ(index.insert(flow(2), 0, 0).first, slot);
    EXPECT_TRUE(index.extras(slot).empty());
    EXPECT_TRUE(index.with_extras().empty());
}

} // namespace
} // namespace encsync::state
