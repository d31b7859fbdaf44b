// SPDX-License-Identifier: ISC
// Looks at everything on this machine that may keep encsync from working, and says what to do: the
// configuration, keys, addresses, the kernel's state table, ports, the way to each peer, the
// firewall, the clock, and, if it runs, what encsyncd says of itself and its peers.
//
//     for (const Finding& found : examine(options)) fmt::print("{}\n", found.text);
#pragma once

#include "cli/verbs.hpp"

#include <string>
#include <vector>

namespace encsync::cli {

struct Finding {
    enum class Grade { good, note, bad }; // note: it works, but somebody should know
    Grade grade = Grade::good;
    std::string about; // a word or two: "conntrack", "peer minnie"
    std::string text;  // what it is, and what to do
};

// Of findings about this machine's own ruleset.
inline constexpr const char* kFirewall = "firewall";

// In the order in which they are to be mended. proc: where /proc is.
std::vector<Finding> examine(const Options& options, const std::string& proc = "/proc");

} // namespace encsync::cli
