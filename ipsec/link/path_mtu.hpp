// SPDX-License-Identifier: ISC
// The estimated MTU of the path to a peer: the configured size, less if ICMP errors or probes show
// it, and after some minutes tried again (RFC 1191 section 6.3, RFC 8899).
//
//     PathMtu path(1500, kFloor, {}, true);  path.start(now);
//     path.too_big(1300, now);               // an ICMP error, checked by the caller
//     if (path.sent(1400)) watch(path);      // a packet of this size left: is it to be confirmed?
//     const auto [change, probe] = path.due(now);   // at next(): send what is in `probe`
//     path.answered(id, now);                // the peer has answered the probe of this number
//
// A probe is a pair of dummy packets: one of the size to test, and a small one that shows that the
// path and the peer are up. A size has failed when several small ones were answered and it was not;
// if nothing is answered, nothing is concluded. While large packets are sent, the current size is
// confirmed regularly. If it fails without an ICMP error, it falls to the floor at once, and the
// largest size that passes is searched from there.
//
// With a peer that answers no probes (another implementation, an older version), RFC 1191 applies:
// errors lower the size, and a larger packet without an error raises it.
//
// It reads no clock. Sizes are of whole outer IP packets, in bytes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace encsync::link {

class PathMtu {
  public:
    using Clock = std::chrono::steady_clock;
    struct Times {
        Clock::duration raise_after = std::chrono::minutes(10);     // PMTU_RAISE_TIMER
        Clock::duration answer_within = std::chrono::seconds(3);    // of errors, by a router
        Clock::duration try_every = std::chrono::milliseconds(500); // PROBE_TIMER
        Clock::duration confirm_every = std::chrono::seconds(1);    // CONFIRMATION_TIMER
        Clock::duration ask_every = std::chrono::seconds(30); // likewise, where nobody answers
    };
    enum class Change : std::uint8_t {
        none,     // nothing new
        lowered,  //
        raised,   // a larger size passes
        vanished, // packets of the current size do not arrive, without an error
        refused,  // below the floor: not credible
    };
    enum class Source : std::uint8_t { configured, reported, searched };
    struct Probe {
        std::uint16_t size;
        std::uint32_t large_id, small_id;
    };
    struct Due {
        Change change = Change::none;
        std::optional<Probe> probe{};
    };

    // `floor` is at most `configured`. `probes`: the peer may answer probes.
    PathMtu(std::uint16_t configured, std::uint16_t floor, Times times, bool probes);

    std::uint16_t mtu() const { return mtu_; }
    std::uint16_t configured() const { return configured_; }
    Source source() const { return source_; }
    bool probing() const { return round_.has_value(); }
    bool searching() const { return too_large_ != 0; }
    bool answers() const { return answers_; } // the peer does answer probes

    // The peer is reachable (again): the size is tested at once. Until then nothing is due.
    void start(Clock::time_point now);
    void stop();

    // A packet was too big for a hop that carries `reported` bytes.
    Change too_big(std::size_t reported, Clock::time_point now);
    // A packet was too big, with no size in the error: a step down.
    Change too_big(Clock::time_point now);
    // A packet of this size was sent. True: next() has changed.
    bool sent(std::size_t size);
    Change answered(std::uint32_t id, Clock::time_point now);

    // When to call due(). Nothing: not before something else happens.
    std::optional<Clock::time_point> next() const;
    Due due(Clock::time_point now);
    // The probe of due() cannot be sent now: due() will return it again.
    void put_off(Clock::time_point now);

  private:
    struct Round { // probes of one size
        std::uint16_t size;
        std::uint32_t first_id;
        unsigned tries = 0, small_answers = 0;
        Clock::time_point last_try{};
    };
    std::uint16_t candidate() const;
    Change passed(std::uint16_t size, Clock::time_point now);
    Change failed(std::uint16_t size, Clock::time_point now);
    void settle(Clock::time_point now);
    void end_round(Clock::time_point now);

    Times times_;
    std::uint16_t configured_, floor_, mtu_;
    std::uint16_t too_large_ = 0; // in a search: the least size that has failed
    Source source_ = Source::configured;
    bool probes_, started_ = false, answers_ = false;
    bool unconfirmed_ = false;  // packets larger than the floor left since the last round
    std::uint32_t next_id_ = 0; // even: of a large probe, odd: of a small one
    std::optional<Round> round_;
    Clock::time_point settled_{};                // when mtu_ was found
    std::optional<Clock::time_point> confirmed_; // when the last round ended
};

} // namespace encsync::link
