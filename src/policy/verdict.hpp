// SPDX-License-Identifier: ISC
// The one place that says what a peer may send. Every packet, message and state of it is asked of
// its Verdict, which accepts it or counts the reason why not:
//
//     Verdict verdict(rules, our_creatorid);
//     const Checked checked = verdict.packet(inner, selectors, dialect, now);
//     if (verdict.section(section) && verdict.read(section.layout, message, full)) ...
//     if (const auto why = verdict.state(flow, table.refuses(flow))) ...
//
// What depends on the session or on the states that are known is decided by the engine, which
// counts it here (refuse()). The same class judges a capture (trial.hpp).
//
// One for each peer, made once; no call allocates.
#pragma once

#include "policy/guard.hpp"
#include "policy/reason.hpp"
#include "state/nosync.hpp"
#include "util/counters.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace encsync::policy {

using Time = std::chrono::steady_clock::time_point;

// What the configuration says of a peer.
struct Rules {
    state::NoSync refuse{};                // states that are not accepted from it
    state::NoSync accept{};                // if not empty: all but these are not, either
    std::vector<std::uint32_t> creators{}; // whose states it speaks of; empty: everybody's
    // In a second; 0: any number.
    std::uint32_t max_packets = 0, max_inserts = 0;
    std::uint32_t max_requests = 10'000, max_clears = 10;
    std::size_t max_states = 0;   // of its own that it may bring; 0: any number
    std::uint8_t max_share = 100; // percent of what the table may hold of all peers
};
// In words, one sentence each: "at most 10 CLR a second (maxclears)".
std::vector<std::string> in_words(const Rules& rules);

struct VerdictCounters {
    std::array<std::uint64_t, kReasons> refused{};
    std::uint64_t accepted = 0; // packets
};

// So many in a second, all at once or one by one; 0: any number.
class Allowance {
  public:
    explicit Allowance(std::uint32_t a_second) : a_second_(a_second), left_(a_second) {}
    bool take(Time now) {
        if (a_second_ == 0)
            return true;
        if (now - since_ >= std::chrono::seconds(1)) {
            since_ = now;
            left_ = a_second_;
        }
        if (left_ == 0)
            return false;
        left_--;
        return true;
    }

  private:
    std::uint32_t a_second_, left_;
    Time since_;
};

class Verdict {
  public:
    // own_creatorid: of this node.
    Verdict(Rules rules, std::uint32_t own_creatorid);
    const Rules& rules() const { return rules_; }

    // ---- a packet --------------------------------------------------------------------------
    // From its IP header on, as the tunnel or a cable delivered it.
    Checked packet(Bytes inner, const Selectors& selectors, pfsync::Expected dialect, Time now);
    // Likewise without one, in a capture.
    Checked payload(Bytes payload, pfsync::Expected dialect, Time now);

    // ---- its messages; false: refused --------------------------------------------------------
    // All messages of a section: is there such a message, and is it long enough?
    bool section(const pfsync::Section& section);
    // Reads a message, as pfsync::read() does.
    bool read(pfsync::Dialect layout, Bytes message, pfsync::FullState& out);
    bool read(pfsync::Dialect layout, Bytes message, pfsync::CompressedUpdate& out);
    bool read(Bytes message, pfsync::Clear& out, Time now);
    bool read_removal(Bytes message, state::StateId& out);
    bool read_request(Bytes message, state::StateId& out, Time now);
    bool sound(pfsync::Fault fault);
    bool speaks_for(std::uint32_t creatorid);

    // ---- its states ------------------------------------------------------------------------
    // Why it may not be put into the table; in_the_table: what the table itself says of such a flow
    // of a peer. Not counted: a flow is asked about again whenever something of it has changed.
    std::optional<table::Ignored> state(const state::Flow& flow,
                                        std::optional<table::Ignored> in_the_table) const;
    // One more, when it has `held` already.
    bool insert(std::size_t held, Time now);
    bool has_place(std::size_t held) const { return place(held) == Reason::accept; }
    // How many states are maxshare of the table at present.
    void set_share(std::size_t states) { share_ = states; }

    // ---- what was refused --------------------------------------------------------------------
    void refuse(Reason why) {
        counters_.refused[index_of(why)]++;
        last_ = why;
    }
    void refuse(pfsync::Fault fault) { refuse(reason_of(fault)); }
    // The last reason since begin(); accept: none.
    void begin() { last_ = Reason::accept; }
    Reason last() const { return last_; }
    const VerdictCounters& counters() const { return counters_; }
    std::uint64_t refused_packets() const;

  private:
    Checked limited(Checked checked, Time now);
    bool holds(bool condition, Reason otherwise) {
        if (!condition)
            refuse(otherwise);
        return condition;
    }
    Reason place(std::size_t held) const;

    Rules rules_;
    std::uint32_t own_creatorid_;
    Allowance packets_, inserts_, requests_, clears_;
    std::size_t share_ = SIZE_MAX;
    VerdictCounters counters_;
    Reason last_ = Reason::accept;
};

inline constexpr std::array kVerdictCounters = {
    counters::by<&VerdictCounters::refused, Reason>(
        "refused", "refused", "packets or messages",
        "What a peer sent and was not accepted, by the first rule that refused it", "reason",
        counters::Shape::flat, false, 1)
        .up_to(index_of(kFirstStateReason)),
    counters::by<&VerdictCounters::refused, Reason>(
        "refused_states", "states_refused", "states", "States not taken from the peer", "reason",
        counters::Shape::flat, false, index_of(kFirstStateReason)),
};

} // namespace encsync::policy
