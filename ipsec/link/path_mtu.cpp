// SPDX-License-Identifier: ISC
#include "ipsec/link/path_mtu.hpp"

#include <algorithm>

namespace encsync::link {
namespace {

constexpr std::size_t kStep = 64; // down, where no figure is known

} // namespace

PathMtu::PathMtu(std::uint16_t configured, std::uint16_t floor, Times times)
    : times_(times), configured_(configured), floor_(std::min(floor, configured)),
      mtu_(configured) {}

PathMtu::Change PathMtu::told(std::size_t reported, Clock::time_point now) {
    if (reported < floor_)
        return Change::refused;
    const bool answer = probing() && reported < configured_;
    if (answer) {
        probed_.reset();
        settled_ = now;
    }
    // Of packets under way more than one may be answered, with what is known by then.
    if (reported == mtu_ || reported >= configured_ || (reported > mtu_ && !answer))
        return Change::none;
    const Change change = reported < mtu_ ? Change::lowered : Change::raised;
    mtu_ = static_cast<std::uint16_t>(reported);
    settled_ = now;
    return change;
}

PathMtu::Change PathMtu::too_big(Clock::time_point now) {
    const std::size_t lower =
        std::max<std::size_t>(mtu_ - std::min<std::size_t>(mtu_, kStep), floor_);
    return lower == mtu_ ? Change::none : told(lower, now);
}

std::optional<PathMtu::Clock::time_point> PathMtu::next() const {
    if (probed_)
        return *probed_ + times_.answer_within;
    if (mtu_ < configured_)
        return settled_ + times_.raise_after;
    return {};
}

PathMtu::Due PathMtu::due(Clock::time_point now) {
    const auto when = next();
    if (!when || now < *when)
        return Due::nothing;
    if (!probed_)
        return Due::probe;
    probed_.reset();
    mtu_ = configured_;
    return Due::raised;
}

} // namespace encsync::link
