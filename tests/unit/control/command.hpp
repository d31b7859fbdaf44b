// SPDX-License-Identifier: ISC
// The command as a user runs it: a real process, a real key store, and, where it needs a daemon, a
// real control socket with handlers of the test.
//
//     TEST_F(Command, ...) { EXPECT_EQ(run({"check", file}).status, 0); }
#pragma once

#include "control/server.hpp"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <vector>

namespace encsync {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Outcome {
    int status = -1;
    std::string out, err;
};

inline std::string read_file(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

class Command : public testing::Test {
  protected:
    Command() {
        std::string pattern = fs::temp_directory_path() / "encsync-command-XXXXXX";
        if (!::mkdtemp(pattern.data()))
            std::abort();
        dir_ = pattern;
        write(dir_ / "encsync.conf",
              "config setup\n\tnode=mickey\n\tkeydir=" + (dir_ / "keys").string() + "\n");
        write(dir_ / "minnie.conf",
              "config setup\n\tnode=minnie\n\tkeydir=" + (dir_ / "minnie-keys").string() + "\n");
    }
    ~Command() override {
        stop();
        fs::remove_all(dir_);
    }

    static void write(const fs::path& path, const std::string& text) {
        std::ofstream(path, std::ios::binary) << text;
    }

    void write_private(const char* name, const std::string& text) const {
        write(dir_ / name, text);
        fs::permissions(dir_ / name, fs::perms::owner_read | fs::perms::owner_write);
    }

    // As mickey; a --config among the arguments takes precedence.
    Outcome run(std::vector<std::string> words) const {
        std::vector<std::string> all{ENCSYNC_COMMAND, "--run-dir", dir_};
        if (std::ranges::find(words, "--config") == words.end())
            all.insert(all.end(), {"--config", dir_ / "encsync.conf"});
        all.insert(all.end(), words.begin(), words.end());
        std::vector<char*> argv;
        argv.reserve(all.size() + 1);
        for (auto& word : all)
            argv.push_back(word.data());
        argv.push_back(nullptr);
        const auto out = dir_ / "stdout", err = dir_ / "stderr";
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        constexpr int kWrite = O_WRONLY | O_CREAT | O_TRUNC;
        ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), kWrite, 0600);
        ::posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), kWrite, 0600);
        pid_t child = -1;
        EXPECT_EQ(::posix_spawn(&child, argv[0], &actions, nullptr, argv.data(), environ), 0);
        ::posix_spawn_file_actions_destroy(&actions);
        Outcome outcome;
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFEXITED(status));
        outcome.status = WEXITSTATUS(status);
        outcome.out = read_file(out);
        outcome.err = read_file(err);
        return outcome;
    }
    Outcome as_minnie(std::vector<std::string> words) const {
        words.insert(words.end(), {"--config", dir_ / "minnie.conf"});
        return run(std::move(words));
    }
    json::value run_json(std::vector<std::string> words) const {
        words.push_back("--json");
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 0) << outcome.err;
        json::error_code error;
        auto value = json::parse(outcome.out, error);
        EXPECT_FALSE(error) << outcome.out;
        return value;
    }

    // A daemon that returns `answers` and records its requests.
    void start(const std::map<std::string, json::value>& answers) {
        auto server = control::Server::open(io_, dir_);
        ASSERT_TRUE(server) << server.error().text;
        server_ = std::move(*server);
        for (const auto& [command, answer] : answers)
            server_->handle(command, [this, answer = answer](const json::object& fields) {
                asked_.push_back(json::serialize(fields));
                return answer;
            });
        server_->handle_stream(
            "states", [this](const json::object& fields) -> Result<control::Generator> {
                asked_.push_back(json::serialize(fields));
                if (control::text(fields, "filter") == "tpc")
                    return Error{"filter: 'tpc' is neither an address nor a known word"};
                return control::Generator([n = 0]() mutable -> std::optional<json::value> {
                    if (n == 2)
                        return std::nullopt;
                    return json::object{{"proto", "tcp"},
                                        {"owner", n++ == 0 ? "mickey" : "minnie"}};
                });
            });
        thread_ = std::thread([this] {
            const auto guard = boost::asio::make_work_guard(io_);
            io_.run();
        });
    }
    // asked_ may be read after this.
    void stop() {
        if (!thread_.joinable())
            return;
        io_.stop();
        thread_.join();
        server_.reset();
        io_.restart();
    }

    static int lines(const std::string& text) {
        return static_cast<int>(std::ranges::count(text, '\n'));
    }

    fs::path dir_;
    boost::asio::io_context io_{1};
    std::unique_ptr<control::Server> server_;
    std::thread thread_;
    std::vector<std::string> asked_;
};

} // namespace encsync
