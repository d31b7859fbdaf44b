// SPDX-License-Identifier: ISC
// Reading and writing of whole files, over interruptions by signals. With a failure errno says why.
#pragma once

#include "util/bytes.hpp"

#include <cstddef>
#include <optional>

namespace encsync::keys {

// Until the end of the file or until `into` is full. None: it failed.
std::optional<std::size_t> read_all(int fd, MutableBytes into);
// False: it failed.
bool write_and_sync(int fd, Bytes content);

} // namespace encsync::keys
