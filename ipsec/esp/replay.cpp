// SPDX-License-Identifier: ISC
#include "ipsec/esp/replay.hpp"

#include <algorithm>
#include <bit>

namespace encsync::esp {

ReplayWindow::ReplayWindow(std::uint32_t size, bool esn)
    : size_(std::clamp(size, kMinSize, kMaxSize)), esn_(esn) {
    // The word that holds the top also holds numbers above it, whose bits must be clear; hence
    // one word beyond the window (RFC 6479 section 2).
    const std::size_t words = std::bit_ceil((std::size_t{size_} + 63) / 64 + 1);
    ring_.assign(words, 0);
    mask_ = words - 1;
}

std::uint64_t ReplayWindow::infer(std::uint32_t low) const {
    if (!esn_)
        return low;
    const auto top_low = static_cast<std::uint32_t>(top_);
    const std::uint64_t top_high = top_ >> 32;
    const std::uint32_t bottom_low = top_low - size_ + 1; // modulo 2^32, as in the RFC
    std::uint64_t high = top_high;
    if (top_low >= size_ - 1) { // case A: the window lies within one upper half
        if (low < bottom_low)
            high++;
    } else if (low >= bottom_low) { // case B: its lower part is in the upper half before
        if (top_high == 0)
            return 0;
        high--;
    }
    return high > UINT32_MAX ? 0 : high << 32 | low;
}

ReplayWindow::Answer ReplayWindow::check(std::uint64_t number) const {
    if (number == 0)
        return Answer::too_old;
    if (number > top_)
        return Answer::fresh;
    if (top_ - number >= size_)
        return Answer::too_old;
    const std::uint64_t bit = std::uint64_t{1} << (number % 64);
    return (ring_[(number / 64) & mask_] & bit) != 0 ? Answer::replayed : Answer::fresh;
}

void ReplayWindow::advance(std::uint64_t number) {
    if (number > top_) {
        // Words between the old top's and the new one's are from the ring's last round.
        const std::uint64_t steps = number / 64 - top_ / 64;
        if (steps > mask_)
            std::fill(ring_.begin(), ring_.end(), 0);
        else
            for (std::uint64_t i = 1; i <= steps; i++)
                ring_[(top_ / 64 + i) & mask_] = 0;
        top_ = number;
    }
    word(number) |= std::uint64_t{1} << (number % 64);
}

} // namespace encsync::esp
