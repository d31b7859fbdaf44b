// SPDX-License-Identifier: ISC
// Where the keys are, and how they are opened if they are sealed.
#pragma once

#include "cli/verbs.hpp"
#include "config/config.hpp"
#include "keys/store.hpp"

#include <cstdio>
#include <memory>
#include <string>

namespace encsync::cli {

struct Place {
    std::string keydir;
    std::string node;          // the configuration's, or the host's name
    std::string keypassphrase; // the file that the configuration names
};

// A node that has no configuration yet may already have keys, at the default place.
Result<Place> find_place(const Options& options, bool need_node);

// The passphrase of the store as encsyncd will have it: from --passphrase-file, the configuration's
// file, or the systemd credential. None: there is none of these.
Result<std::optional<keys::Passphrase>> given_passphrase(const Options& options,
                                                         const Place& place);
// Likewise, or from the terminal.
std::shared_ptr<keys::Unlock> unlock_for(const Options& options, const Place& place);

Result<keys::Store> open_store(const Options& options);
// With an identity of this node, which is made, and said, if there is none.
Result<keys::Store> open_or_make_store(const Options& options, const config::Setup& setup,
                                       std::FILE* out);

} // namespace encsync::cli
