// SPDX-License-Identifier: ISC
// What `encsync top` shows, from answers of encsyncd.
#include "cli/top_screen.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>

namespace encsync::cli {
namespace {

namespace json = boost::json;
using namespace std::chrono_literals;

// An answer of `status` with one peer, as far as it is looked at.
json::value status() {
    return json::parse(R"({"node":"mickey","role":"active","role_warning":"","ready":true,"why":"",
        "version":"1.2.3","uptime":60,"states":1000,"own":900,"copies":100,"missing":0,
        "policy":{"installed":true,"refused":{}},"machine":[],"table":{"events":5000},
        "peers":[{"name":"minnie","state":"up","role":"standby","in_step":true,"last_error":"",
                  "lag":0.012,"tx_messages":100,"rx_messages":50,"tx_bytes":10240,"rx_bytes":1024,
                  "refused":0,"refusals":{},
                  "bulk":{"sending":false,"arriving":false,"sent":1,"received":1}}]})");
}

// The same, with other fields: at("/peers/0/state", "down").
class Answer {
  public:
    explicit Answer(std::uint64_t seconds = 0) : value_(status()) { at("/uptime", 60 + seconds); }
    Answer& at(std::string_view pointer, json::value to) {
        value_.at_pointer(pointer) = std::move(to);
        return *this;
    }
    Answer& peer(std::string_view field, json::value to) {
        return at(fmt::format("/peers/0/{}", field), std::move(to));
    }
    operator json::value() const { return value_; }

