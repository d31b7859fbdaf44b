// SPDX-License-Identifier: ISC
#include "cli/verbs.hpp"
#include "config/config.hpp"
#include "export/export.hpp"

#include <algorithm>
#include <boost/json/value_from.hpp>
#include <cstdio>
#include <fmt/format.h>

namespace encsync::cli {

int export_config(const Options& options, const ExportTarget& target) {
    const config::Loaded loaded = config::load(options.config);
    if (!loaded.config)
        return fail(fmt::format("{}: has errors; 'encsync check' lists them", options.config));
    const auto& conns = loaded.config->conns;
    const auto conn = std::ranges::find(conns, target.peer, &config::Conn::name);
    if (conn == conns.end())
        return fail(fmt::format("no peer {}", target.peer));
    const auto there = exporter::export_config(target.system, loaded.config->setup, *conn,
                                               {.interface = target.interface});
    if (!there)
        return fail(there.error().text);
    if (options.json)
        return print_json(
            {{"text", there->text}, {"notes", boost::json::value_from(there->notes)}});
    std::fputs(there->text.c_str(), stdout);
    for (const std::string& note : there->notes)
        fmt::print(stderr, "note: {}\n", note);
    return 0;
}

} // namespace encsync::cli
