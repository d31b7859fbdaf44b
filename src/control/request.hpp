// SPDX-License-Identifier: ISC
// The requests on the control socket, and their parser.
//
//     auto parsed = control::parse_request(R"({"command":"bulk","peer":"minnie"})");
//     if (auto* refused = std::get_if<control::Refused>(&parsed)) ...
//
// A request is one JSON object (RFC 8259) on one line, at most 64 KiB. Its "command" is a row of
// the table in request.cpp; its other fields are those of that row and no others, each of its type.
// The receiver of a Request need not check any of that again.
#pragma once

#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace encsync::control {

inline constexpr std::size_t kMaxRequest = 65536; // bytes, without the line end
inline constexpr std::size_t kMaxText = 1024;     // bytes of a text field

// Why something was refused. One counter each, by its name (to_string).
enum class Refusal : std::uint8_t {
    too_long,        // no line end within kMaxRequest
    bad_json,        // not JSON, or deeper than 32 levels
    not_object,      // JSON, but no object
    no_command,      // no text field "command"
    unknown_command, // not in the table, or not offered by this daemon
    unknown_field,   // a field that this command does not have
    wrong_type,      // not of the field's type
    bad_value,       // of the type, but not among the values
    not_permitted,   // the asking process is neither root's nor ours
    too_many,        // connections
    failed,          // valid, but the daemon could not do it
};
inline constexpr std::size_t kRefusals = 11;
const char* to_string(Refusal refusal);

// Every field is a text, and may be left out.
struct Field {
    std::string_view name;
    std::string_view choices = {}; // "a|b|c"; empty: any text without control characters
};

struct Command {
    std::string_view name;
    std::span<const Field> fields;
    bool stream = false; // the answer is many items
};

// All commands.
std::span<const Command> commands();
const Command* find_command(std::string_view name);

struct Request {
    const Command* command = nullptr;
    boost::json::object fields; // "command" among them
};

struct Refused {
    Refusal reason = Refusal::bad_json;
    std::string text; // one line for a person
};

std::variant<Request, Refused> parse_request(std::string_view line);

// The value of a text field: empty if it is not there.
std::string_view text(const boost::json::object& fields, std::string_view name);
std::string_view text(const boost::json::value& object, std::string_view name);

} // namespace encsync::control
