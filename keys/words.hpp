// SPDX-License-Identifier: ISC
// A fingerprint in forms that two people can compare by reading it aloud.
//
//     hex_of(key_hash(key))        // "5f78c332..."
//     words_of(key_hash(key))      // "gadget", "bottom", ...: the 24 words of BIP-39
//
// Any change of the hash changes at least one word. The last word contains 8 bits of a checksum, so
// that words which were misheard are rarely those of another fingerprint.
#pragma once

#include "keys/format.hpp"

#include <array>
#include <string>
#include <string_view>

namespace encsync::keys {

inline constexpr std::size_t kWords = 24;

std::string hex_of(const KeyHash& hash);
std::array<std::string_view, kWords> words_of(const KeyHash& hash);

} // namespace encsync::keys
