// SPDX-License-Identifier: ISC
#include "cli/live_check.hpp"
#include "cli/verbs.hpp"
#include "config/config.hpp"

#include <boost/json/value_from.hpp>
#include <cstdio>
#include <fmt/format.h>

namespace encsync::cli {

int check(const Options& options, const std::string& file, bool live) {
    const std::string path = file.empty() ? options.config : file;
    const config::Loaded loaded = config::load(path);
    std::vector<std::string> faults;
    if (live && loaded.config)
        faults = check_live(*loaded.config, options.run_dir);
    const bool good = loaded.config && faults.empty();
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
        boost::json::object report{
            {"file", path}, {"ok", good}, {"diagnostics", std::move(diagnostics)}};
        if (live)
            report["live"] = boost::json::value_from(faults);
        print_json(report);
        return good ? 0 : 1;
    }
    std::fputs(config::render(loaded.diagnostics).c_str(), stderr);
    for (const std::string& fault : faults)
        fmt::print(stderr, "{}\n", fault);
    if (!loaded.config)
        return fail(fmt::format("{}: not usable", path));
    if (!good)
        return fail(fmt::format("{}: not usable on this machine", path));
    const std::size_t peers = loaded.config->conns.size();
    fmt::print("{}: good; node {}, {}\n", path, loaded.config->setup.node,
               peers == 0   ? "no peer: nothing is kept in step with anybody"
               : peers == 1 ? "1 peer"
                            : fmt::format("{} peers", peers));
    return 0;
}

} // namespace encsync::cli
