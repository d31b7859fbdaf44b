// SPDX-License-Identifier: ISC
#include "sync/orphans.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;

namespace {

constexpr Duration kFirst = 5s, kMaxPause = 10min;

} // namespace

void Orphans::watch() {
    pause_ = kFirst;
    due_ = any() ? ctx_.now + pause_ : Instant::max();
}

bool Orphans::any() const {
    if (ctx_.flows.copies(kUnclaimed) != 0 || ctx_.flows.copies(kGone) != 0)
        return true;
    for (PeerId peer = 0; peer < peers_.count(); peer++)
        if (ctx_.flows.copies(peer) != 0 && !peers_.owner_alive(peer))
            return true;
    return false;
}

void Orphans::advance() {
    if (ctx_.now < due_)
        return;
    if (!any()) {
        due_ = Instant::max();
        return;
    }
    if (ctx_.options.role == Role::automatic)
        ctx_.table.request_dump();
    pause_ = std::min<Duration>(pause_ * 2, kMaxPause);
    due_ = ctx_.now + pause_;
}

} // namespace encsync::sync
