// SPDX-License-Identifier: ISC
// What `encsync top` remembers: the last answer of encsyncd, the rates between two answers, and
// what has changed from one to the next.
//
//     history.answer(*client.call({{"command", "status"}}), Clock::now(), "12:00:01");
//     history.events_per_second().back(), history.rate("minnie").bytes_out
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

namespace encsync::cli {

class TopHistory {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::size_t kRates = 600, kHappened = 100; // kept

    struct Rate { // a second, between the last two answers
        double messages_out = 0, messages_in = 0, bytes_out = 0, bytes_in = 0, refused = 0;
    };
    // A bulk update. Plain pfsync does not say of how many states.
    struct Bulk {
        std::uint64_t states = 0;
        std::optional<std::uint64_t> of{};
        std::optional<std::uint64_t> seconds_left{};
    };
    struct Happened {
        std::string time, text;
        bool bad = false;
        std::uint64_t times = 0; // of what is counted: refusals
    };

    // time: as it is shown.
    void answer(boost::json::value status, Clock::time_point now, const std::string& time);
    void no_answer(const std::string& why, const std::string& time);

    // The last answer; null: none yet. It stays if there is none any more.
    const boost::json::value& status() const { return status_; }
    const std::string& trouble() const { return trouble_; } // why the last question had no answer
    const std::deque<double>& events_per_second() const { return events_; } // the newest last
    Rate rate(const std::string& peer) const;
    std::optional<Bulk> sending(const std::string& peer) const;
    std::optional<Bulk> arriving(const std::string& peer) const;
    const std::deque<Happened>& happened() const { return happened_; } // the newest first

  private:
    struct Began {
        std::uint64_t states = 0;
        Clock::time_point when;
    };
    struct PeerHistory {
        Rate rate;
        std::optional<Bulk> sending, arriving;
        std::optional<Began> began_sending, began_arriving;
    };

    void compare(const boost::json::value& now, double seconds);
    void compare_peer(const std::string& name, const boost::json::value* before,
                      const boost::json::value& now, double seconds);
    void compare_refusals(const std::string& what, const boost::json::value* before,
                          const boost::json::value* now);
    void add(std::string text, bool bad = false);
    void add_times(const std::string& text, std::uint64_t times);

    boost::json::value status_;
    std::string trouble_, time_;
    Clock::time_point last_{};
    std::deque<double> events_;
    std::map<std::string, PeerHistory> peers_;
    std::deque<Happened> happened_;
};

} // namespace encsync::cli
