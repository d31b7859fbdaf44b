// SPDX-License-Identifier: ISC
#include "table/table.hpp"

namespace encsync::table {

const char* to_string(Refusal refusal) {
    switch (refusal) {
    case Refusal::table_full:
        return "table_full";
    case Refusal::clash:
        return "clash";
    case Refusal::invalid:
        return "invalid";
    case Refusal::other:
        break;
    }
    return "other";
}

const char* to_string(Ignored why) {
    switch (why) {
    case Ignored::protocol:
        return "protocol";
    case Ignored::loopback:
        return "loopback";
    case Ignored::multicast:
        return "multicast";
    case Ignored::unspecified:
        return "unspecified";
    case Ignored::ipsec:
        return "ipsec";
    case Ignored::local:
        return "local";
    case Ignored::prefix:
        return "prefix";
    case Ignored::nosync:
        return "nosync";
    case Ignored::nosync_mark:
        return "nosync_mark";
    case Ignored::refuse:
        return "refuse";
    case Ignored::not_accepted:
        break;
    }
    return "not_accepted";
}

} // namespace encsync::table
