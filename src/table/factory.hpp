// SPDX-License-Identifier: ISC
// Makes the table that the configuration names.
//
//     auto table = make_table("conntrack", io, options);    // Result: says what is missing
//     (*table)->start(engine);
//
// To add a backend: its folder, its line in factory.cpp, and its word in the option `table`.
#pragma once

#include "table/filter.hpp"
#include "table/table.hpp"
#include "util/result.hpp"

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string_view>

namespace encsync::table {

// Each backend takes what it understands.
struct TableOptions {
    FilterOptions filter;
    std::chrono::seconds sweep{60}; // how often it looks for what it was not told of
};

// `backend`: a word of the option `table`. An error: there is no such backend, or what it lacks.
Result<std::unique_ptr<Table>> make_table(std::string_view backend, boost::asio::io_context& io,
                                          TableOptions options);
// Those that it will have; none of a backend that there is not.
Capabilities capabilities_of(std::string_view backend);

} // namespace encsync::table
