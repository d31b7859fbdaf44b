// SPDX-License-Identifier: ISC
// Makes the table that the configuration names.
//
//     auto table = make_table("conntrack", io, options);    // the error says what is missing
//     (*table)->start(engine);
//
// To add a backend: its folder, its line in factory.cpp, and its value of the option `table`.
#pragma once

#include "table/filter.hpp"
#include "table/table.hpp"
#include "util/result.hpp"

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string_view>

namespace encsync::table {

// Each backend uses the options it knows.
struct TableOptions {
    FilterOptions filter;
    std::chrono::seconds sweep{60}; // interval of dumps that find changes without events
};

// `backend`: a value of the option `table`. The error: no such backend, or what is missing.
Result<std::unique_ptr<Table>> make_table(std::string_view backend, boost::asio::io_context& io,
                                          TableOptions options);
// The capabilities it will have; none for an unknown backend.
Capabilities capabilities_of(std::string_view backend);

} // namespace encsync::table
