// SPDX-License-Identifier: ISC
#include "import/import.hpp"

#include "config/text.hpp"
#include "import/readers.hpp"
#include "import/shell_words.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace encsync::importer {

namespace {

struct Known {
    std::string_view name;
    Format format;
    std::string_view about;
};

constexpr std::array kFormats = {
    Known{"openbsd", Format::openbsd, "hostname.pfsync0"},
    Known{"freebsd", Format::freebsd, "rc.conf"},
    Known{"ifconfig", Format::ifconfig, "ifconfig commands or output"},
    Known{"opnsense", Format::opnsense, "config.xml"},
    Known{"pfsense", Format::pfsense, "config.xml"},
    Known{"conntrackd", Format::conntrackd, "conntrackd.conf"},
};

constexpr std::size_t kStart = 64 * 1024; // bytes in which the format shows
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// The outermost element of XML, behind its declaration and comments.
std::optional<Format> xml_format(std::string_view text) {
    const std::string_view start = text.substr(0, kStart);
    for (std::size_t at = start.find('<'); at != std::string_view::npos;
         at = start.find('<', at + 1)) {
        const std::string_view rest = start.substr(at + 1);
        if (rest.starts_with("opnsense>") || rest.starts_with("opnsense "))
            return Format::opnsense;
        if (rest.starts_with("pfsense>") || rest.starts_with("pfsense "))
            return Format::pfsense;
        if (rest.starts_with('?') || rest.starts_with('!'))
            continue;
        return {};
    }
    return {};
}

// By the first line that says what it is.
std::optional<Format> line_format(std::string_view text) {
    constexpr std::array<std::string_view, 6> kSections = {
        "Sync", "General", "Stats", "Helper", "IgnoreProtocol", "IgnoreTrafficFor"};
    constexpr std::array<std::string_view, 6> kArguments = {"syncdev", "syncpeer", "syncif",
                                                            "maxupd",  "defer",    "-defer"};
    const auto among = [](const auto& names, std::string_view word) {
        return std::find(names.begin(), names.end(), word) != names.end();
    };
    for (const Line& line : plain_lines(text)) {
        const std::string& first = line.words.front().text;
        if (first.starts_with('#'))
            continue;
        if (among(kSections, std::string_view(first).substr(0, first.find('{'))))
            return Format::conntrackd;
        if (first.starts_with("pfsync_") || first.starts_with("ifconfig_"))
            return Format::freebsd;
        if (line.words.size() > 1 && line.words[1].text.starts_with("flags="))
            return Format::ifconfig;
        for (const Word& word : line.words) {
            if (word.text.ends_with("ifconfig")) // maybe behind a prompt and sudo
                return Format::ifconfig;
            if (among(kArguments, word.text))
                return Format::openbsd;
        }
    }
    return {};
}

std::string formats() {
    std::string out;
    for (const Known& each : kFormats)
        out += fmt::format("{}{} ({})", out.empty() ? "" : ", ", each.name, each.about);
    return out;
}

Result<void> read(std::string_view text, Format format, Migration& found) {
    switch (format) {
    case Format::openbsd:
        return read_openbsd(text, found);
    case Format::freebsd:
        return read_freebsd(text, found);
    case Format::ifconfig:
        return read_ifconfig(text, found);
    case Format::opnsense:
        return read_config_xml(text, "opnsense", found);
    case Format::pfsense:
        return read_config_xml(text, "pfsense", found);
    case Format::conntrackd:
        return read_conntrackd(text, found);
    }
    return fault(0, "unknown format");
}

} // namespace

std::vector<std::string> format_names() {
    std::vector<std::string> out(kFormats.size());
    std::transform(kFormats.begin(), kFormats.end(), out.begin(),
                   [](const Known& each) { return std::string(each.name); });
    return out;
}

std::optional<Format> format_named(std::string_view name) {
    for (const Known& each : kFormats)
        if (each.name == name)
            return each.format;
    return {};
}

std::optional<Format> detect(std::string_view file, std::string_view text) {
    const std::string_view name = file.substr(file.rfind('/') + 1);
    if (name.starts_with("hostname."))
        return Format::openbsd;
    if (name.starts_with("rc.conf") || file.find("/rc.conf.d/") != std::string_view::npos)
        return Format::freebsd;
    if (name == "conntrackd.conf")
        return Format::conntrackd;
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first != std::string_view::npos && text[first] == '<')
        return xml_format(text);
    return line_format(text.substr(0, kStart));
}

Result<Migration> import_config(std::string_view file, std::string_view text,
                                std::optional<Format> format,
                                const std::vector<config::Address>& lefts) {
    const auto refused = [&](const Error& error) {
        return Error{config::printable(fmt::format("{}:{}", file, error.text))};
    };
    if (text.size() > kMaxXml)
        return refused(fault(0, fmt::format("it has more than {} bytes", kMaxXml)));
    if (const std::size_t at = text.find('\0'); at != std::string_view::npos)
        return refused(fault(static_cast<unsigned>(std::count(
                                 text.begin(), text.begin() + static_cast<long>(at), '\n')) +
                                 1,
                             "a NUL byte: it is no text in UTF-8"));
    if (text.starts_with(kByteOrderMark))
        text.remove_prefix(kByteOrderMark.size());
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
        return refused(fault(0, "it is empty"));
    if (!format)
        format = detect(file, text);
    if (!format)
        return refused(fault(
            0, fmt::format("the format is not known; use --format with one of: {}", formats())));
    const bool xml = *format == Format::opnsense || *format == Format::pfsense;
    if (!xml && text.size() > kMaxText)
        return refused(fault(0, fmt::format("it has more than {} bytes", kMaxText)));
    Migration found;
    if (const auto done = read(text, *format, found); !done)
        return refused(done.error());
    found.finish(lefts);
    return found;
}

} // namespace encsync::importer