  private:
    json::value value_;
};

class Top : public testing::Test {
  protected:
    void after(std::chrono::milliseconds span, const json::value& answer) {
        now_ += span;
        history_.answer(answer, now_, fmt::format("at {}", ++answers_));
    }
    std::vector<std::string> happened() const {
        std::vector<std::string> out;
        for (const auto& h : history_.happened())
            out.push_back(h.times != 0 ? fmt::format("{} x{}", h.text, h.times) : h.text);
        return out;
    }
    std::string picture(const TopView& view = {}) const {
        std::string out;
        for (const Line& line : render_top(history_, view))
            out += line.text + "\n";
        return out;
    }
    static std::size_t width(const std::string& text) {
        return static_cast<std::size_t>(std::ranges::count_if(
            text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
    }

    TopHistory history_;
    TopHistory::Clock::time_point now_{1000s};
    int answers_ = 0;
};

using Texts = std::vector<std::string>;

TEST_F(Top, RatesAreBetweenTwoAnswers) {
    after(0s, Answer());
    EXPECT_TRUE(history_.events_per_second().empty());
    EXPECT_EQ(history_.rate("minnie").messages_out, 0);
    after(2s, Answer(2).at("/table/events", 5300).peer("tx_messages", 200).peer("rx_bytes", 5120));
    EXPECT_EQ(history_.events_per_second(), std::deque<double>{150});
    EXPECT_EQ(history_.rate("minnie").messages_out, 50);
    EXPECT_EQ(history_.rate("minnie").bytes_in, 2048);
    EXPECT_EQ(history_.rate("minnie").messages_in, 0);
    EXPECT_EQ(history_.rate("daisy").messages_out, 0);
    EXPECT_EQ(happened(), Texts{});
}

TEST_F(Top, ARestartIsNoRate) {
    after(0s, Answer(100));
    after(1s, Answer(101).at("/table/events", 6000));
    after(1s, Answer(0).at("/table/events", 10).peer("tx_messages", 1));
    EXPECT_EQ(history_.events_per_second(), std::deque<double>{1000});
    EXPECT_EQ(history_.rate("minnie").messages_out, 0);
    EXPECT_EQ(happened(), Texts{"encsyncd was started again"});
    after(1s, Answer(1).at("/table/events", 30));
    EXPECT_EQ(history_.events_per_second(), (std::deque<double>{1000, 20}));
}

TEST_F(Top, SaysWhatHasChanged) {
    struct Case {
        Answer to;
        Texts happened;
    };
    const std::vector<Case> cases{
        {Answer(1).at("/role", "standby"), {"role standby, was active"}},
        {Answer(1).at("/ready", false).at("/why", "no peer"), {"not ready: no peer"}},
        {Answer(1).at("/role_warning", "two are active"), {"two are active"}},
        {Answer(1).at("/missing", 1200), {"1,200 copies are not in the kernel"}},
        {Answer(1).at("/policy/installed", false), {"the policy is NOT in place"}},
        {Answer(1).at("/policy/refused", {{"bad_ttl", 3}}), {"refused bad_ttl x3"}},
        {Answer(1).at("/machine", json::array{{{"text", "no module"}}}), {"no module"}},
        {Answer(1).peer("state", "down").peer("last_error", "no answer"),
         {"minnie: down: no answer"}},
        {Answer(1).peer("in_step", false), {"minnie: not in step"}},
        {Answer(1).peer("role", "active"), {"minnie: role active"}},
        {Answer(1).peer("refusals", {{"bad_length", 7}}), {"minnie: refused bad_length x7"}},
        {Answer(1).peer("bulk", {{"sent", 2}, {"received", 2}}),
         {"minnie: all states received", "minnie: all states sent"}},
        {Answer(1).at("/peers", json::array()), {"minnie: no longer configured"}},
        {Answer(1).peer("name", "daisy"), {"minnie: no longer configured", "daisy: configured"}},
        {Answer(1).peer("name", "min\x1b[2Jnie"),
         {"minnie: no longer configured", "min?[2Jnie: configured"}},
    };
    for (const Case& c : cases) {
        SCOPED_TRACE(c.happened.front());
        history_ = {};
        after(0s, Answer());
        after(1s, c.to);
        EXPECT_EQ(happened(), c.happened);
        after(1s, c.to); // nothing is said twice
        EXPECT_EQ(happened(), c.happened);
    }
}

TEST_F(Top, AFloodOfRefusalsIsOneLine) {
    after(0s, Answer().peer("refusals", {{"bad_length", 0}}));
    after(1s, Answer(1).peer("refusals", {{"bad_length", 5}}).peer("in_step", false));
    for (std::uint64_t n = 2; n < 300; n++)
        after(1s, Answer(n).peer("refusals", {{"bad_length", 5 * n}}).peer("in_step", false));
    EXPECT_EQ(happened(), (Texts{"minnie: refused bad_length x1495", "minnie: not in step"}));
    EXPECT_EQ(history_.happened().front().time, "at 300");
}

TEST_F(Top, WithoutAnAnswerThePictureStaysAndSaysWhy) {
    after(0s, Answer());
    history_.no_answer("encsyncd is not running", "at 2");
    history_.no_answer("encsyncd is not running", "at 3");
    EXPECT_EQ(happened(), Texts{"encsyncd is not running"});
    EXPECT_NE(picture().find("\nencsyncd is not running\n"), std::string::npos);
    EXPECT_NE(picture().find("minnie"), std::string::npos);
    after(1s, Answer(1));
    EXPECT_EQ(happened(), (Texts{"encsyncd answers again", "encsyncd is not running"}));
    EXPECT_EQ(history_.trouble(), "");
}

TEST_F(Top, ABulkUpdateSaysHowLongItTakes) {
    const auto arriving = [](std::uint64_t received, std::optional<std::uint64_t> of) {
        json::object states{{"received", received}};
        if (of)
            states["of"] = *of;
        return json::object{{"sending", false}, {"arriving", true}, {"arriving_states", states}};
    };
    after(0s, Answer().peer("bulk", arriving(0, 10'000)));
    ASSERT_TRUE(history_.arriving("minnie"));
    EXPECT_FALSE(history_.arriving("minnie")->seconds_left); // nothing to go by yet
    after(2s, Answer(2).peer("bulk", arriving(4000, 10'000)));
    EXPECT_EQ(history_.arriving("minnie")->seconds_left, 3U);
    EXPECT_EQ(bulk_words(*history_.arriving("minnie")), "4,000 of 10,000 states, 3s left");
    EXPECT_NE(picture().find("from it ########------------  40 % 4,000 of"), std::string::npos)
        << picture();
    EXPECT_FALSE(history_.sending("minnie"));
    // It begins anew; then there are more than were announced; a pf firewall announces none.
    after(1s, Answer(3).peer("bulk", arriving(10, 10'000)));
    EXPECT_FALSE(history_.arriving("minnie")->seconds_left);
    after(1s, Answer(4).peer("bulk", arriving(20'000, 10'000)));
    EXPECT_FALSE(history_.arriving("minnie")->seconds_left);
    EXPECT_EQ(progress_bar(20'000, 10'000, 4), "#### 100 %");
    after(1s, Answer(5).peer("bulk", arriving(30'000, std::nullopt)));
    EXPECT_EQ(bulk_words(*history_.arriving("minnie")), "30,000 states");
    EXPECT_EQ(progress_bar(30'000, 0, 4), "----    ?");
    after(1s, Answer(6));
    EXPECT_FALSE(history_.arriving("minnie"));
}

TEST_F(Top, PictureOf80By24) {
    after(0s, Answer());
    after(1s, Answer(1).at("/table/events", 6234).peer("tx_messages", 1334).at("/role", "standby"));
    TopView view{.time = "12:00:01", .by = "source", .interval = "1 s"};
    view.talkers = {{"10.0.0.1", 500}, {"2001:db8::1", 250}};
    EXPECT_EQ(picture(view),
              "encsync top: mickey, standby                        12:00:01  every 1 s  h: help\n"
              "ready to be promoted; encsyncd 1.2.3, up 1m1s\n"
              "states 1,000: own 900, copies 100, not in the kernel 0\n"
              "events/s    1,234                                                              █\n"
              "\n"
              "PEER         STATE      ROLE    IN STEP     LAG    OUT/S    IN/S  KiB OUT     IN\n"
              "minnie       up         standby yes       12 ms    1,234       0        0      0\n"
              "\n"
              "      STATES  SHARE  BY SOURCE\n"
              "         500   50 %  10.0.0.1\n"
              "         250   25 %  2001:db8::1\n"
              "\n"
              "WHAT HAPPENED\n"
              "at 2  role standby, was active\n");
}

// Whatever the terminal's size and the daemon's answer are, it fits, and nothing moves the cursor.
TEST_F(Top, FitsIntoAnyTerminal) {
    json::array peers;
    for (int n = 0; n < 30; n++) {
        json::value peer = status().at_pointer("/peers/0");
        peer.as_object()["name"] = fmt::format("a-rather-long-name-of-a-peer-{}", n);
        peer.as_object()["state"] = "connecting";
        peer.as_object()["last_error"] = std::string(300, 'x');
        peers.push_back(peer);
    }
    TopView view;
    for (int n = 0; n < 100; n++)
        view.talkers.emplace_back(fmt::format("10.0.{}.\x1b[2J", n), 100 - n);
    after(0s, Answer().at("/peers", peers));
    for (std::uint64_t n = 1; n < 700; n++)
        after(1s, Answer(n)
                      .at("/peers", peers)
                      .at("/table/events", n * n)
                      .at("/why", "with a\nline end and \xff")
                      .at("/ready", n % 2 == 0));
    EXPECT_EQ(history_.events_per_second().size(), TopHistory::kRates);
    EXPECT_EQ(history_.happened().size(), TopHistory::kHappened);
    for (view.help = false;; view.help = true) {
        for (view.rows = 0; view.rows < 60; view.rows++)
            for (view.columns = 0; view.columns < 200; view.columns += 7) {
                view.blocks = view.columns % 2 == 0;
                const auto lines = render_top(history_, view);
                EXPECT_LE(lines.size(), view.rows);
                for (const Line& line : lines) {
                    EXPECT_LE(width(line.text), view.columns) << line.text;
                    for (const char c : line.text)
                        EXPECT_TRUE(c < 0 || c >= ' ') << line.text;
                }
            }
        if (view.help)
            break;
    }
    // With so many peers there is still room for what happened.
    EXPECT_NE(picture().find("... and "), std::string::npos) << picture();
    EXPECT_NE(picture().find("BY "), std::string::npos) << picture();
}

// From a daemon of another version any field may be missing or of another type.
TEST_F(Top, TakesAnyAnswer) {
    const json::value whole = Answer(1).peer(
        "bulk", {{"arriving", true}, {"arriving_states", {{"received", 1}, {"of", 2}}}});
    std::vector<std::string> pointers{""};
    const std::function<void(const json::value&, const std::string&)> walk =
        [&](const json::value& value, const std::string& at) {
            if (const auto* object = value.if_object())
                for (const auto& [name, inner] : *object) {
                    pointers.push_back(fmt::format("{}/{}", at, std::string_view(name)));
                    walk(inner, pointers.back());
                }
            if (const auto* array = value.if_array())
                for (std::size_t n = 0; n < array->size(); n++) {
                    pointers.push_back(fmt::format("{}/{}", at, n));
                    walk((*array)[n], pointers.back());
                }
        };
    walk(whole, "");
    const std::vector<json::value> others{
        nullptr, true, -1, 1e300, "text", json::array{1, "x"}, json::object{{"name", 1}}};
    for (const std::string& pointer : pointers)
        for (const json::value& other : others) {
            history_ = {};
            json::value changed = whole;
            if (pointer.empty())
                changed = other;
            else
                changed.at_pointer(pointer) = other;
            after(0s, changed);
            after(1s, whole);
            after(1s, changed);
            EXPECT_LE(render_top(history_, {}).size(), 24U);
        }
    EXPECT_GT(pointers.size(), 30U);
}

} // namespace
} // namespace encsync::cli
