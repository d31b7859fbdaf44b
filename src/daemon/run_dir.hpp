// SPDX-License-Identifier: ISC
// The run directory: what a node remembers from one life to the next within one boot. It lies on
// a tmpfs (/run), so a reboot forgets it together with the kernel's state table.
#pragma once

#include "sync/session.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>

namespace encsync::daemon {

class RunDir {
  public:
    explicit RunDir(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }

    // Makes the directory, mode 0755, if need be.
    Result<void> prepare() const;

    // The role that keepalived or the administrator set last: a daemon that is started again
    // must not fall back to what the configuration says.
    std::optional<sync::Role> role() const;
    Result<void> remember_role(sync::Role role) const;

    // Whether the table of this boot and network namespace was read by a former life of this
    // node: flows that are missing from it have then ended, and are not just unknown.
    bool table_kept() const;
    Result<void> remember_table() const;

  private:
    std::optional<std::string> read(const char* name) const;
    Result<void> write(const char* name, const std::string& text) const;

    std::string path_;
};

} // namespace encsync::daemon
