// SPDX-License-Identifier: ISC
// Other programs that a command needs.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace encsync::cli {

inline constexpr unsigned kPatience = 20; // seconds for a program

// Runs it without input and with a limit of time; words: its arguments, the first one its name.
// Returns how it ended: "status 0".
std::string run_program(const std::string& program, const std::vector<std::string>& words, int out,
                        int errors);

// What it prints; none: it is not there, or fails.
std::optional<std::string> output_of(const std::vector<std::string>& words);

} // namespace encsync::cli
