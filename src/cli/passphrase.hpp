// SPDX-License-Identifier: ISC
// Passphrases that a person types: without echo, which is on again whatever ends the typing.
#pragma once

#include "keys/passphrase.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>

namespace encsync::cli {

// On the terminal that is standard input; none: it is no terminal. Ctrl-C and the like do what they
// do, after the echo is on again.
Result<std::optional<keys::Passphrase>> ask_passphrase(const std::string& prompt);

// One to encrypt with: from the file or, if none is named, asked for twice. `what` it is for, and
// the `option` that names a file, are in the prompt and in errors.
Result<keys::Passphrase> new_passphrase(const std::string& file, const std::string& what,
                                        const std::string& option);

// This process holds a passphrase from now on.
void no_core_dumps();

} // namespace encsync::cli
