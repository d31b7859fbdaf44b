// SPDX-License-Identifier: ISC
// Fields of encsyncd's answers. One that is missing or of another type, from a daemon of another
// version, is nothing.
//
//     if (truth(status, "ready").value_or(false)) ...
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <optional>
#include <string_view>

namespace encsync::cli {

const boost::json::value* member(const boost::json::value& object, std::string_view name);
std::optional<std::uint64_t> number(const boost::json::value& object, std::string_view name);
std::optional<double> real(const boost::json::value& object, std::string_view name);
std::optional<bool> truth(const boost::json::value& object, std::string_view name);
// The items of an array, or none.
const boost::json::array& array_of(const boost::json::value& value);
const boost::json::array& array_of(const boost::json::value& object, std::string_view name);
// The peer of that name, as clean() shows it, in a status; null: there is none.
const boost::json::value* peer_of(const boost::json::value& status, std::string_view name);

} // namespace encsync::cli
