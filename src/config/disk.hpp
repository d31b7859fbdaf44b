// SPDX-License-Identifier: ISC
// The Environment of a real machine: its files, its host name.
#pragma once

#include "config/config.hpp"

namespace encsync::config {

class Disk final : public Environment {
  public:
    std::vector<std::string> expand(const std::string& pattern,
                                    const std::string& including_file) override;
    // Refuses anything but a regular file (a pipe would block us), and more than kMaxFileSize.
    Result<std::string> read(const std::string& path) override;
    std::string host_name() override;
};

} // namespace encsync::config
