// SPDX-License-Identifier: ISC
// Enumerators as status, log and metrics show them.
#include "sync/options.hpp"
#include "sync/readiness.hpp"

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

const char* to_string(Unready why) {
    switch (why) {
    case Unready::no:
        return "no";
    case Unready::table_unread:
        return "table_unread";
    case Unready::bulk_incomplete:
        return "bulk_incomplete";
    case Unready::not_understood:
        return "not_understood";
    case Unready::no_peer_heard:
        return "no_peer_heard";
    case Unready::no_room:
        return "no_room";
    case Unready::states_missing:
        return "states_missing";
    case Unready::over_limit:
        return "over_limit";
    case Unready::missing_edge:
        break;
    }
    return "missing_edge";
}

} // namespace encsync::sync
