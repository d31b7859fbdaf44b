// SPDX-License-Identifier: ISC
// Text functions shared by this folder's files.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::config {

// Every control character and every byte of broken UTF-8 becomes '?', byte for byte; tabs stay.
std::string printable(std::string_view text);

// How many characters a printable text has.
std::size_t characters(std::string_view printable_text);

std::string_view trim(std::string_view text); // blanks and tabs, both ends

// What is between the commas of a list, trimmed, each a part of `text`. One is empty, at the comma
// or the end, if a comma has nothing beside it.
std::vector<std::string_view> list_items(std::string_view text);

// The candidate that needs fewest edits (letters added, dropped, changed or swapped), if it is
// close enough to be a typo; else empty.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

// "did you mean 'X'?", or nothing for an empty X.
std::string did_you_mean(std::string_view candidate);

} // namespace encsync::config
