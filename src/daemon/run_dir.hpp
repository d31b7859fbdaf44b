// SPDX-License-Identifier: ISC
// The run directory: what a node keeps across restarts within one boot. It is on a tmpfs (/run), so
// a reboot deletes it together with the kernel's state table.
#pragma once

#include "control/role_order.hpp"
#include "sync/options.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>

namespace encsync::daemon {

struct RequestedRole {
    sync::Role role = sync::Role::automatic;
    control::RoleOrder order;
};

class RunDir {
  public:
    explicit RunDir(std::string path) : path_(std::move(path)) {}
    const std::string& path() const { return path_; }

    // Makes the directory, mode 0755, if need be.
    Result<void> prepare() const;

    // The role that keepalived or the administrator set last: it takes precedence over the
    // configuration after a restart of the daemon.
    std::optional<RequestedRole> role() const;
    Result<void> remember_role(const RequestedRole& requested) const;
    // For a command that finds no daemon. A role that was requested later is kept, and returned.
    Result<std::optional<RequestedRole>> leave_role(const RequestedRole& requested) const;

    // Whether the table of this boot and network namespace was read by an earlier run of this
    // node: flows that are missing from it have then ended, and are not just unknown.
    bool table_kept() const;
    Result<void> remember_table() const;

  private:
    std::optional<std::string> read(const char* name) const;
    Result<void> write(const char* name, const std::string& text) const;

    std::string path_;
};

} // namespace encsync::daemon
