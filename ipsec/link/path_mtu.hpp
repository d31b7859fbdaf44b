// SPDX-License-Identifier: ISC
// What the path to a peer is believed to carry: what is configured, less where the path says so,
// and after some minutes asked for anew (RFC 1191 section 6.3, RFC 8899 section 5.2).
//
//     PathMtu path(1500, kFloor);
//     path.told(1300, now);                        // an ICMP error, checked by the caller
//     if (path.due(now) == PathMtu::Due::probe)    // later: send a dummy of configured() bytes
//         path.probed(now);                        // and see whether an error comes back
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
        Clock::duration raise_after = std::chrono::minutes(10); // RFC 8899: PMTU_RAISE_TIMER
        Clock::duration answer_within = std::chrono::seconds(3);
    };
    enum class Change : std::uint8_t {
        none,    // nothing new
        lowered, //
        raised,  // the answer to a probe: more than was believed, less than is configured
        refused, // below the floor: nobody's router says so
    };
    enum class Due : std::uint8_t { nothing, probe, raised };

    // `floor` is taken down to `configured` where that is less.
    PathMtu(std::uint16_t configured, std::uint16_t floor, Times times);

    std::uint16_t mtu() const { return mtu_; }
    std::uint16_t configured() const { return configured_; }
    bool probing() const { return probed_.has_value(); }

    // A packet was too big for a hop that carries `reported` bytes.
    Change told(std::size_t reported, Clock::time_point now);
    // A packet was too big, and nobody says for what: a step down.
    Change too_big(Clock::time_point now);

    // When due() has something to say; nothing while the path carries what is configured.
    std::optional<Clock::time_point> next() const;
    // `raised`: no error came back for a probe, mtu() is what is configured again.
    Due due(Clock::time_point now);
    // The probe was sent, or cannot be sent now and is put off.
    void probed(Clock::time_point now) { probed_ = now; }
    void put_off(Clock::time_point now) { settled_ = now; }

  private:
    Times times_;
    std::uint16_t configured_, floor_, mtu_;
    Clock::time_point settled_;               // when mtu_ was found
    std::optional<Clock::time_point> probed_; // when a probe was sent that may yet be answered
};

} // namespace encsync::link
