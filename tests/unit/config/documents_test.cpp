// SPDX-License-Identifier: ISC
// The table of options, the pages made from it, and the example are consistent.
#include "files.hpp"

#include "config/document.hpp"
#include "config/options.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <set>

namespace encsync::config {
namespace {

std::string file(const std::string& name) {
    std::ifstream in(std::string(ENCSYNC_SOURCE_DIR "/") + name, std::ios::binary);
    EXPECT_TRUE(in) << name;
    return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Documents, AreWhatTheTableSays) {
    EXPECT_EQ(file("docs/configuration.md"), markdown_page())
        << "run: config_docs markdown > docs/configuration.md";
    EXPECT_EQ(file("docs/man/encsync.conf.5"), man_page())
        << "run: config_docs man > docs/man/encsync.conf.5";
}

TEST(Documents, TheExampleIsGood) {
    const Loaded loaded = load(ENCSYNC_SOURCE_DIR "/conf/encsync.conf");
    ASSERT_TRUE(loaded.config);
    EXPECT_EQ(render(loaded.diagnostics), "");
    ASSERT_EQ(loaded.config->conns.size(), 1u);
    EXPECT_EQ(loaded.config->conns[0].rightid, "minnie");
}

TEST(Options, DefaultsAndExamplesAreGoodValues) {
    for (const Option& option : options()) {
        config::Setup setup; // not Test::Setup
        Conn conn;
        const Target target{&setup, &conn};
        EXPECT_FALSE(option.store(option, option.example, target)) << option.name;
        const bool follows = option.default_value.empty();
        EXPECT_NE(follows, option.default_text.empty()) << option.name;
        EXPECT_FALSE(!follows && option.store(option, option.default_value, target)) << option.name;
        // No option accepts everything.
        EXPECT_TRUE(option.store(option, "\"no such, value!\"", target)) << option.name;
        EXPECT_FALSE(option.doc.empty()) << option.name;
        EXPECT_FALSE(describe_type(option).empty()) << option.name;
    }
}

TEST(Options, NamesAreUniqueAndNotForeign) {
    std::set<std::pair<SectionKind, std::string_view>> names;
    for (const Option& option : options()) {
        EXPECT_TRUE(names.emplace(option.section, option.name).second) << option.name;
        EXPECT_TRUE(option.alias.empty() || names.emplace(option.section, option.alias).second)
            << option.alias;
        EXPECT_EQ(find_option(option.section, option.name), &option);
    }
    for (const auto& [section, name] : names)
        EXPECT_EQ(foreign_keyword(name), "") << name;
    EXPECT_NE(foreign_keyword("rightcert"), "");
}

TEST(Options, LimitsAreInclusive) {
    for (const Option& option : options()) {
        if (option.limits.max == 0)
            continue;
        config::Setup setup; // not Test::Setup
        Conn conn;
        const Target target{&setup, &conn};
        const auto store = [&](std::uint64_t value) {
            return option.store(option, std::to_string(value), target);
        };
        EXPECT_FALSE(store(option.limits.min)) << option.name;
        EXPECT_FALSE(store(option.limits.max)) << option.name;
        EXPECT_TRUE(store(std::uint64_t{option.limits.max} + 1)) << option.name;
        EXPECT_TRUE(option.limits.min == 0 || store(option.limits.min - 1)) << option.name;
    }
}

} // namespace
} // namespace encsync::config
