// SPDX-License-Identifier: ISC
#include "cli/verbs.hpp"
#include "import/import.hpp"
#include "import/render.hpp"
#include "util/fd.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace encsync::cli {

namespace {

// One byte more than is allowed is enough to refuse it.
Result<std::string> read_all(int fd) {
    std::string text;
    char buffer[16384];
    while (text.size() <= importer::kMaxXml) {
        const ssize_t size = ::read(fd, buffer, sizeof buffer);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return Error{std::strerror(errno)};
        if (size == 0)
            break;
        text.append(buffer, static_cast<std::size_t>(size));
    }
    return text;
}

Result<std::string> read_file(const std::string& path) {
    if (path == "-")
        return read_all(STDIN_FILENO);
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    return fd ? read_all(fd.get()) : Error{std::strerror(errno)};
}

// Line by line, so that `jq -r .config[]` prints the file.
boost::json::array lines(std::string_view text) {
    boost::json::array out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        out.emplace_back(text.substr(at, end - at));
        at = end + 1;
    }
    return out;
}

} // namespace

int import_config(const Options& options, const ImportSource& source) {
    const std::string name = source.file == "-" ? "standard input" : source.file;
    std::vector<config::Address> lefts;
    for (const std::string& left : source.lefts) {
        const auto problem = left.empty() ? config::Verdict(config::Problem{"it is empty", 0, {}})
                                          : config::read_address(left, lefts.emplace_back());
        if (problem)
            return fail(fmt::format("--left {}: {}", left, problem->message));
    }
    const auto text = read_file(source.file);
    if (!text)
        return fail(fmt::format("{}: {}", name, text.error().text));
    const auto found =
        importer::import_config(name, *text, importer::format_named(source.format), lefts);
    if (!found)
        return fail(found.error().text);
    const std::string config = importer::render_config(*found, name);
    if (!options.json) {
        std::fputs(config.c_str(), stdout);
        std::fputs(importer::render_notes(*found, name).c_str(), stderr);
        return 0;
    }
    boost::json::array notes;
    for (const importer::Note& note : found->notes)
        notes.push_back({{"line", note.line}, {"what", note.what}, {"advice", note.advice}});
    return print_json({{"file", name},
                       {"complete", found->complete()},
                       {"config", lines(config)},
                       {"notes", std::move(notes)}});
}

} // namespace encsync::cli
