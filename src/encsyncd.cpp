// SPDX-License-Identifier: ISC
// encsyncd: the sync process. What it consists of is in daemon/node.hpp.
#include "config/config.hpp"
#include "daemon/background.hpp"
#include "daemon/node.hpp"
#include "daemon/sandbox.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

namespace {

using namespace encsync;

constexpr int kUsage = 2; // exit status of a command line that makes no sense

struct Arguments {
    std::string config = "/etc/encsync/encsync.conf";
    std::string run_dir = "/run/encsync";
    bool foreground = false;
};

std::optional<config::Config> read_config(const std::string& path) {
    config::Loaded loaded = config::load(path);
    std::fputs(config::render(loaded.diagnostics).c_str(), stderr);
    return std::move(loaded.config);
}

void log_lines(log::Level level, std::string_view text) {
    while (!text.empty()) {
        const auto end = std::min(text.find('\n'), text.size());
        log::write(level, text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

int run(const Arguments& arguments, config::Config config, daemon::Background& background) {
    const bool sandbox = config.setup.sandbox;
    boost::asio::io_context io(1);
    auto node = daemon::Node::open(io, std::move(config), arguments.config, arguments.run_dir);
    if (!node) {
        log::error("{}", node.error().text);
        return 1;
    }
    if (sandbox) {
        if (auto confined = daemon::confine(
                {.writable = arguments.run_dir, .raw_sockets = (*node)->raw_sockets()});
            !confined) {
            log::error("{}", confined.error().text);
            return 1;
        }
    } else {
        log::warning("sandbox=no: encsyncd keeps all privileges that it was started with");
    }
    if (auto started = (*node)->start(); !started) {
        log::error("{}", started.error().text);
        return 1;
    }
    boost::asio::signal_set ends(io, SIGTERM, SIGINT), reloads(io, SIGHUP);
    ends.async_wait([&](const auto& error, int) {
        if (!error)
            (*node)->stop([&io] { io.stop(); });
    });
    std::function<void()> await_reload = [&] {
        reloads.async_wait([&](const auto& error, int) {
            if (error)
                return;
            if (auto done = (*node)->reload(); !done)
                log_lines(log::Level::error, "reload: " + done.error().text);
            else
                log_lines(log::Level::warning, done->warnings);
            await_reload();
        });
    };
    await_reload();
    background.ready();
    io.run();
    return (*node)->failed() ? 1 : 0;
}

} // namespace

int main(int argc, char** argv) try {
    Arguments arguments;
    CLI::App app{"Keeps the state tables of firewalls in sync across an untrusted network."};
    app.add_option("--config", arguments.config, "configuration file")->capture_default_str();
    app.add_option("--run-dir", arguments.run_dir,
                   "control socket and what is kept across a restart")
        ->capture_default_str();
    app.add_flag("--foreground", arguments.foreground, "stay in the foreground, log to stderr");
    app.set_version_flag("--version", "encsyncd " ENCSYNC_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }

    // SIGHUP may find us elsewhere.
    arguments.config = std::filesystem::absolute(arguments.config);
    auto config = read_config(arguments.config);
    if (!config)
        return 1;
    log::set_level(config->setup.loglevel);
    std::signal(SIGPIPE, SIG_IGN); // the reader of our log may end before us
    daemon::keep_secrets_in();
    daemon::Background background(!arguments.foreground);
    return run(arguments, std::move(*config), background);
} catch (const std::exception& exception) {
    // No memory, or a bug: states stay in the kernel, and the service manager starts us again.
    log::write(log::Level::error, exception.what());
    return 1;
}
