// SPDX-License-Identifier: ISC
#include "ipsec/link/path_mtu.hpp"

#include <algorithm>

namespace encsync::link {
namespace {

constexpr std::size_t kStep = 64; // down, where no figure is known
// If this many small probes were answered and no large one, the large size has failed; and the
// number of tries for that: MAX_PROBES of RFC 8899, counting only tries while the path was up.
constexpr unsigned kProofs = 3, kTries = 10;
constexpr std::uint16_t kClose = 8;          // a search ends this close to a size that failed
constexpr std::uint16_t kLikelyLeast = 1280; // where a search begins: IPv6's minimum link MTU

} // namespace

PathMtu::PathMtu(std::uint16_t configured, std::uint16_t floor, Times times, bool probes)
    : times_(times), configured_(configured), floor_(std::min(floor, configured)), mtu_(configured),
      probes_(probes) {}

void PathMtu::start(Clock::time_point now) {
    stop();
    started_ = true;
    unconfirmed_ = probes_ && configured_ > floor_;
    settled_ = now - times_.raise_after; // the path may be another one
}

void PathMtu::stop() {
    started_ = unconfirmed_ = false;
    round_.reset();
    confirmed_.reset();
    too_large_ = 0;
}

void PathMtu::settle(Clock::time_point now) {
    too_large_ = 0;
    settled_ = now;
}

void PathMtu::end_round(Clock::time_point now) {
    round_.reset();
    confirmed_ = now;
}

// ---- errors --------------------------------------------------------------------------------

PathMtu::Change PathMtu::too_big(std::size_t reported, Clock::time_point now) {
    if (reported < floor_)
        return Change::refused;
    const bool answer = round_ && reported < round_->size;
    if (answer) {
        end_round(now);
        settle(now);
    }
    // Several packets in flight may each get an error, with a size that is already known.
    if (reported == mtu_ || reported >= configured_ || (reported > mtu_ && !answer))
        return Change::none;
    const Change change = reported < mtu_ ? Change::lowered : Change::raised;
    mtu_ = static_cast<std::uint16_t>(reported);
    source_ = Source::reported;
    settle(now);
    return change;
}

PathMtu::Change PathMtu::too_big(Clock::time_point now) {
    const std::size_t lower =
        std::max<std::size_t>(mtu_ - std::min<std::size_t>(mtu_, kStep), floor_);
    return lower == mtu_ ? Change::none : too_big(lower, now);
}

// ---- probes --------------------------------------------------------------------------------

bool PathMtu::sent(std::size_t size) {
    if (!probes_ || !started_ || unconfirmed_ || size <= floor_)
        return false;
    unconfirmed_ = true;
    return !round_;
}

std::uint16_t PathMtu::candidate() const {
    if (mtu_ < kLikelyLeast && kLikelyLeast < too_large_)
        return kLikelyLeast;
    return static_cast<std::uint16_t>((mtu_ + too_large_) / 2 / 4 * 4); // as ESP is aligned
}

PathMtu::Change PathMtu::answered(std::uint32_t id, Clock::time_point now) {
    answers_ = true;
    if (!round_ || id - round_->first_id >= 2 * round_->tries) // modulo 2^32
        return Change::none;
    if (id % 2 != 0) {
        round_->small_answers++;
        return Change::none;
    }
    return passed(round_->size, now);
}

PathMtu::Change PathMtu::passed(std::uint16_t size, Clock::time_point now) {
    end_round(now);
    Change change = Change::none;
    if (size > mtu_) {
        mtu_ = size;
        source_ = size == configured_ ? Source::configured : Source::searched;
        change = Change::raised;
        settled_ = now;
    }
    if (searching() && too_large_ - mtu_ <= kClose)
        settle(now);
    return change;
}

PathMtu::Change PathMtu::failed(std::uint16_t size, Clock::time_point now) {
    end_round(now);
    Change change = Change::none;
    if (size <= mtu_) {
        mtu_ = floor_;
        source_ = Source::searched;
        change = Change::vanished;
    }
    too_large_ = size;
    if (too_large_ - mtu_ <= kClose)
        settle(now);
    return change;
}

std::optional<PathMtu::Clock::time_point> PathMtu::next() const {
    if (!started_)
        return {};
    if (round_) {
        const bool waits_for_error = !answers_ && round_->size > mtu_;
        return round_->last_try + (waits_for_error ? times_.answer_within : times_.try_every);
    }
    if (searching())
        return confirmed_;
    std::optional<Clock::time_point> when;
    if (unconfirmed_)
        when = confirmed_ ? *confirmed_ + (answers_ ? times_.confirm_every : times_.ask_every)
                          : Clock::time_point{};
    if (mtu_ < configured_)
        when = std::min(when.value_or(Clock::time_point::max()), settled_ + times_.raise_after);
    return when;
}

PathMtu::Due PathMtu::due(Clock::time_point now) {
    const auto when = next();
    if (!when || now < *when)
        return {};
    if (!round_) {
        unconfirmed_ = false;
        const bool raise = mtu_ < configured_ && settled_ + times_.raise_after <= now;
        round_ = Round{.size = searching() ? candidate()
                               : raise     ? configured_
                                           : mtu_,
                       .first_id = next_id_};
    } else if (!answers_ && round_->size > mtu_) { // no error, and the peer does not answer probes
        end_round(now);
        settle(now);
        mtu_ = configured_;
        source_ = Source::configured;
        return {Change::raised};
    } else if (round_->small_answers >= kProofs) {
        return {failed(round_->size, now)};
    } else if (round_->tries >= kTries) { // inconclusive
        end_round(now);
        settle(now);
        answers_ = false;
        return {};
    }
    round_->tries++;
    round_->last_try = now;
    const Probe probe{round_->size, next_id_, next_id_ + 1};
    next_id_ += 2;
    return {Change::none, probe};
}

void PathMtu::put_off(Clock::time_point now) {
    if (!round_)
        return;
    round_->tries--;
    next_id_ -= 2;
    round_->last_try = now;
}

} // namespace encsync::link
