// SPDX-License-Identifier: ISC
#include "config/values.hpp"

#include "config/text.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/core.h>

namespace encsync::config {

namespace {

constexpr std::size_t kMaxName = 63;      // of a DNS label, as is usual for FQDN identities
constexpr std::size_t kMaxInterface = 15; // IFNAMSIZ - 1
constexpr std::size_t kMaxUser = 32;      // useradd(8)
constexpr std::size_t kMaxPath = 1024;    // leaves room for file names within PATH_MAX

bool letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool digit(char c) {
    return c >= '0' && c <= '9';
}
bool name_character(char c) {
    return letter(c) || digit(c) || c == '.' || c == '_' || c == '-';
}

// A decimal number without other characters; one too large for `out` saturates.
bool decimal(std::string_view text, std::uint32_t& out) {
    if (text.empty() || !std::all_of(text.begin(), text.end(), digit))
        return false;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc::result_out_of_range)
        out = UINT32_MAX;
    return true;
}

} // namespace

Verdict read_duration(std::string_view text, Limits limits, std::chrono::seconds& out) {
    std::uint64_t unit = 1;
    std::string_view number = text;
    if (!digit(text.back())) {
        switch (text.back()) {
        case 's':
            unit = 1;
            break;
        case 'm':
            unit = 60;
            break;
        case 'h':
            unit = 3600;
            break;
        case 'd':
            unit = 86400;
            break;
        default:
            unit = 0;
        }
        number.remove_suffix(1);
    }
    std::uint32_t count = 0;
    if (unit == 0 || !decimal(number, count))
        return Problem{fmt::format("'{}' is no duration", text), 0, "write 90, 90s, 5m, 4h or 1d"};
    const std::uint64_t seconds = count * unit;
    if (seconds < limits.min || seconds > limits.max)
        return Problem{fmt::format("'{}' is not from {} to {}", text,
                                   format_duration(std::chrono::seconds(limits.min)),
                                   format_duration(std::chrono::seconds(limits.max))),
                       0,
                       {}};
    out = std::chrono::seconds(seconds);
    return {};
}

Verdict read_duration(std::string_view text, Limits limits, std::chrono::milliseconds& out) {
    std::chrono::seconds seconds{};
    Verdict problem;
    std::uint32_t count = 0;
    if (text.ends_with("ms") && decimal(text.substr(0, text.size() - 2), count)) {
        // Rounded up to whole seconds for the limits; below 1 ms there is only 0.
        const std::uint64_t whole = (std::uint64_t{count} + 999) / 1000;
        problem = read_duration(std::to_string(whole), limits, seconds);
        if (!problem)
            out = std::chrono::milliseconds(count);
        else
            problem->message = fmt::format("'{}' is not from {} to {}", text,
                                           format_duration(std::chrono::seconds(limits.min)),
                                           format_duration(std::chrono::seconds(limits.max)));
        return problem;
    }
    problem = read_duration(text, limits, seconds);
    if (!problem)
        out = seconds;
    else if (!problem->hint.empty())
        problem->hint = "write 500ms, 2s or 1m";
    return problem;
}

std::string format_duration(std::chrono::seconds duration) {
    const auto seconds = duration.count();
    if (seconds != 0 && seconds % 86400 == 0)
        return fmt::format("{}d", seconds / 86400);
    if (seconds != 0 && seconds % 3600 == 0)
        return fmt::format("{}h", seconds / 3600);
    if (seconds != 0 && seconds % 60 == 0)
        return fmt::format("{}m", seconds / 60);
    return fmt::format("{}s", seconds);
}

Verdict read_number(std::string_view text, Limits limits, std::uint32_t& out) {
    std::uint32_t number = 0;
    if (!decimal(text, number))
        return Problem{fmt::format("'{}' is no number", text), 0, {}};
    if (number < limits.min || number > limits.max)
        return Problem{
            fmt::format("'{}' is not from {} to {}", text, limits.min, limits.max), 0, {}};
    out = number;
    return {};
}

