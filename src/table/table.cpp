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

} // namespace encsync::table
