// SPDX-License-Identifier: ISC
// The completion of `encsync` for a shell, from the declaration of the command line itself: verbs,
// options, the words that these take, and the conns of the configuration where a peer is named.
//
//     std::string script = cli::completion(app, Shell::bash);
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace encsync::cli {

enum class Shell { bash, zsh };

std::string completion(const CLI::App& app, Shell shell);

} // namespace encsync::cli
