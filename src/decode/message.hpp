// SPDX-License-Identifier: ISC
// Decodes one message by its table. Private to this folder.
#pragma once

#include "decode/fields.hpp"
#include "util/bytes.hpp"

#include <boost/json/object.hpp>
#include <cstdint>
#include <string_view>

namespace encsync::decode {

// The first error. Names are static strings.
struct Wrong {
    std::string_view error;
    std::size_t offset = 0;

    explicit operator bool() const { return !error.empty(); }
    void note(std::string_view name, std::size_t at) {
        if (error.empty()) {
            error = name;
            offset = at;
        }
    }
};

// `bytes` has at least the message's size. Offsets in `wrong` are within the message.
boost::json::object read_message(const Found& found, Bytes bytes, Wrong& wrong);

std::string to_hex(Bytes bytes);

} // namespace encsync::decode
