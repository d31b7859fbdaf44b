// SPDX-License-Identifier: ISC
// The rotation of a key with a peer that never says which keys it trusts: another program than
// encsync, to which the administrator brings the next one. That may be an identity, a preshared key
// of IKE, or our certificate. So the next one is tried, each minute, beside the tunnel that the
// older one has made; once it was accepted, it stays in use.
//
//     NextKey next;
//     if (next.advance(now, up))          // each second
//         sign_with(next.in_use());
//     next.accepted();
//
// While the peer is down, the two keys take turns, because it may have only one of them.
#pragma once

#include <chrono>

namespace encsync::daemon {

class NextKey {
  public:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::seconds kPause{60}, kAttempt{20};

    // Whether this node is to sign with the next key.
    bool in_use() const { return in_use_; }
    // The peer has accepted a signature with the next key.
    bool accepted() const { return accepted_; }

    // Each returns whether in_use() has changed.
    bool advance(Clock::time_point now, bool up);
    // A negotiation has succeeded, with the next key or with the older one.
    bool succeeded(Clock::time_point now, bool with_next);
    // A negotiation has failed because of a key. Anybody may cause that, so it only ends an
    // attempt.
    bool failed(Clock::time_point now, bool up);
    // The administrator has changed something: no need to wait.
    void hurry() { due_ = {}; }

  private:
    bool use(bool next);

    bool in_use_ = false, accepted_ = false;
    Clock::time_point until_{}; // of an attempt
    Clock::time_point due_{};   // the next one
};

} // namespace encsync::daemon
