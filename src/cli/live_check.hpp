// SPDX-License-Identifier: ISC
// Checks whether this machine can run a valid configuration: addresses, interfaces, users, keys.
// Every fault is found, not only the first.
//
//     for (const std::string& fault : check_live(*loaded.config, "/run/encsync"))
//         fmt::print("{}\n", fault);
#pragma once

#include "config/config.hpp"

#include <string>
#include <vector>

namespace encsync::cli {

// One sentence for each fault, with the conn that it is about. An encsyncd that runs in `run_dir`
// has made its syncdev and taken its ports; that is no fault.
std::vector<std::string> check_live(const config::Config& config, const std::string& run_dir);

} // namespace encsync::cli
