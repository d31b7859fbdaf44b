// SPDX-License-Identifier: ISC
#include "daemon/next_key.hpp"

namespace encsync::daemon {

bool NextKey::use(bool next) {
    const bool changed = in_use_ != next;
    in_use_ = next;
    return changed;
}

bool NextKey::advance(Clock::time_point now, bool up) {
    if (accepted_ || !up)
        return false;
    if (in_use_ && now >= until_) {
        due_ = now + kPause;
        return use(false);
    }
    if (in_use_ || now < due_)
        return false;
    until_ = now + kAttempt;
    return use(true);
}

bool NextKey::succeeded(Clock::time_point now, bool with_next) {
    if (accepted_) // an SA of before
        return false;
    accepted_ = with_next;
    due_ = now + kPause;
    return use(with_next);
}

bool NextKey::failed(Clock::time_point now, bool up) {
    if (up && accepted_)
        return false;
    due_ = now + kPause;
    accepted_ = false;
    return use(!up && !in_use_);
}

} // namespace encsync::daemon
