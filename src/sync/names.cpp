// SPDX-License-Identifier: ISC
// Enumerators as status, log and metrics show them.
#include "sync/counters.hpp"
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

const char* to_string(Refused refused) {
    static constexpr const char* kNames[kRefused] = {
        "fault",        "unknown_action", "short_message", "own_creatorid",     "id_clash",
        "table_limit",  "not_owner",      "no_sync",       "unknown_state",     "foreign_session",
        "bad_ack",      "bad_hello",      "hello_version", "expectation_limit", "too_often",
        "foreign_bulk", "bad_ask",        "unasked"};
    return kNames[static_cast<std::size_t>(refused)];
}

} // namespace encsync::sync
