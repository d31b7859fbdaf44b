// SPDX-License-Identifier: ISC
#include "ipsec/link/flood_guard.hpp"

#include "ipsec/link/filter.hpp"

#include <algorithm>
#include <utility>

namespace encsync::link {

namespace {

constexpr std::size_t kNextPayload = 16, kExchange = 18;
constexpr std::uint8_t kEncrypted = 46, kEncryptedFragment = 53; // RFC 7296, RFC 7383
constexpr std::uint8_t kCreateChildSa = 36, kInformational = 37;

IkeSpis spis_of(Bytes datagram) {
    IkeSpis spis;
    std::ranges::copy(datagram.first(spis.size()), spis.begin());
    return spis;
}

} // namespace

bool FloodGuard::on_refused(Clock::time_point now) {
    if (now - window_ >= kWindow) {
        window_ = now;
        refused_ = 0;
    }
    if (++refused_ < kMany)
        return false;
    quiet_ = 0;
    return !std::exchange(flooded_, true);
}

bool FloodGuard::is_over(std::uint64_t dropped) {
    quiet_ = dropped - std::exchange(dropped_, dropped) >= kManyDropped ? 0 : quiet_ + 1;
    if (quiet_ >= kQuiet)
        flooded_ = false;
    return !flooded_;
}

bool FloodGuard::Budget::take(Clock::time_point now) {
    tokens = std::min(kBurst, tokens + kRate * std::chrono::duration<double>(now - filled).count());
    filled = now;
    if (tokens < 1)
        return false;
    tokens -= 1;
    return true;
}

bool FloodGuard::knows(const IkeSpis& spis) const {
    return std::ranges::find(known_, spis) != known_.end();
}

bool FloodGuard::admits(Bytes datagram, Clock::time_point now) {
    return (knows(spis_of(datagram)) ? of_known_ : of_others_).take(now);
}

void FloodGuard::on_sent(Bytes datagram) {
    if (datagram.size() < kIkeHeaderSize)
        return;
    const std::uint8_t next = datagram[kNextPayload], exchange = datagram[kExchange];
    if ((next != kEncrypted && next != kEncryptedFragment) ||
        (exchange != kCreateChildSa && exchange != kInformational))
        return;
    const IkeSpis spis = spis_of(datagram);
    if (knows(spis))
        return;
    if (known_.size() < kKnown)
        return known_.push_back(spis);
    known_[oldest_] = spis;
    oldest_ = (oldest_ + 1) % kKnown;
}

} // namespace encsync::link
