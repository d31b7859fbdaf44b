// SPDX-License-Identifier: ISC
// The anti-replay window of an inbound SA (RFC 4303 section 3.4.3 and appendix A, with the ring
// of words of RFC 6479), with 32-bit and extended (64-bit) sequence numbers.
//
//     std::uint64_t number = window.infer(low);                  // 0: no such number
//     if (window.check(number) == ReplayWindow::Answer::fresh && authentic(number))
//         window.advance(number);
//
// A forged packet must not move the window, so call advance() only after authentication.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace encsync::esp {

class ReplayWindow {
  public:
    static constexpr std::uint32_t kMinSize = 32, kMaxSize = 4096; // packets

    enum class Answer : std::uint8_t { fresh, replayed, too_old };

    // `size` in packets, clamped to kMinSize..kMaxSize.
    ReplayWindow(std::uint32_t size, bool esn);

    // The number that the 32 bits on the wire stand for. With ESN its upper half is chosen so that
    // it is in the window or nearest above it (appendix A2.2). 0: no number fits.
    std::uint64_t infer(std::uint32_t low) const;
    // Number 0 is always too old.
    Answer check(std::uint64_t number) const;
    // Marks an authenticated number, for which check() has just returned fresh, as seen.
    void advance(std::uint64_t number);

    std::uint64_t top() const { return top_; } // highest number seen; 0 = none
    std::uint32_t size() const { return size_; }

  private:
    std::uint64_t& word(std::uint64_t number) { return ring_[(number / 64) & mask_]; }

    std::uint64_t top_ = 0;
    std::uint32_t size_;
    bool esn_;
    std::size_t mask_ = 0;
    std::vector<std::uint64_t> ring_; // one word more than the window needs, a power of two
};

} // namespace encsync::esp
