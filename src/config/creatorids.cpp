// SPDX-License-Identifier: ISC
// The value of creators.
#include "config/text.hpp"
#include "config/values.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace encsync::config {

namespace {

constexpr std::size_t kMaxCreators = 64;

bool read_one(std::string_view text, std::uint32_t& out) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
    return text.size() == 8 && error == std::errc{} && end == text.data() + text.size() && out != 0;
}

} // namespace

Verdict read_creatorids(std::string_view text, std::vector<std::uint32_t>& out) {
    std::vector<std::uint32_t> all;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        const std::string_view item = trim(text.substr(start, comma - start));
        const std::size_t offset = item.empty()
                                       ? std::min(comma, text.size() - 1)
                                       : static_cast<std::size_t>(item.data() - text.data());
        std::uint32_t id = 0;
        if (!read_one(item, id))
            return Problem{fmt::format("'{}' is no creatorid", item), offset,
                           "it has 8 hexadecimal digits, and is not 0; 'encsync keys show'"};
        if (std::ranges::find(all, id) != all.end())
            return Problem{fmt::format("{} is there twice", item), offset, {}};
        if (all.size() == kMaxCreators)
            return Problem{
                fmt::format("there are more than {} creatorids", kMaxCreators), offset, {}};
        all.push_back(id);
        start = comma + 1;
    }
    out = std::move(all);
    return {};
}

} // namespace encsync::config
