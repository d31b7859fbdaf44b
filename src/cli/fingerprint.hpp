// SPDX-License-Identifier: ISC
// A key's fingerprint, in each form in which two people may compare it.
#pragma once

#include "keys/format.hpp"

#include <boost/json.hpp>

namespace encsync::cli {

// {fingerprint, hex, words:[...]}
boost::json::object describe_fingerprint(const keys::RawKey& key);

} // namespace encsync::cli
