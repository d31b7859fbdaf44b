// SPDX-License-Identifier: ISC
// Checks whether this machine can run a valid configuration: addresses, interfaces, users, keys.
// Every fault is found, not only the first.
//
//     for (const std::string& fault : check_live(*loaded.config, "/run/encsync").faults)
//         fmt::print("{}\n", fault);
#pragma once

#include "config/config.hpp"

#include <string>
#include <vector>

namespace encsync::cli {

// A sentence each, with the conn that it is about.
struct LiveFindings {
    std::vector<std::string> faults;
    std::vector<std::string> ages; // what works now, and soon will not (keys/age.hpp)
};
// An encsyncd that runs in `run_dir` has made its syncdev and taken its ports; that is no fault.
LiveFindings check_live(const config::Config& config, const std::string& run_dir);

} // namespace encsync::cli
