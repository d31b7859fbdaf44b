// SPDX-License-Identifier: ISC
// The list of pfsync dialects. Each has a file in this folder with everything specific to it
// (traits.hpp). To add one, add its file and its name here, in registry.cpp and in CMakeLists.txt.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace encsync::pfsync {

// Dialects of one version are adjacent, the oldest first. OpenBSD's is version 6. FreeBSD's are
// version 5, named after the format of the full states that they send. Every FreeBSD since 9 reads
// 1301, 14 also reads 1400, 15 all three.
enum class Dialect : std::uint8_t { openbsd, freebsd1301, freebsd1400, freebsd1500 };
inline constexpr int kDialects = 4;

inline constexpr auto kAllDialects = [] {
    std::array<Dialect, kDialects> all{};
    for (std::size_t n = 0; n < all.size(); n++)
        all[n] = Dialect{static_cast<std::uint8_t>(n)};
    return all;
}();

// Used between encsync nodes, and with a peer whose dialect is not known.
inline constexpr Dialect kOwnDialect = Dialect::openbsd;

} // namespace encsync::pfsync
