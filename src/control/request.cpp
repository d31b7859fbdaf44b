// SPDX-License-Identifier: ISC
#include "control/request.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::control {

namespace {

constexpr Field kStates[] = {{.name = "filter"}};
constexpr Field kRole[] = {{.name = "role", .choices = "active|standby|auto"},
                           {.name = "order"}, // control/role_order.hpp; default: now
                           {.name = "reason"}};
constexpr Field kMetrics[] = {{.name = "format", .choices = "openmetrics|prometheus"}};
constexpr Field kTalkers[] = {{.name = "by", .choices = "source|destination|service"}};
constexpr Field kPeer[] = {{.name = "peer"}};

constexpr Command kCommands[] = {
    {.name = "status", .fields = {}},
    {.name = "peers", .fields = {}},
    {.name = "sas", .fields = {}},
    {.name = "states", .fields = kStates, .stream = true},
    {.name = "talkers", .fields = kTalkers, .stream = true}, // default: by source
    {.name = "role", .fields = kRole}, // without a role: returns the current one
    {.name = "bulk", .fields = kPeer}, // without a peer: all
    {.name = "flush", .fields = kPeer},
    {.name = "metrics", .fields = kMetrics}, // without a format: openmetrics
    {.name = "policy", .fields = {}},
    {.name = "policy-verify", .fields = {}},
    {.name = "rekey", .fields = kPeer},      // without a peer: all
    {.name = "rotate-ppk", .fields = kPeer}, // without a peer: all
    {.name = "reload-keys", .fields = {}},
    {.name = "reload", .fields = {}},
};

// Names from the request are sent back and shown on a terminal, so only safe ones are allowed.
std::string quoted(std::string_view name) {
    const auto harmless = [](char c) { return c > ' ' && c < 127 && c != '\''; };
    if (name.empty() || name.size() > 40 || !std::ranges::all_of(name, harmless))
        return {};
    return fmt::format(" '{}'", name);
}

bool is_choice(std::string_view choices, std::string_view value) {
    while (!choices.empty()) {
        const auto bar = std::min(choices.find('|'), choices.size());
        if (choices.substr(0, bar) == value)
            return true;
        choices.remove_prefix(std::min(bar + 1, choices.size()));
    }
    return false;
}

Refused refuse(Refusal reason, std::string text) {
    return {reason, std::move(text)};
}

} // namespace

const char* to_string(Refusal refusal) {
    switch (refusal) {
    case Refusal::too_long:
        return "too_long";
    case Refusal::bad_json:
        return "bad_json";
    case Refusal::not_object:
        return "not_object";
    case Refusal::no_command:
        return "no_command";
    case Refusal::unknown_command:
        return "unknown_command";
    case Refusal::unknown_field:
        return "unknown_field";
    case Refusal::wrong_type:
        return "wrong_type";
    case Refusal::bad_value:
        return "bad_value";
    case Refusal::not_permitted:
        return "not_permitted";
    case Refusal::too_many:
        return "too_many";
    case Refusal::failed:
        return "failed";
    }
    return "unknown";
}

std::span<const Command> commands() {
    return kCommands;
}

const Command* find_command(std::string_view name) {
    const auto* row = std::ranges::find(kCommands, name, &Command::name);
    return row == std::end(kCommands) ? nullptr : row;
}

std::variant<Request, Refused> parse_request(std::string_view line) {
    if (line.size() > kMaxRequest)
        return refuse(Refusal::too_long,
                      fmt::format("a request longer than {} bytes", kMaxRequest));
    boost::json::error_code error;
    boost::json::value value = boost::json::parse({line.data(), line.size()}, error);
    if (error)
        return refuse(Refusal::bad_json, fmt::format("not JSON: {}", error.message()));
    boost::json::object* object = value.if_object();
    if (!object)
        return refuse(Refusal::not_object, "a request is a JSON object");
    const boost::json::value* name = object->if_contains("command");
    if (!name || !name->is_string())
        return refuse(Refusal::no_command, "a request has a text field 'command'");
    const Command* command = find_command(name->get_string());
    if (!command)
        return refuse(Refusal::unknown_command,
                      fmt::format("unknown command{}", quoted(name->get_string())));
    for (const auto& [key, content] : *object) {
        if (key == "command")
            continue;
        const auto field = std::ranges::find(command->fields, std::string_view(key), &Field::name);
        if (field == command->fields.end())
            return refuse(Refusal::unknown_field,
                          fmt::format("{}: unknown field{}", command->name, quoted(key)));
        const boost::json::string* given = content.if_string();
        if (!given)
            return refuse(Refusal::wrong_type,
                          fmt::format("{}: '{}' must be a text", command->name, field->name));
        const auto printable = [](char c) { return (c >= ' ' || c < 0) && c != 127; };
        if (given->size() > kMaxText || !std::ranges::all_of(*given, printable))
            return refuse(Refusal::bad_value,
                          fmt::format("{}: '{}' has control characters or more than {} bytes",
                                      command->name, field->name, kMaxText));
        if (!field->choices.empty() && !is_choice(field->choices, *given))
            return refuse(Refusal::bad_value,
                          fmt::format("{}: '{}' must be one of {}", command->name, field->name,
                                      field->choices));
    }
    return Request{command, std::move(*object)};
}

std::string_view text(const boost::json::value& object, std::string_view name) {
    const auto* fields = object.if_object();
    return fields ? text(*fields, name) : std::string_view();
}

std::string_view text(const boost::json::object& fields, std::string_view name) {
    const auto* value = fields.if_contains({name.data(), name.size()});
    const auto* string = value ? value->if_string() : nullptr;
    return string ? std::string_view(*string) : std::string_view();
}

} // namespace encsync::control
