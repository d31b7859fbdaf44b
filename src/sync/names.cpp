// SPDX-License-Identifier: ISC
// Enumerators as status, log and metrics show them.
#include "sync/options.hpp"

namespace encsync::sync {

const char* to_string(Role role) {
    switch (role) {
    case Role::active:
        return "active";
    case Role::standby:
        return "standby";
    case Role::automatic:
        break;
    }
    return "auto";
}

} // namespace encsync::sync
