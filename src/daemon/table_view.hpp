// SPDX-License-Identifier: ISC
// What the table counts, as `encsync status --json` shows it under "table".
#pragma once

#include "table/table.hpp"

#include <boost/json/object.hpp>

namespace encsync::daemon {

// Groups become objects.
void add(boost::json::object& out, const table::Counters& counters);

} // namespace encsync::daemon
