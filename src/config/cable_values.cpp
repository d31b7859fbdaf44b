// SPDX-License-Identifier: ISC
// The values that only cables have: lists of who may speak on them.
#include "config/text.hpp"
#include "config/values.hpp"
#include "net/pfsync_group.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::config {

namespace {

// `read` reads one item of a list whose items must differ.
template<class Item, class Read>
Verdict read_list(std::string_view text, std::string_view what, Read read, std::vector<Item>& out) {
    std::vector<Item> items;
    for (const std::string_view word : list_items(text)) {
        const auto offset = static_cast<std::size_t>(word.data() - text.data());
        if (word.empty())
            return Problem{fmt::format("{} is missing beside the comma", what),
                           std::min(offset, text.size() - 1),
                           {}};
        Item item;
        if (Verdict problem = read(word, item)) {
            problem->offset += offset;
            return problem;
        }
        if (std::ranges::find(items, item) != items.end())
            return Problem{fmt::format("{} is there twice", to_string(item)), offset, {}};
        if (items.size() == kMaxSpeakers)
            return Problem{fmt::format("{} are the most", kMaxSpeakers), offset, {}};
        items.push_back(std::move(item));
    }
    out = std::move(items);
    return {};
}

Verdict read_mac(std::string_view text, net::Mac& out) {
    const auto mac = net::parse_mac(text);
    if (!mac)
        return Problem{fmt::format("'{}' is no MAC address", text), 0, "write 52:54:00:12:34:56"};
    if (mac->is_zero())
        return Problem{"the zero address is nobody's", 0, {}};
    if (mac->is_group())
        return Problem{"this is a multicast or broadcast address, from which nobody sends", 0, {}};
    out = *mac;
    return {};
}

} // namespace

Verdict read_right(std::string_view text, Address& out) {
    if (text != "%multicast")
        return read_address(text, out);
    out = {net::kPfsyncGroup, {}};
    return {};
}

Verdict read_addresses(std::string_view text, std::vector<Address>& out) {
    return read_list(text, "an address", read_address, out);
}

Verdict read_macs(std::string_view text, std::vector<net::Mac>& out) {
    return read_list(text, "a MAC address", read_mac, out);
}

} // namespace encsync::config
