// SPDX-License-Identifier: ISC
#include "config/grammar.hpp"
#include "config/text.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <tuple>

namespace encsync::config {

std::string_view SourceFile::line(unsigned number) const {
    if (number == 0 || number > line_starts.size())
        return {};
    const std::size_t start = line_starts[number - 1];
    std::string_view found = std::string_view(text).substr(start);
    found = found.substr(0, found.find('\n'));
    if (!found.empty() && found.back() == '\r')
        found.remove_suffix(1);
    return found;
}

std::string describe(const Place& place, const Place& seen_from) {
    if (place.file == seen_from.file)
        return fmt::format("line {}", place.line);
    return fmt::format("{} line {}", printable(place.file->name), place.line);
}

void Report::error(const Place& place, const std::string& message, const std::string& hint) {
    errors_ = true;
    add(place, Severity::error, message, hint);
}

void Report::warning(const Place& place, const std::string& message, const std::string& hint) {
    add(place, Severity::warning, message, hint);
}

void Report::add(const Place& place, Severity severity, const std::string& message,
                 const std::string& hint) {
    if (entries_.size() == kMaxDiagnostics) {
        dropped_++;
        return;
    }
    Diagnostic d;
    d.severity = severity;
    d.file = printable(place.file->name);
    d.message = printable(message);
    d.hint = printable(hint);
    d.line = place.line;
    if (place.line > 0) {
        const std::string_view line = place.file->line(place.line);
        constexpr std::size_t kShown = 60; // of a line that is too long
        if (line.size() > kMaxLineSize)
            d.source_line = printable(line.substr(0, kShown)) + "...";
        else
            d.source_line = printable(line);
        d.column = static_cast<unsigned>(1 + characters(printable(line.substr(0, place.offset))));
    }
    const auto same = [&](const Entry& other) {
        return other.file == place.file->index && other.diagnostic.line == d.line &&
               other.diagnostic.column == d.column && other.diagnostic.message == d.message;
    };
    // A setting of %default applies to every conn, but its error is reported once.
    if (std::none_of(entries_.begin(), entries_.end(), same))
        entries_.push_back({place.file->index, std::move(d)});
}

std::vector<Diagnostic> Report::finish() {
    const auto order = [](const Entry& e) {
        return std::tuple(e.file, e.diagnostic.line, e.diagnostic.column);
    };
    std::stable_sort(entries_.begin(), entries_.end(),
                     [&](const Entry& a, const Entry& b) { return order(a) < order(b); });
    std::vector<Diagnostic> out;
    for (Entry& entry : entries_)
        out.push_back(std::move(entry.diagnostic));
    if (dropped_ > 0) {
        Diagnostic last;
        last.file = out.front().file;
        last.severity = errors_ ? Severity::error : Severity::warning;
        last.message = fmt::format("{} more like these are not shown", dropped_);
        out.push_back(std::move(last));
    }
    return out;
}

} // namespace encsync::config
