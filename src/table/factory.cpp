// SPDX-License-Identifier: ISC
#include "table/factory.hpp"

#include "table/conntrack/conntrack.hpp"
#include "table/memory/memory.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>

namespace encsync::table {

namespace {

using Made = Result<std::unique_ptr<Table>>;

Made make_conntrack(boost::asio::io_context& io, TableOptions&& options) {
    auto table = Conntrack::open(io, {.filter = std::move(options.filter), .sweep = options.sweep});
    if (!table)
        return table.error();
    return Made(std::move(*table));
}

Made make_memory(boost::asio::io_context&, TableOptions&&) {
    return Made(std::make_unique<Memory>());
}

struct Backend {
    std::string_view name;
    Capabilities capabilities;
    Made (*make)(boost::asio::io_context& io, TableOptions&& options);
};
constexpr std::array kBackends{
    Backend{"conntrack", Conntrack::kCapabilities, make_conntrack},
    Backend{"memory", Memory::kCapabilities, make_memory},
    Backend{"relay", Memory::kCapabilities, make_memory}, // empty: a relay keeps no states
};

const Backend* find(std::string_view name) {
    const auto at = std::ranges::find(kBackends, name, &Backend::name);
    return at == kBackends.end() ? nullptr : &*at;
}

} // namespace

Made make_table(std::string_view backend, boost::asio::io_context& io, TableOptions options) {
    const Backend* found = find(backend);
    if (found == nullptr)
        return Error{fmt::format("there is no table '{}'", backend)};
    return found->make(io, std::move(options));
}

Capabilities capabilities_of(std::string_view backend) {
    const Backend* found = find(backend);
    return found == nullptr ? Capabilities{} : found->capabilities;
}

} // namespace encsync::table
