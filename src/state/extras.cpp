// SPDX-License-Identifier: ISC
#include "state/extras.hpp"

#include <algorithm>

namespace encsync::state {

namespace {

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
}

} // namespace

bool is_name(std::string_view text) {
    return std::ranges::all_of(text, is_name_character);
}

Labels with_label(Labels labels, unsigned number) {
    std::uint8_t& byte = labels.at(number / 8);
    byte = static_cast<std::uint8_t>(byte | 1U << (number % 8));
    return labels;
}

std::vector<unsigned> numbers(const Labels& labels) {
    std::vector<unsigned> out;
    for (unsigned n = 0; n < 8 * labels.size(); n++)
        if ((labels[n / 8] >> (n % 8) & 1) != 0)
            out.push_back(n);
    return out;
}

} // namespace encsync::state
