// SPDX-License-Identifier: ISC
// Base64 (RFC 4648), by libsodium.
#pragma once

#include "util/bytes.hpp"

#include <sodium.h>
#include <string>
#include <string_view>

namespace encsync::keys {

std::string base64(Bytes data, int variant = sodium_base64_VARIANT_ORIGINAL);
// Decodes exactly the size of `into`; only canonical base64 is accepted.
bool unbase64(std::string_view text, MutableBytes into);

} // namespace encsync::keys
