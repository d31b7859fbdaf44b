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
    LiveFindings found;
    if (live && loaded.config)
        found = check_live(*loaded.config, options.run_dir);
    const bool usable = loaded.config && found.faults.empty();
    const bool good = usable && found.ages.empty();
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
        if (live) {
            report["live"] = boost::json::value_from(found.faults);
            report["ages"] = boost::json::value_from(found.ages);
        }
        print_json(report);
        return good ? 0 : 1;
    }
    std::fputs(config::render(loaded.diagnostics).c_str(), stderr);
    for (const auto& sentences : {found.faults, found.ages})
        for (const std::string& sentence : sentences)
            fmt::print(stderr, "{}\n", sentence);
    if (!loaded.config)
        return fail(fmt::format("{}: not usable", path));
    if (!usable)
        return fail(fmt::format("{}: not usable on this machine", path));
    if (!good)
        return fail(fmt::format("{}: usable, but not for long", path));
    const std::size_t peers = loaded.config->conns.size();
    fmt::print("{}: good; node {}, {}\n", path, loaded.config->setup.node,
               peers == 0   ? "no peer: nothing is kept in step with anybody"
               : peers == 1 ? "1 peer"
                            : fmt::format("{} peers", peers));
    return 0;
}

} // namespace encsync::cli
