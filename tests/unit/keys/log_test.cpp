// SPDX-License-Identifier: ISC
// The log of key events: its chain, and what it says is there.
#include "keys/log.hpp"

#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

constexpr UnixTime kNow = 1767225600; // 2026-01-01

struct Event {
    KeyEvent event;
    std::string name, print;
};

std::string text_of(const std::vector<Event>& events) {
    std::string text(log_title());
    std::string last = last_hash({});
    for (const Event& e : events) {
        LogEntry entry{kNow, e.event, e.name, e.print, {}};
        text += write_entry(last, entry);
        last = entry.hash;
    }
    return text;
}

const std::vector<Event> kEvents{{KeyEvent::init, "mickey", "SHA256:a"},
                                 {KeyEvent::trust, "minnie", "SHA256:b"},
                                 {KeyEvent::rotate, "mickey", "SHA256:c"},
                                 {KeyEvent::retire, "mickey", "SHA256:a"},
                                 {KeyEvent::forget, "minnie", "SHA256:b"}};

std::string why(const Result<KeyLog>& log) {
    return log ? "accepted" : log.error().text;
}

TEST(KeyLog, ReadsBackAsItWasWritten) {
    const std::string text = text_of(kEvents);
    const auto log = read_log(text);
    ASSERT_TRUE(log) << why(log);
    ASSERT_EQ(log->entries.size(), kEvents.size());
    EXPECT_EQ(log->size, text.size());
    for (std::size_t n = 0; n < kEvents.size(); n++) {
        EXPECT_EQ(log->entries[n].event, kEvents[n].event);
        EXPECT_EQ(log->entries[n].name, kEvents[n].name);
        EXPECT_EQ(log->entries[n].fingerprint, kEvents[n].print);
        EXPECT_EQ(log->entries[n].time, kNow);
    }
    EXPECT_TRUE(text.ends_with(last_hash(*log) + "\n"));
}

TEST(KeyLog, ItsHashesAreTheseForever) {
    // Computed with another implementation: python3 -c 'import hashlib, base64 ...'
    EXPECT_EQ(last_hash({}), "BXkfVjclVMBL2jyhVCOgwUKkKxBC7rKRoFXXPP8Ygqs=");
    EXPECT_TRUE(text_of({kEvents[0]}).ends_with(" +GY9ShESwC0Up/64C/DkbfqR7yIC5xFg4/hlLlId8Js=\n"));
}

TEST(KeyLog, EachChangedByteIsFound) {
    const std::string text = text_of(kEvents);
    for (std::size_t at = 0; at < text.size(); at++) {
        std::string changed = text;
        changed[at] = static_cast<char>(changed[at] ^ 1);
        const auto log = read_log(changed);
        // Without the end of the last line, that line does not count, as after a crash.
        if (at == text.size() - 1)
            EXPECT_EQ(log->entries.size(), kEvents.size() - 1);
        else
            EXPECT_FALSE(log) << at;
    }
}

TEST(KeyLog, ALineThatIsRemovedPutInOrMovedIsFound) {
    const std::string all = text_of(kEvents);
    std::vector<std::string> lines;
    for (std::size_t from = 0; from < all.size();) {
        const std::size_t end = all.find('\n', from) + 1;
        lines.push_back(all.substr(from, end - from));
        from = end;
    }
    const auto joined = [](const std::vector<std::string>& some) {
        std::string text;
        for (const std::string& line : some)
            text += line;
        return text;
    };
    ASSERT_TRUE(read_log(joined(lines)));
    for (std::size_t n = 0; n + 1 < lines.size(); n++) {
        auto without = lines, twice = lines, swapped = lines;
        without.erase(without.begin() + static_cast<long>(n));
        twice.insert(twice.begin() + static_cast<long>(n), lines[n]);
        std::swap(swapped[n], swapped[n + 1]);
        EXPECT_FALSE(read_log(joined(without))) << n;
        EXPECT_FALSE(read_log(joined(twice))) << n;
        EXPECT_FALSE(read_log(joined(swapped))) << n;
    }
    // Only a noted hash shows that the last ones are missing.
    auto cut = lines;
    cut.pop_back();
    ASSERT_TRUE(read_log(joined(cut)));
    EXPECT_NE(last_hash(*read_log(joined(cut))), last_hash(*read_log(all)));
}

TEST(KeyLog, ACrashLeavesTheLinesBefore) {
    const std::string text = text_of(kEvents);
    std::size_t whole = 0;
    for (std::size_t size = 0; size <= text.size(); size++) {
        const auto log = read_log(std::string_view(text).substr(0, size));
        ASSERT_TRUE(log) << size << ": " << why(log);
        EXPECT_LE(log->size, size);
        EXPECT_GE(log->entries.size(), whole);
        whole = log->entries.size();
    }
    EXPECT_EQ(whole, kEvents.size());
}

TEST(KeyLog, RefusalsNameTheLine) {
    const std::string text = text_of({kEvents[0]});
    EXPECT_EQ(why(read_log("something else\n")), "line 1: expected 'encsync key log 1'");
    EXPECT_EQ(why(read_log(text + "a b c d\n")),
              "line 3: expected a time, an event, a name, a fingerprint and a hash");
    EXPECT_EQ(why(read_log(text + "a b c d e f\n")),
              "line 3: expected a time, an event, a name, a fingerprint and a hash");
    EXPECT_EQ(why(read_log(text + "2026-01-01T00:00:00Z stolen minnie SHA256:b h\n")),
              "line 3: no event is called 'stolen'");
    EXPECT_EQ(why(read_log(text + "2026-01-01T00:00:00Z trust minnie SHA256:b h\n")),
              "line 3: the hash does not match: this line was changed, or lines before it were "
              "changed, removed or put in");
}

TEST(KeyLog, SaysWhichKeysAreThere) {
    const auto there = [](std::vector<Event> events) {
        return keys_of(*read_log(text_of(events)));
    };
    auto events = kEvents;
    EXPECT_EQ(there(events), (LoggedKeys{{"mickey", "SHA256:c"}}));
    events.push_back({KeyEvent::failed, "minnie", "SHA256:b"}); // so it is still trusted
    EXPECT_EQ(there(events), (LoggedKeys{{"mickey", "SHA256:c"}, {"minnie", "SHA256:b"}}));
    events.push_back({KeyEvent::trust, "donald", "SHA256:d"});
    events.push_back({KeyEvent::failed, "donald", "SHA256:d"});
    EXPECT_EQ(there(events), (LoggedKeys{{"mickey", "SHA256:c"}, {"minnie", "SHA256:b"}}));
    EXPECT_EQ(there({}), LoggedKeys{});
    EXPECT_EQ(there({{KeyEvent::found, "minnie", "SHA256:b"}}),
              (LoggedKeys{{"minnie", "SHA256:b"}}));
}

} // namespace
} // namespace encsync::keys
