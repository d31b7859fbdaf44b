// SPDX-License-Identifier: ISC
// Which of a packet's sections have our own messages, and how long those are.
#pragma once

#include "pfsync/extension.hpp"
#include "pfsync/parse.hpp"

#include <cstddef>

namespace encsync::policy {

// The least size of one of our own messages; 0: it is none.
std::size_t extension_size(const pfsync::Section& section);

// SEQ, which comes first in a packet.
inline bool is_number(const pfsync::Section& section) {
    return section.action == pfsync::extension::kSeq && extension_size(section) != 0 &&
           section.stride >= pfsync::extension::seq::size;
}

// EOF of version 5.
inline bool has_no_messages(const pfsync::Section& section) {
    return section.kind == pfsync::Kind::eof && extension_size(section) == 0;
}

} // namespace encsync::policy
