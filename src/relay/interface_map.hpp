// SPDX-License-Identifier: ISC
// Names of interfaces, and what the other end of a relay calls them.
//
//     InterfaceMap in;
//     in.add("em0", "lan");                     // as the firewall says it, as all sites do
//     const InterfaceMap out = in.reversed();   // for what goes to the firewall
//
// A few pairs, so they are searched one by one.
#pragma once

#include <algorithm>
#include <cassert>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::relay {

class InterfaceMap {
  public:
    static constexpr std::size_t kMaxName = 15; // bytes: IFNAMSIZ without the NUL

    // Each name once on its side; config/check.cpp sees to that.
    void add(std::string_view from, std::string_view to) {
        assert(from.size() <= kMaxName && to.size() <= kMaxName);
        pairs_.push_back({std::string(from), std::string(to)});
    }
    InterfaceMap reversed() const {
        InterfaceMap out;
        for (const Pair& pair : pairs_)
            out.add(pair.to, pair.from);
        return out;
    }
    bool empty() const { return pairs_.empty(); }
    // Null: not in the map.
    const std::string* find(std::string_view from) const {
        const auto found = std::ranges::find(pairs_, from, &Pair::from);
        return found == pairs_.end() ? nullptr : &found->to;
    }
    bool operator==(const InterfaceMap&) const = default;

  private:
    struct Pair {
        std::string from, to;
        bool operator==(const Pair&) const = default;
    };
    std::vector<Pair> pairs_;
};

} // namespace encsync::relay
