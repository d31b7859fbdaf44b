// SPDX-License-Identifier: ISC
// The run directory: what a node remembers from one life to the next within one boot. It lies on
// a tmpfs (/run), so a reboot forgets it together with the kernel's state table.
#pragma once

#include "control/role_order.hpp"
#include "sync/options.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>

namespace encsync::daemon {

struct ToldRole {
    sync::Role role = sync::Role::automatic;
    control::RoleOrder order;
};

class RunDir {
  public:
    explicit RunDir(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }

    // Makes the directory, mode 0755, if need be.
    Result<void> prepare() const;

    // The role that keepalived or the administrator set last: a daemon that is started again
    // must not fall back to what the configuration says.
    std::optional<ToldRole> role() const;
    Result<void> remember_role(const ToldRole& told) const;
    // For whoever finds no daemon to tell. One that was begun later is not replaced but returned.
    Result<std::optional<ToldRole>> leave_role(const ToldRole& told) const;

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
