// SPDX-License-Identifier: ISC
// Input that is made to do harm, or is no text at all: refused with a reason, and never shown as
// it is.
#include "read.hpp"

#include "import/braces.hpp"

#include <fmt/core.h>

namespace encsync::importer {
namespace {

constexpr std::string_view kGood = "Sync {\n Mode FTFW { }\n UDP {\n IPv4_address 10.0.0.1\n"
                                   " IPv4_Destination_Address 10.0.0.2\n }\n}\n";

std::string repeated(std::string_view text, std::size_t times) {
    std::string out;
    for (std::size_t i = 0; i < times; i++)
        out += text;
    return out;
}

TEST(Hostile, Size) {
    std::string text(kGood);
    text.append(kMaxText - text.size(), '\n');
    EXPECT_EQ(read_text(text).error, "");
    text += '\n';
    EXPECT_EQ(read_text(text).error, "f: it has more than 1048576 bytes");
    EXPECT_EQ(read_text("<pfsense>" + std::string(kMaxXml, ' ')).error,
              "f: it has more than 16777216 bytes");
    EXPECT_EQ(read_text("").error, "f: it is empty");
    EXPECT_EQ(read_text("\xef\xbb\xbf \r\n").error, "f: it is empty");
}

TEST(Hostile, Depth) {
    EXPECT_EQ(read_text("Sync " + repeated("{ a ", kMaxDepth) + repeated("}", kMaxDepth)).error,
              "f:1: Sync has no UDP, TCP or Multicast section");
    EXPECT_EQ(read_text("Sync " + repeated("{ a ", 100000)).error,
              "f:1: braces are nested more than 16 deep");
    EXPECT_EQ(
        read_text("<pfsense>" + repeated("<a>", 100000) + repeated("</a>", 100000) + "</pfsense>")
            .error,
        "f: elements are nested more than 64 deep");
    EXPECT_EQ(
        read_text("<pfsense>" + repeated("<a>", 63) + repeated("</a>", 63) + "</pfsense>").error,
        "f: it has no high availability section (hasync)");
}

// A terminal does what control characters say, and a line end would make a setting of a value.
TEST(Hostile, NothingIsShownAsItIs) {
    const Imported got = read_text(
        "syncdev em0 syncpeer '10.0.0.2\n\tkeydir=/tmp'\n\"\x1b[2J\xff\"\n", Format::openbsd, {},
        "a\n\x1b"
        "b");
    for (const std::string* text : {&got.config, &got.notes})
        EXPECT_EQ(text->find_first_of("\x1b\xff"), std::string::npos) << *text;
    EXPECT_EQ(got.config.find("keydir"), std::string::npos) << got.config;
    EXPECT_NE(got.notes.find("unknown word '?[2J?'"), std::string::npos) << got.notes;
    expect_loads(got);
}

TEST(Hostile, NotesAreLimitedAndCounted) {
    const Imported got =
        read_text("syncdev em0\n" + repeated("wibble\n", 5000), Format::openbsd, {"10.0.0.1"});
    EXPECT_EQ(std::count(got.notes.begin(), got.notes.end(), '\n'), kMaxNotes + 1);
    EXPECT_NE(got.notes.find("f: more notes (4001): "), std::string::npos);
}

TEST(Hostile, RulesAreLimitedAndNoted) {
    std::string text(kGood);
    text += "General { Filter { Address Ignore {\n";
    for (unsigned i = 0; i < 100; i++)
        text += fmt::format("IPv6_address 2001:db8:{:x}:ffff:ffff:ffff:ffff:0/112\n", i);
    const Imported got = read_text(text + "} } }\n");
    EXPECT_TRUE(got.complete);
    expect_loads(got);
    EXPECT_NE(got.notes.find("nosync has at most 64 rules"), std::string::npos) << got.notes;
}

TEST(Hostile, EntitiesAreNotExpanded) {
    std::string text = "<!DOCTYPE x [<!ENTITY a0 \"aaaaaaaaaa\">";
    for (unsigned i = 1; i < 50; i++)
        text += fmt::format("<!ENTITY a{} \"&a{};&a{};\">", i, i - 1, i - 1);
    text += "]><pfsense><system><hostname>&a49;</hostname></system><hasync><pfsyncinterface>lan"
            "</pfsyncinterface><pfsyncpeerip>&a49;</pfsyncpeerip></hasync></pfsense>";
    const Imported got = read_text(text, Format::pfsense);
    EXPECT_LT(got.config.size() + got.notes.size(), 4000u);
    EXPECT_NE(got.notes.find("peer &a49;"), std::string::npos) << got.notes;
}

} // namespace
} // namespace encsync::importer
