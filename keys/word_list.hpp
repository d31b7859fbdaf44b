// SPDX-License-Identifier: ISC
// The English words of BIP-39, sorted. Their file is read when this is built (CMakeLists.txt).
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace encsync::keys {

inline constexpr std::size_t kWordListSize = 2048;
extern const std::array<std::string_view, kWordListSize> kWordList;

} // namespace encsync::keys
