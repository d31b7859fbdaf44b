// SPDX-License-Identifier: ISC
#include "cli/fields.hpp"

#include "cli/render.hpp"
#include "control/request.hpp"

namespace encsync::cli {

namespace json = boost::json;

const json::value* member(const json::value& object, std::string_view name) {
    const auto* fields = object.if_object();
    return fields ? fields->if_contains({name.data(), name.size()}) : nullptr;
}

std::optional<std::uint64_t> number(const json::value& object, std::string_view name) {
    const auto* value = member(object, name);
    if (!value)
        return std::nullopt;
    if (value->is_uint64())
        return value->get_uint64();
    if (value->is_int64() && value->get_int64() >= 0)
        return static_cast<std::uint64_t>(value->get_int64());
    if (value->is_double() && value->get_double() >= 0 && value->get_double() < 1e18)
        return static_cast<std::uint64_t>(value->get_double());
    return std::nullopt;
}

std::optional<double> real(const json::value& object, std::string_view name) {
    const auto* value = member(object, name);
    return value && value->is_number() ? std::optional(value->to_number<double>()) : std::nullopt;
}

std::optional<bool> truth(const json::value& object, std::string_view name) {
    const auto* value = member(object, name);
    return value && value->is_bool() ? std::optional(value->get_bool()) : std::nullopt;
}

const json::array& array_of(const json::value& value) {
    static const json::array none;
    const auto* array = value.if_array();
    return array ? *array : none;
}

const json::array& array_of(const json::value& object, std::string_view name) {
    static const json::value none;
    const auto* value = member(object, name);
    return array_of(value ? *value : none);
}

const json::value* peer_of(const json::value& status, std::string_view name) {
    for (const json::value& peer : array_of(status, "peers"))
        if (clean(control::text(peer, "name")) == name)
            return &peer;
    return nullptr;
}

} // namespace encsync::cli
