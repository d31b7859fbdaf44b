// SPDX-License-Identifier: ISC
#include "metrics/exposition.hpp"

#include <fmt/format.h>
#include <utility>

namespace encsync::metrics {

namespace {

constexpr std::string_view kPrefix = "encsync_";

void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text)
        if (c == '\n')
            out += "\\n";
        else if (c == '\\' || c == '"')
            out.append({'\\', c});
        else
            out += c;
}

double seconds(std::chrono::nanoseconds duration) {
    return std::chrono::duration<double>(duration).count();
}

// "1.0" where a reader may take "1" and "1.0" for two bounds.
std::string bound(std::chrono::milliseconds duration) {
    std::string text = fmt::format("{}", seconds(duration));
    return text.find('.') == text.npos ? text + ".0" : text;
}

bool says_unit(std::string_view name, std::string_view unit) {
    return !unit.empty() && name.size() > unit.size() && name.ends_with(unit) &&
           name[name.size() - unit.size() - 1] == '_';
}

} // namespace

std::string_view content_type(Format format) {
    return format == Format::openmetrics
               ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
               : "text/plain; version=0.0.4; charset=utf-8";
}

std::string_view to_string(Type type) {
    switch (type) {
    case Type::counter:
        return "counter";
    case Type::gauge:
        return "gauge";
    case Type::histogram:
        break;
    }
    return "histogram";
}

std::string sample_name(const Family& family) {
    return fmt::format("{}{}{}", kPrefix, family.name,
                       family.type == Type::counter ? "_total" : "");
}

std::string& Exposition::samples_of(const Family& family) {
    const auto [place, fresh] = places_.try_emplace(family.name, blocks_.size());
    if (fresh)
        blocks_.emplace_back(family.name, Block{family.type, family.unit, family.help, {}});
    return blocks_[place->second].second.samples;
}

void Exposition::sample(const Family& family, std::string_view suffix, Labels labels,
                        const Label* last, std::string_view value) {
    std::string& out = samples_of(family);
    out.append(kPrefix).append(family.name).append(suffix);
    char before = '{';
    const auto append = [&](const Label& label) {
        out += std::exchange(before, ',');
        out.append(label.name).append("=\"");
        append_escaped(out, label.value);
        out += '"';
    };
    for (const Label& label : labels)
        append(label);
    if (last != nullptr)
        append(*last);
    if (before == ',')
        out += '}';
    out.append(" ").append(value).append("\n");
}

void Exposition::add(const Family& family, Labels labels, std::uint64_t value) {
    sample(family, family.type == Type::counter ? "_total" : "", labels, nullptr,
           fmt::format("{}", value));
}

void Exposition::add(const Family& family, Labels labels, double value) {
    sample(family, "", labels, nullptr, fmt::format("{}", value));
}

void Exposition::add(const Family& family, Labels labels, const Histogram& histogram) {
    std::uint64_t below = 0;
    for (std::size_t n = 0; n < histogram.counts().size(); n++) {
        below += histogram.counts()[n];
        const std::string le =
            n < Histogram::kBounds.size() ? bound(Histogram::kBounds[n]) : "+Inf";
        const Label last{"le", le};
        sample(family, "_bucket", labels, &last, fmt::format("{}", below));
    }
    sample(family, "_sum", labels, nullptr, fmt::format("{}", seconds(histogram.sum())));
    sample(family, "_count", labels, nullptr, fmt::format("{}", below));
}

std::string Exposition::text(Format format) const {
    std::string out;
    const bool open = format == Format::openmetrics;
    for (const auto& [name, block] : blocks_) {
        // The older format has no names of families, so they are those of their samples.
        const std::string_view suffix = !open && block.type == Type::counter ? "_total" : "";
        const auto comment = [&](std::string_view what) {
            out.append("# ").append(what).append(" ");
            out.append(kPrefix).append(name).append(suffix).append(" ");
        };
        comment("TYPE");
        out.append(to_string(block.type)).append("\n");
        if (open && says_unit(name, block.unit)) {
            comment("UNIT");
            out.append(block.unit).append("\n");
        }
        comment("HELP");
        append_escaped(out, block.help);
        out.append("\n").append(block.samples);
    }
    if (open)
        out += "# EOF\n";
    return out;
}

} // namespace encsync::metrics
