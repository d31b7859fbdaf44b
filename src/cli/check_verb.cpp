// SPDX-License-Identifier: ISC
#include "cli/verbs.hpp"
#include "config/config.hpp"

#include <cstdio>
#include <fmt/format.h>

namespace encsync::cli {

int check(const Options& options, const std::string& file) {
    const std::string path = file.empty() ? options.config : file;
    const config::Loaded loaded = config::load(path);
    if (options.json) {
        boost::json::array diagnostics;
        for (const auto& d : loaded.diagnostics)
            diagnostics.push_back(
                {{"file", d.file},
                 {"line", d.line},
                 {"column", d.column},
                 {"severity", d.severity == config::Severity::error ? "error" : "warning"},
                 {"message", d.message},
                 {"hint", d.hint}});
        print_json({{"file", path},
                    {"ok", loaded.config.has_value()},
                    {"diagnostics", std::move(diagnostics)}});
    } else {
        std::fputs(config::render(loaded.diagnostics).c_str(), stderr);
    }
    if (!loaded.config)
        return options.json ? 1 : fail(fmt::format("{}: not usable", path));
    if (!options.json)
        fmt::print("{}: good; node {}, {} peer{}\n", path, loaded.config->setup.node,
                   loaded.config->conns.size(), loaded.config->conns.size() == 1 ? "" : "s");
    return 0;
}

} // namespace encsync::cli
