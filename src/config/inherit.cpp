// SPDX-License-Identifier: ISC
#include "config/inherit.hpp"

#include "config/text.hpp"

#include <algorithm>
#include <deque>
#include <fmt/core.h>
#include <set>

namespace encsync::config {

const Section* find_conn(const Document& document, std::string_view name) {
    for (const Section& section : document.sections)
        if (section.kind == SectionKind::conn && section.name == name)
            return &section;
    return nullptr;
}

Inheritance::Inheritance(const Document& document, Report& report) : document_(document) {
    for (const Section& section : document.sections)
        check(section, report);
    for (const Section& section : document.sections)
        check_loop(section, report);
}

void Inheritance::check(const Section& section, Report& report) {
    auto& parents = parents_[&section];
    for (const Entry& entry : section.entries) {
        if (entry.key != "also" || entry.broken)
            continue;
        const Section* parent = find_conn(document_, entry.value);
        const auto same = std::find_if(parents.begin(), parents.end(),
                                       [&](const auto& known) { return known.first == parent; });
        if (section.kind == SectionKind::setup) {
            report.error(entry.key_at, "'also' has no place in 'config setup'");
        } else if (section.name == "%default") {
            report.error(entry.key_at, "'also' has no place in 'conn %default'");
        } else if (entry.value == "%default") {
            report.error(entry.value_at, "every conn inherits from %default; leave this out");
        } else if (!parent) {
            std::vector<std::string_view> names;
            for (const Section& other : document_.sections)
                if (other.kind == SectionKind::conn && other.name != "%default" &&
                    other.name != section.name)
                    names.push_back(other.name);
            report.error(entry.value_at, fmt::format("there is no conn '{}'", entry.value),
                         did_you_mean(nearest(entry.value, names)));
        } else if (same != parents.end()) {
            report.error(entry.key_at, fmt::format("'also={}' is already there on {}", entry.value,
                                                   describe(same->second->key_at, entry.key_at)));
        } else {
            parents.emplace_back(parent, &entry);
        }
    }
}

// Searches the shortest path from a section back to itself, so that a loop is reported at each of
// its own lines, but not at a conn that only leads into it.
void Inheritance::check_loop(const Section& section, Report& report) {
    std::map<const Section*, std::pair<const Section*, const Entry*>> came_from;
    std::deque<const Section*> next = {&section};
    while (!next.empty()) {
        const Section* current = next.front();
        next.pop_front();
        for (const auto& [parent, entry] : parents_[current]) {
            if (!came_from.emplace(parent, std::pair(current, entry)).second)
                continue;
            if (parent != &section) {
                next.push_back(parent);
                continue;
            }
            std::string names(section.name);
            const Entry* first = entry;
            for (const Section* step = current;; step = came_from[step].first) {
                names = fmt::format("{} -> {}", step->name, names);
                if (step == &section)
                    break;
                first = came_from[step].second;
            }
            report.error(first->value_at, fmt::format("also is a loop: {}", names));
            loops_ = true;
            return;
        }
    }
}

const std::vector<const Section*>& Inheritance::ancestors(const Section& section) {
    const auto [place, fresh] = ancestors_.try_emplace(&section);
    std::vector<const Section*>& result = place->second; // valid: a map does not move its nodes
    if (!fresh)
        return result;
    std::vector<const Section*> all;
    const auto& parents = parents_[&section];
    for (auto parent = parents.rbegin(); parent != parents.rend(); ++parent) {
        all.push_back(parent->first);
        const auto& more = ancestors(*parent->first);
        all.insert(all.end(), more.begin(), more.end());
    }
    std::set<const Section*> seen;
    for (auto each = all.rbegin(); each != all.rend(); ++each)
        if (seen.insert(*each).second)
            result.push_back(*each);
    std::reverse(result.begin(), result.end());
    return result;
}

std::vector<const Section*> Inheritance::order(const Section& section) {
    std::vector<const Section*> order = {&section};
    const auto& inherited = ancestors(section);
    order.insert(order.end(), inherited.begin(), inherited.end());
    if (const Section* defaults = find_conn(document_, "%default"))
        order.push_back(defaults);
    return order;
}

} // namespace encsync::config
