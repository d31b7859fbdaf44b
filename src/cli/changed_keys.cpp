// SPDX-License-Identifier: ISC
#include "cli/changed_keys.hpp"

#include "cli/fingerprint.hpp"
#include "control/client.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::cli {

namespace json = boost::json;

Result<bool> reload_daemon(const Options& options) {
    auto client = control::Client::connect_if_running(options.run_dir);
    if (!client)
        return Error{fmt::format("the keys have changed, but encsyncd has not read them: {}",
                                 client.error().text)};
    if (!client->has_value())
        return false;
    if (auto reloaded = (*client)->call({{"command", "reload-keys"}}); !reloaded)
        return Error{fmt::format("the keys have changed, but encsyncd did not take them: {}",
                                 reloaded.error().text)};
    return true;
}

int reload_daemon(const Options& options, json::object changed) {
    const auto running = reload_daemon(options);
    if (!running)
        return fail(running.error().text);
    if (options.json) {
        changed["reloaded"] = *running;
        return print_json(changed);
    }
    if (*running)
        fmt::print("encsyncd has read the keys anew\n");
    else
        fmt::print("encsyncd is not running in {}; it reads the keys when it starts\n",
                   options.run_dir);
    return 0;
}

std::string no_conn_of(const std::string& peer) {
    return fmt::format("no conn has rightid={}, so it is not used", peer);
}

int report_credential(const Options& options, const std::string& peer, const std::string& text,
                      const std::function<std::string(const config::Conn* conn)>& why_not,
                      json::object changed) {
    std::string why;
    if (const config::Loaded loaded = config::load(options.config); loaded.config) {
        const auto& conns = loaded.config->conns;
        const auto conn = std::ranges::find(conns, peer, &config::Conn::rightid);
        why = why_not(conn == conns.end() ? nullptr : &*conn);
    }
    if (!options.json) {
        fmt::print("{}", text);
        if (!why.empty())
            fmt::print(stderr, "{}\n", why);
    }
    changed["peer"] = peer;
    changed["unused"] = why;
    return reload_daemon(options, std::move(changed));
}

int report_trusted(const Options& options, std::span<const keys::PublicKey> trusted,
                   std::size_t fresh, json::object more) {
    json::array list;
    for (const auto& key : trusted) {
        json::object shown = describe_fingerprint(key.key);
        shown["name"] = key.name;
        list.push_back(std::move(shown));
        if (!options.json)
            fmt::print("trusting {}  {}\n", key.name, keys::fingerprint(key.key));
    }
    more["trusted"] = std::move(list);
    more["new"] = fresh;
    if (fresh != 0)
        return reload_daemon(options, std::move(more));
    if (options.json)
        return print_json(more);
    fmt::print("that was so before; nothing has changed\n");
    return 0;
}

} // namespace encsync::cli
