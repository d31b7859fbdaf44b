// SPDX-License-Identifier: ISC
#include "export/systems.hpp"

#include <algorithm>
#include <array>

namespace encsync::exporter {

namespace {

struct Named {
    std::string_view name;
    System* make;
};
constexpr std::array kSystems = {Named{"openbsd", openbsd}, Named{"freebsd", freebsd},
                                 Named{"opnsense", opnsense}, Named{"strongswan", strongswan}};

} // namespace

std::vector<std::string> system_names() {
    std::vector<std::string> names;
    std::ranges::transform(kSystems, std::back_inserter(names),
                           [](const Named& each) { return std::string(each.name); });
    return names;
}

Result<Exported> export_config(std::string_view system, const config::Setup& setup,
                               const config::Conn& conn, const There& there) {
    const auto* found = std::ranges::find(kSystems, system, &Named::name);
    if (found == kSystems.end())
        return Error{fmt::format("there is no system '{}' to export to", system)};
    auto made = found->make({setup, conn, there});
    if (!made)
        return Error{fmt::format("conn {}: {}", conn.name, made.error().text)};
    return made;
}

} // namespace encsync::exporter
