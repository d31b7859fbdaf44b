// SPDX-License-Identifier: ISC
// The engine's time. It reads no clock: its user passes the time, which in a simulator begins at
// zero.
#pragma once

#include <chrono>

namespace encsync::sync {

using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::nanoseconds;

inline constexpr Instant kNever{Duration(-1)}; // before all that happens

} // namespace encsync::sync
