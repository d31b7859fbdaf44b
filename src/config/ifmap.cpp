// SPDX-License-Identifier: ISC
#include "config/text.hpp"
#include "config/values.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::config {

namespace {

// "em0:wan"
Verdict read_pair(std::string_view item, InterfacePair& out) {
    const std::size_t colon = item.find(':');
    if (colon == std::string_view::npos)
        return Problem{fmt::format("'{}' has no colon", item), 0,
                       "em0:wan: the firewall's name of the interface, then that of all sites"};
    const std::string_view theirs = trim(item.substr(0, colon));
    const std::string_view shared = trim(item.substr(colon + 1));
    if (theirs.empty() || shared.empty())
        return Problem{"a name is missing beside the colon", colon, {}};
    const auto read = [&](std::string_view name, std::string& into) {
        Verdict problem = read_interface(name, into);
        if (problem)
            problem->offset += static_cast<std::size_t>(name.data() - item.data());
        return problem;
    };
    if (Verdict problem = read(theirs, out.theirs))
        return problem;
    return read(shared, out.shared);
}

} // namespace

Verdict read_interface_map(std::string_view text, std::vector<InterfacePair>& out) {
    std::vector<InterfacePair> pairs;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        const std::string_view item = trim(text.substr(start, comma - start));
        if (item.empty())
            return Problem{
                "a pair is missing beside the comma", std::min(comma, text.size() - 1), {}};
        const auto at = static_cast<std::size_t>(item.data() - text.data());
        InterfacePair pair;
        if (Verdict problem = read_pair(item, pair)) {
            problem->offset += at;
            return problem;
        }
        for (const auto side : {&InterfacePair::theirs, &InterfacePair::shared})
            if (std::ranges::find(pairs, pair.*side, side) != pairs.end())
                return Problem{fmt::format("'{}' is {} of two pairs", pair.*side,
                                           side == &InterfacePair::theirs ? "left" : "right"),
                               at,
                               {}};
        pairs.push_back(std::move(pair));
        start = comma + 1;
    }
    out = std::move(pairs);
    return {};
}

} // namespace encsync::config