Verdict read_word(std::string_view text, std::span<const Word> words, int& out) {
    std::vector<std::string_view> offered;
    std::string list;
    for (const Word& word : words) {
        if (word.text == text) {
            if (word.later)
                return Problem{fmt::format("'{}' is not supported yet", text), 0, {}};
            out = word.value;
            return {};
        }
        if (!word.later) {
            offered.push_back(word.text);
            list += fmt::format("{}{}", list.empty() ? "" : ", ", word.text);
        }
    }
    return Problem{fmt::format("'{}' is not one of: {}", text, list), 0,
                   did_you_mean(nearest(text, offered))};
}

Verdict read_name(std::string_view text, std::string& out) {
    if (text[0] == '@' || text[0] == '%')
        return Problem{
            fmt::format("'{}': a name is written as it is, without '{}'", text, text[0]), 0, {}};
    const auto wrong = std::find_if_not(text.begin(), text.end(), name_character);
    if (wrong != text.end())
        return Problem{fmt::format("a name has letters, digits, '.', '_' and '-' only"),
                       static_cast<std::size_t>(wrong - text.begin()),
                       {}};
    if (text == "." || text == "..")
        return Problem{fmt::format("'{}' cannot be a name", text), 0, {}};
    if (text.size() > kMaxName)
        return Problem{
            fmt::format("the name has {} characters; {} are the most", text.size(), kMaxName),
            0,
            {}};
    out = text;
    return {};
}

Verdict read_interface(std::string_view text, std::string& out) {
    const auto wrong = std::find_if_not(text.begin(), text.end(), name_character);
    if (wrong != text.end())
        return Problem{"an interface's name has letters, digits, '.', '_' and '-' only",
                       static_cast<std::size_t>(wrong - text.begin()),
                       {}};
    if (text.size() > kMaxInterface)
        return Problem{
            fmt::format("an interface's name has {} characters at most", kMaxInterface), 0, {}};
    if (text == "." || text == ".." || text == "lo" || text == "all" || text == "default")
        return Problem{fmt::format("'{}' cannot be the name of this interface", text), 0, {}};
    out = text;
    return {};
}

Verdict read_path(std::string_view text, std::string& out) {
    if (text[0] != '/')
        return Problem{fmt::format("'{}' is no absolute path", text), 0, "a path begins with '/'"};
    if (text.size() > kMaxPath)
        return Problem{
            fmt::format("the path has {} bytes; {} are the most", text.size(), kMaxPath), 0, {}};
    out = text;
    return {};
}

Verdict read_path_or_store(std::string_view text, std::string& out) {
    if (text == kStored) {
        out = text;
        return {};
    }
    Verdict problem = read_path(text, out);
    if (problem && text[0] != '/')
        problem = Problem{fmt::format("'{}' is neither an absolute path nor '{}'", text, kStored),
                          0, "a path begins with '/'"};
    return problem;
}

Verdict read_user(std::string_view text, std::string& out) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || digit(c) || c == '_' || c == '-';
    };
    const auto wrong = std::find_if_not(text.begin(), text.end(), allowed);
    if (wrong != text.end())
        return Problem{"a user's name has small letters, digits, '_' and '-' only",
                       static_cast<std::size_t>(wrong - text.begin()),
                       {}};
    if (digit(text[0]) || text[0] == '-')
        return Problem{"a user's name begins with a small letter or '_'", 0, {}};
    if (text.size() > kMaxUser)
        return Problem{fmt::format("a user's name has {} characters at most", kMaxUser), 0, {}};
    if (text == "root")
        return Problem{"charon does not run as root", 0, {}};
    if (text == "nobody")
        return Problem{"other programs run as 'nobody', too, and could kill charon", 0,
                       "give it a user of its own"};
    out = text;
    return {};
}

} // namespace encsync::config
