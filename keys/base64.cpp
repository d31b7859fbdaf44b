// SPDX-License-Identifier: ISC
#include "keys/base64.hpp"

#include <algorithm>

namespace encsync::keys {

std::string base64(Bytes data, int variant) {
    std::string text(sodium_base64_encoded_len(data.size(), variant), '\0');
    sodium_bin2base64(text.data(), text.size(), data.data(), data.size(), variant);
    text.pop_back(); // the NUL
    return text;
}

bool unbase64(std::string_view text, MutableBytes into) {
    std::size_t size = 0;
    const char* end = nullptr;
    // libsodium takes 0xaf for '/' and 0xab for '+'.
    return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; }) &&
           sodium_base642bin(into.data(), into.size(), text.data(), text.size(), nullptr, &size,
                             &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
           size == into.size() && end == text.data() + text.size();
}

} // namespace encsync::keys
