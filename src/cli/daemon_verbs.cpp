// SPDX-License-Identifier: ISC
#include "cli/fields.hpp"
#include "cli/render.hpp"
#include "cli/verbs.hpp"
#include "control/client.hpp"
#include "control/request.hpp"

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <functional>
#include <unistd.h>

namespace encsync::cli {

namespace json = boost::json;
using control::Client;

Result<json::value> ask(const Options& options, const json::object& request) {
    auto client = Client::connect(options.run_dir);
    if (!client)
        return client.error();
    return client->call(request);
}

namespace {

// Sends a request, and prints the answer as JSON or as render() formats it.
int report(const Options& options, const json::object& request,
           std::string (*render)(const json::value&)) {
    auto answer = ask(options, request);
    if (!answer)
        return fail(answer.error().text);
    if (options.json)
        return print_json(*answer);
    return std::fputs(render(*answer).c_str(), stdout) < 0;
}

// A command to the daemon about one peer or all.
int command_peers(const Options& options, const char* command, const std::string& peer,
                  const char* what) {
    json::object request{{"command", command}};
    if (!peer.empty())
        request["peer"] = peer;
    auto answer = ask(options, request);
    if (!answer)
        return fail(answer.error().text);
    if (options.json)
        return print_json(*answer);
    std::string names;
    for (const json::value& name : array_of(*answer, "peers"))
        names += fmt::format("{}{}", names.empty() ? "" : ", ",
                             name.is_string() ? clean(name.get_string()) : "?");
    fmt::print("{}: {}\n", names.empty() ? "no peer" : names, what);
    return 0;
}

} // namespace

static bool json_errors = false;

void errors_as_json(bool json) {
    json_errors = json;
}

int fail(const std::string& text) {
    if (json_errors)
        fmt::print(stderr, "{}\n", json::serialize(json::object{{"error", text}}));
    else
        fmt::print(stderr, "encsync: {}\n", clean(text));
    return 1;
}

int print_json(const json::value& value) {
    fmt::print("{}\n", json::serialize(value));
    return 0;
}

int status(const Options& options) {
    return report(options, {{"command", "status"}}, render_status);
}

int status_ready(const Options& options) {
    auto answer = ask(options, {{"command", "status"}});
    if (!answer)
        return fail(answer.error().text);
    if (truth(*answer, "ready").value_or(false))
        return 0;
    const auto why = control::text(*answer, "why");
    return fail(fmt::format("not ready: {}", why.empty() ? "encsyncd does not say why" : why));
}

int metrics(const Options& options, const std::string& format) {
    json::object request{{"command", "metrics"}};
    if (!format.empty())
        request["format"] = format;
    auto answer = ask(options, request);
    if (!answer)
        return fail(answer.error().text);
    const auto* lines = answer->if_string();
    if (lines == nullptr)
        return fail("encsyncd's answer is no text");
    return std::fwrite(lines->data(), 1, lines->size(), stdout) == lines->size() ? 0 : 1;
}

int peers(const Options& options) {
    return report(options, {{"command", "peers"}}, render_peers);
}

int sas(const Options& options) {
    return report(options, {{"command", "sas"}}, render_sas);
}

int states(const Options& options, const std::string& filter) {
    auto client = Client::connect(options.run_dir);
    if (!client)
        return fail(client.error().text);
    json::object request{{"command", "states"}};
    if (!filter.empty())
        request["filter"] = filter;
    // As JSON one array, an item a line, so that it can be read whole or line by line.
    bool first = true;
    const auto begin = [&] {
        if (first)
            std::fputs(options.json ? "[" : states_header().c_str(), stdout);
    };
    const auto done = client->stream(request, [&](const json::value& item) {
        begin();
        if (options.json)
            fmt::print("{}\n{}", first ? "" : ",", json::serialize(item));
        else
            std::fputs(render_state(item).c_str(), stdout);
        first = false;
    });
    if (!done)
        return fail(done.error().text);
    begin();
    if (options.json)
        std::fputs("\n]\n", stdout);
    return 0;
}

int role(const Options& options) {
    return report(options, {{"command", "role"}}, [](const json::value& answer) {
        const auto now = control::text(answer, "role");
        return fmt::format("{}\n", now.empty() ? "-" : clean(now));
    });
}

int bulk(const Options& options, const std::string& peer) {
    const auto before = ask(options, {{"command", "status"}});
    const int failed = command_peers(options, "bulk", peer, "asked for all states");
    if (failed || options.json || !before || ::isatty(STDOUT_FILENO) != 1)
        return failed;
    return follow_bulk(options, *before, peer);
}

int flush(const Options& options, const std::string& peer) {
    return report(options, {{"command", "flush"}, {"peer", peer}}, render_flushed);
}

int rekey(const Options& options, const std::string& peer) {
    return command_peers(options, "rekey", peer, "negotiating new SAs");
}

int rotate_ppk(const Options& options, const std::string& peer) {
    return command_peers(options, "rotate-ppk", peer, "making the next preshared key");
}

int rotate_all(const Options& options) {
    // Asked first: without the daemon nothing is begun.
    const auto peers = ask(options, {{"command", "peers"}});
    if (!peers)
        return fail(peers.error().text);
    const bool ppks = std::ranges::any_of(
        array_of(*peers), [](const json::value& peer) { return member(peer, "ppk") != nullptr; });
    // A step that fails keeps none of the others from being done.
    bool failed = false;
    const auto step = [&](const char* what, const std::function<int()>& run) {
        if (!options.json)
            fmt::print("{}:\n", what);
        std::fflush(stdout); // before what a failure says on stderr
        failed = run() != 0 || failed;
    };
    step("identity", [&] { return keys_rotate_identity(options); });
    step("post-quantum preshared keys", [&] {
        if (ppks)
            return rotate_ppk(options, "");
        if (options.json)
            return print_json({{"peers", json::array()}});
        fmt::print("no conn uses any\n");
        return 0;
    });
    step("SAs", [&] { return rekey(options, ""); });
    return failed ? 1 : 0;
}

// Prints an answer of several lines: the diagnostics of a configuration.
static void print_lines(std::string_view text, FILE* to) {
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        std::string line(text.substr(0, end));
        std::ranges::replace(line, '\t', ' '); // keeps the column of the caret below
        fmt::print(to, "{}\n", clean(line));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

int reload(const Options& options) {
    auto answer = ask(options, {{"command", "reload"}});
    if (!answer && options.json)
        return fail(answer.error().text);
    if (!answer) {
        print_lines("encsync: " + answer.error().text, stderr);
        return 1;
    }
    if (options.json)
        return print_json(*answer);
    print_lines(control::text(*answer, "warnings"), stderr);
    std::string did;
    for (const char* what : {"added", "changed", "removed"})
        for (const json::value& name : array_of(*answer, what))
            did += fmt::format("{}{} {}", did.empty() ? "" : ", ", what,
                               name.is_string() ? clean(name.get_string()) : "?");
    fmt::print("configuration and keys reloaded: {}\n", did.empty() ? "no conn differs" : did);
    if (const auto role = control::text(*answer, "role"); !role.empty())
        fmt::print("{}\n", clean(role));
    return 0;
}

int policy_show(const Options& options) {
    return report(options, {{"command", "policy"}}, render_policy);
}

int policy_verify(const Options& options) {
    auto answer = ask(options, {{"command", "policy-verify"}});
    if (!answer)
        return fail(answer.error().text);
    const bool verified = truth(*answer, "verified").value_or(false);
    if (options.json) {
        print_json(*answer);
        return verified ? 0 : 1;
    }
    if (!verified) {
        const auto why = control::text(*answer, "why");
        return fail(fmt::format("the policy is not in place: {}",
                                why.empty() ? "encsyncd does not say why" : why));
    }
    fmt::print("the policy is in place\n");
    return 0;
}

} // namespace encsync::cli
