// SPDX-License-Identifier: ISC
// The dialects of pfsync that there are. Each has a file in this folder, which says all that is
// its own (traits.hpp). One more is such a file and its name here, in registry.cpp and in
// CMakeLists.txt.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace encsync::pfsync {

// Those of one version stand together, the oldest first. OpenBSD's is version 6. FreeBSD's are
// version 5, named for what full states are sent as; every FreeBSD since 9 reads those of 1301, 14
// those of 1400 as well, 15 all three.
enum class Dialect : std::uint8_t { openbsd, freebsd1301, freebsd1400, freebsd1500 };
inline constexpr int kDialects = 4;

inline constexpr auto kAllDialects = [] {
    std::array<Dialect, kDialects> all{};
    for (std::size_t n = 0; n < all.size(); n++)
        all[n] = Dialect{static_cast<std::uint8_t>(n)};
    return all;
}();

// What encsync nodes speak with each other, and with whoever has not said what it speaks.
inline constexpr Dialect kOwnDialect = Dialect::openbsd;

} // namespace encsync::pfsync
