// SPDX-License-Identifier: ISC
// The command as a user runs it: a real process, a real key store, and, where it needs a daemon, a
// real control socket with handlers of the test.
#include "control/server.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <map>
#include <net/if.h>
#include <poll.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <thread>

namespace encsync {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct Outcome {
    int status = -1;
    std::string out, err;
};

std::string read_file(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

// A command whose standard input, output and controlling terminal is a terminal of ours.
class Terminal {
  public:
    explicit Terminal(std::vector<std::string> words) : ours_(::posix_openpt(O_RDWR | O_NOCTTY)) {
        EXPECT_EQ(::grantpt(ours_.get()) + ::unlockpt(ours_.get()), 0);
        std::array<char, 64> name{};
        EXPECT_EQ(::ptsname_r(ours_.get(), name.data(), name.size()), 0);
        theirs_.reset(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
        child_ = ::fork();
        if (child_ != 0)
            return;
        std::vector<char*> argv;
        argv.reserve(words.size() + 1);
        for (auto& word : words)
            argv.push_back(word.data());
        argv.push_back(nullptr);
        ::setsid();
        ::ioctl(theirs_.get(), TIOCSCTTY, 0);
        for (const int fd : {0, 1, 2})
            ::dup2(theirs_.get(), fd);
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }

    bool echoes() const {
        termios now{};
        return ::tcgetattr(theirs_.get(), &now) == 0 && (now.c_lflag & ECHO) != 0;
    }
    // Once it does not echo; what is typed before that is flushed, as by a careful program.
    void type(const std::string& text) {
        prompts_++;
        EXPECT_TRUE(wait_until([&] {
            read_more();
            return !echoes() && std::ranges::count(shown_, ':') >= prompts_;
        })) << shown_;
        EXPECT_EQ(::write(ours_.get(), text.data(), text.size()),
                  static_cast<ssize_t>(text.size()));
    }
    void send(int signal) const { ::kill(child_, signal); }
    // The exit status, or the negative number of the signal.
    int end() {
        int status = 0;
        EXPECT_TRUE(wait_until([&] {
            read_more();
            return ::waitpid(child_, &status, WNOHANG) == child_;
        })) << shown_;
        read_more();
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    const std::string& shown() const { return shown_; }

  private:
    template<class Condition>
    static bool wait_until(Condition condition) {
        for (int n = 0; n < 3000; n++) {
            if (condition())
                return true;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        return false;
    }
    void read_more() {
        pollfd ready{ours_.get(), POLLIN, 0};
        std::array<char, 512> buffer;
        while (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0) {
            const ssize_t got = ::read(ours_.get(), buffer.data(), buffer.size());
            if (got <= 0)
                return;
            shown_.append(buffer.data(), static_cast<std::size_t>(got));
        }
    }

    Fd ours_, theirs_;
    pid_t child_ = -1;
    std::string shown_;
    long prompts_ = 0;
};

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

TEST_F(Command, RefusesACommandLineWithoutSense) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                  {"halt"},
                                                  {"keys"},
                                                  {"keys", "halt"},
                                                  {"status", "--halt"},
                                                  {"role", "master"},
                                                  {"keys", "trust"},
                                                  {"keys", "rotate", "--what", "all"},
                                                  {"status", "extra"}}) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 2);
        EXPECT_EQ(lines(outcome.err), 1) << outcome.err;
        EXPECT_TRUE(outcome.err.starts_with("encsync: ")) << outcome.err;
        EXPECT_EQ(outcome.out, "");
    }
    EXPECT_EQ(run({"--help"}).status, 0);
    EXPECT_EQ(run({"--version"}).out, ENCSYNC_VERSION "\n");
}

TEST_F(Command, SuggestsAVerb) {
    const auto said = [&](std::vector<std::string> words) { return run(std::move(words)).err; };
    EXPECT_EQ(said({"stauts"}),
              "encsync: there is no 'encsync stauts'; did you mean 'status'?; see "
              "encsync --help\n");
    EXPECT_EQ(said({"keys", "rotat"}), "encsync: there is no 'encsync keys rotat'; did you mean "
                                       "'rotate'?; see encsync --help\n");
    EXPECT_EQ(said({"policy"}),
              "encsync: encsync policy what? One of: show, verify; see encsync --help\n");
    EXPECT_EQ(said({"policy", "xyzzy"}), "encsync: there is no 'encsync policy xyzzy'; one of: "
                                         "show, verify; see encsync --help\n");
    EXPECT_NE(said({}).find("encsync what? One of: status, "), std::string::npos);
    // A known verb with one argument too many is another error.
    EXPECT_EQ(said({"status", "extra"}).find("there is no"), std::string::npos);
}

TEST_F(Command, AsJsonBeforeOrAfterTheVerb) {
    start({{"status", json::object{{"node", "mickey"}}}});
    EXPECT_EQ(run({"--json", "status"}).out, "{\"node\":\"mickey\"}\n");
    EXPECT_EQ(run({"status", "--json"}).out, "{\"node\":\"mickey\"}\n");
}

TEST_F(Command, ErrorsAreJsonIfAskedFor) {
    const auto error = [&](const std::vector<std::string>& words, int status) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, status);
        EXPECT_EQ(outcome.out, "");
        const auto value = json::parse(outcome.err);
        return std::string(value.at("error").as_string());
    };
    const std::string down =
        "encsyncd is not running (no " + (dir_ / "control.sock").string() + ")";
    for (const char* verb : {"status", "peers", "sas", "states", "role", "bulk", "reload"}) {
        EXPECT_EQ(error({verb, "--json"}, 1), down);
        EXPECT_EQ(error({"--json", verb}, 1), down);
    }
    EXPECT_TRUE(error({"--json", "stauts"}, 2).starts_with("there is no 'encsync stauts'"));
    EXPECT_EQ(error({"monitor", "--json", "--write", "x"}, 2), "--write excludes --json");
    EXPECT_EQ(error({"keys", "export", "--json", "--pem"}, 2), "--pem excludes --json");
    EXPECT_NE(error({"keys", "forget", "goofy", "--json"}, 1), "");
}

TEST_F(Command, SaysThatNoDaemonRuns) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"status"},
                                                  {"status", "--ready"},
                                                  {"peers"},
                                                  {"sas"},
                                                  {"states"},
                                                  {"role"},
                                                  {"bulk"},
                                                  {"policy", "show"},
                                                  {"policy", "verify"},
                                                  {"keys", "rotate"}}) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 1);
        EXPECT_EQ(outcome.err, "encsync: encsyncd is not running (no " +
                                   (dir_ / "control.sock").string() + ")\n");
        EXPECT_EQ(outcome.out, "");
    }
}

TEST_F(Command, ReadyIsAnExitStatus) {
    start({{"status", {{"node", "mickey"}, {"ready", true}}}});
    const auto ready = run({"status", "--ready"});
    EXPECT_EQ(ready.status, 0);
    EXPECT_EQ(ready.out + ready.err, "");
    EXPECT_EQ(run({"status"}).status, 0);
    stop();
    start({{"status", {{"ready", false}, {"why", "minnie: bulk update runs"}}}});
    const auto not_ready = run({"status", "--ready"});
    EXPECT_EQ(not_ready.status, 1);
    EXPECT_EQ(not_ready.out, "");
    EXPECT_EQ(not_ready.err, "encsync: not ready: minnie: bulk update runs\n");
    EXPECT_EQ(run({"status"}).status, 0); // a report is no failure
    stop();
    start({{"status", json::object{{"node", "mickey"}}}}); // without the field it is not ready
    EXPECT_EQ(run({"status", "--ready"}).status, 1);
}

TEST_F(Command, Reports) {
    json::array peers;
    peers.push_back(json::object{{"name", "minnie"}});
    start({{"status", json::object{{"node", "mickey"}, {"ready", true}}},
           {"peers", peers},
           {"sas", json::array{}},
           {"role", json::object{{"role", "standby"}}},
           {"policy", json::object{{"installed", true}}}});
    EXPECT_EQ(run_json({"status"}).at("node"), "mickey");
    EXPECT_EQ(run_json({"peers"}).at(0).at("name"), "minnie");
    EXPECT_EQ(run_json({"sas"}), json::array());
    EXPECT_EQ(run_json({"policy", "show"}).at("installed"), true);
    EXPECT_EQ(run({"role"}).out, "standby\n");
    EXPECT_EQ(run({"sas"}).out, "no security associations\n");
    EXPECT_TRUE(run({"status"}).out.starts_with("mickey: "));
    EXPECT_TRUE(run({"policy", "show"}).out.starts_with("policy installed"));
}

TEST_F(Command, SendsWhatItIsTold) {
    const json::object both{{"peers", json::array{"minnie", "goofy"}}};
    start({{"bulk", both},
           {"flush", json::object{{"peer", "minnie"}, {"removed", 3}}},
           {"rekey", both},
           {"role", json::object{{"role", "active"}}}});
    EXPECT_EQ(run({"bulk"}).out, "minnie, goofy: asked for all states\n");
    EXPECT_EQ(run({"bulk", "minnie"}).status, 0);
    EXPECT_EQ(run({"flush", "minnie"}).out, "minnie: 3 states removed\n");
    EXPECT_EQ(run({"flush"}).status, 2);
    EXPECT_EQ(run({"keys", "rotate"}).status, 0);
    EXPECT_EQ(run({"keys", "rotate", "--what", "sa", "--peer", "minnie"}).status, 0);
    EXPECT_EQ(run({"role", "active"}).out, "active\n");
    EXPECT_EQ(run({"states", "tcp", "port", "443"}).status, 0);
    stop();
    const auto role = std::ranges::find_if(
        asked_, [](const auto& line) { return line.find("\"role\"") != line.npos; });
    ASSERT_NE(role, asked_.end());
    EXPECT_TRUE(role->starts_with(R"({"command":"role","role":"active","order":")")) << *role;
    asked_.erase(role);
    EXPECT_EQ(asked_, (std::vector<std::string>{
                          R"({"command":"bulk"})", R"({"command":"bulk","peer":"minnie"})",
                          R"({"command":"flush","peer":"minnie"})", R"({"command":"rekey"})",
                          R"({"command":"rekey","peer":"minnie"})",
                          R"({"command":"states","filter":"tcp port 443"})"}));
}

TEST_F(Command, SaysWhatBecameOfARole) {
    start({{"role", json::object{{"role", "standby"}, {"overtaken", true}, {"by", "7 8"}}}});
    const auto late = run({"role", "active"});
    EXPECT_EQ(late.status, 3);
    EXPECT_EQ(late.out, "");
    EXPECT_EQ(late.err, "encsync: role active was overtaken: 'standby' was asked for later and "
                        "stays\n");
    EXPECT_EQ(run({"role", "active", "--json"}).status, 3);
    stop();
    start({{"role", json::object{{"role", "active"}, {"stored", false}, {"why", "no space"}}}});
    const auto lost = run({"role", "active"});
    EXPECT_EQ(lost.status, 1);
    EXPECT_EQ(lost.out, "");
    EXPECT_EQ(lost.err, "encsync: the role is active, but will be lost if encsyncd is started "
                        "again: no space\n");
    stop();
    start({{"role", json::object{{"role", "active"}, {"stored", true}}}});
    EXPECT_EQ(run({"role", "active"}).status, 0);
}

// No daemon runs. The role that was requested last is stored.
TEST_F(Command, LeavesARoleForTheNextDaemon) {
    const auto left = run({"role", "active"});
    EXPECT_EQ(left.status, 0) << left.err;
    EXPECT_EQ(left.out,
              "encsyncd is not running in " + dir_.string() + "; it will start as active\n");
    const auto kept = read_file(dir_ / "role");
    EXPECT_TRUE(kept.starts_with("active\n")) << kept;
    const std::string later = "active\n" + std::to_string(~0ULL) + " 1\n";
    write(dir_ / "role", later); // of another boot: ignored
    EXPECT_EQ(run({"role", "standby"}).status, 0);
    EXPECT_TRUE(read_file(dir_ / "role").starts_with("standby\n"));
    write(dir_ / "role", "active\n"); // of an earlier release
    EXPECT_EQ(run({"role", "standby"}).status, 0);
    EXPECT_TRUE(read_file(dir_ / "role").starts_with("standby\n"));
    fs::remove(dir_ / "role");
    fs::create_directory(dir_ / "role");
    const auto refused = run({"role", "active"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_TRUE(refused.err.starts_with("encsync: cannot write " + (dir_ / "role").string()))
        << refused.err;
    EXPECT_FALSE(fs::exists(dir_ / ("role." + std::to_string(::getpid()))));
}

TEST_F(Command, StreamsStates) {
    start({});
    const auto text = run({"states"});
    EXPECT_EQ(text.status, 0) << text.err;
    EXPECT_EQ(lines(text.out), 3);
    const auto all = run_json({"states"});
    ASSERT_EQ(all.as_array().size(), 2u);
    EXPECT_EQ(all.at(1).at("owner"), "minnie");
    const auto bad = run({"states", "tpc"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.out, "");
    EXPECT_EQ(bad.err, "encsync: filter: 'tpc' is neither an address nor a known word\n");
}

TEST_F(Command, VerifiesThePolicy) {
    start({{"policy-verify", json::object{{"verified", true}}}});
    EXPECT_EQ(run({"policy", "verify"}).status, 0);
    stop();
    start({{"policy-verify", json::object{{"verified", false}, {"why", "no table encsync"}}}});
    const auto gone = run({"policy", "verify"});
    EXPECT_EQ(gone.status, 1);
    EXPECT_EQ(gone.err, "encsync: the policy is not in place: no table encsync\n");
}

TEST_F(Command, ReportsAFullDisk) {
    start({{"status", json::object{{"node", "mickey"}}}});
    const std::string line = std::string(ENCSYNC_COMMAND) + " --run-dir " + dir_.string() +
                             " status >/dev/full 2>" + (dir_ / "err").string();
    EXPECT_NE(std::system(line.c_str()), 0);
    EXPECT_EQ(read_file(dir_ / "err"), "encsync: cannot write the output\n");
}

TEST_F(Command, ChecksAConfiguration) {
    write(dir_ / "good.conf", "config setup\n\tnode=mickey\n\nconn minnie\n\tleft=192.0.2.1\n"
                              "\tright=192.0.2.2\n");
    const auto good = run({"check", dir_ / "good.conf"});
    EXPECT_EQ(good.status, 0) << good.err;
    EXPECT_EQ(good.out, (dir_ / "good.conf").string() + ": good; node mickey, 1 peer\n");
    write(dir_ / "bad.conf", "config setup\n\tnod=mickey\n");
    const auto bad = run({"check", dir_ / "bad.conf"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.out, "");
    EXPECT_NE(bad.err.find("did you mean 'node'?"), std::string::npos) << bad.err;
    const auto as_json = run({"check", dir_ / "bad.conf", "--json"});
    EXPECT_EQ(as_json.status, 1);
    const auto report = json::parse(as_json.out);
    EXPECT_EQ(report.at("ok"), false);
    EXPECT_EQ(report.at("diagnostics").at(0).at("line"), 2);
    EXPECT_EQ(run({"check", dir_ / "none.conf"}).status, 1);
    write(dir_ / "empty.conf", "");
    const auto empty = run({"check", dir_ / "empty.conf"});
    EXPECT_EQ(empty.status, 0);
    EXPECT_TRUE(empty.out.ends_with("no peer: nothing is kept in step with anybody\n"));
}

std::string own_address() {
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return {};
    std::string out;
    for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
        std::array<char, INET_ADDRSTRLEN> text{};
        if (at->ifa_addr != nullptr && at->ifa_addr->sa_family == AF_INET &&
            (at->ifa_flags & IFF_LOOPBACK) == 0 &&
            ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(at->ifa_addr)->sin_addr,
                        text.data(), text.size()) != nullptr)
            out = text.data();
    }
    ::freeifaddrs(first);
    return out;
}

// Configurations that are valid, but cannot run here.
TEST_F(Command, Imports) {
    write(dir_ / "hostname.pfsync0", "up syncdev rl2\nsyncpeer 192.168.1.101 wibble\n");
    const auto good = run({"import", "--left", "192.168.1.100", dir_ / "hostname.pfsync0"});
    EXPECT_EQ(good.status, 0) << good.err;
    EXPECT_NE(good.out.find("\tright=192.168.1.101\n"), std::string::npos) << good.out;
    EXPECT_NE(good.err.find("hostname.pfsync0:2: unknown word 'wibble': "), std::string::npos);
    write(dir_ / "imported.conf", good.out);
    EXPECT_EQ(run({"check", dir_ / "imported.conf"}).status, 0);

    const json::value got = run_json({"import", dir_ / "hostname.pfsync0"});
    EXPECT_EQ(got.at("complete"), false); // no left
    EXPECT_TRUE(got.at("config").is_array());
    EXPECT_EQ(got.at("notes").at(1).at("line"), 2);
}

TEST_F(Command, RefusesWhatItCannotImport) {
    write(dir_ / "bad.conf", "Sync {\n");
    for (const auto& [words, status, reason] :
         {std::tuple<std::vector<std::string>, int, std::string>{
              {"import", dir_ / "bad.conf"}, 1, "bad.conf:1: this '{' is not closed"},
          {{"import", dir_ / "none"}, 1, "No such file or directory"},
          {{"import", dir_}, 1, "Is a directory"},
          {{"import", "-"}, 1, "standard input: it is empty"},
          {{"import", "--left", "here", dir_ / "bad.conf"}, 1, "--left here: 'here' is no IP"},
          {{"import", "--format", "ipf", dir_ / "bad.conf"}, 2, "ipf not in"},
          {{"import"}, 2, "FILE is required"}}) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, status) << reason;
        EXPECT_EQ(outcome.out, "");
        EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    }
}

TEST_F(Command, ChecksTheMachine) {
    const auto keydir = dir_ / "keys", file = dir_ / "live.conf";
    const auto faults = [&] {
        const auto outcome = run({"check", "--live", file});
        EXPECT_EQ(outcome.status, 1);
        EXPECT_TRUE(outcome.err.ends_with("not usable on this machine\n")) << outcome.err;
        EXPECT_EQ(run({"check", file}).status, 0); // control: only the file
        return outcome.err;
    };
    const auto has = [](const std::string& all, const std::string& line) {
        EXPECT_NE(all.find(line + "\n"), std::string::npos) << all;
    };
    const std::string setup = "config setup\n\tnode=mickey\n\tkeydir=" + keydir.string() + "\n";
    write(file, setup + "\tsyncdev=encsync-none\n\tcharonuser=no-such-user\n"
                        "\nconn minnie\n\tleft=198.51.100.1\n\tright=198.51.100.2\n");
    auto found = faults();
    has(found, "charonuser no-such-user: there is no such user");
    has(found, "conn minnie: left 198.51.100.1 is no address of this machine");
    has(found, keydir.string() + ": no keys here; 'encsync keys init' makes them");
    EXPECT_EQ(found.find("syncdev"), std::string::npos) << found;

    ASSERT_EQ(run({"keys", "init", "--name", "goofy"}).status, 0);
    write(file, setup + "\nconn minnie\n\tleft=198.51.100.1\n\tright=198.51.100.2\n");
    found = faults();
    has(found, "the identity in " + keydir.string() +
                   " is that of 'goofy', but this node is "
                   "'mickey'");
    has(found, "conn minnie: no key of 'minnie' is trusted; run encsync pair on both, or bring its "
               "public key and run encsync "
               "keys trust");
    const auto as_json = run({"check", "--live", "--json", file});
    EXPECT_EQ(as_json.status, 1);
    const auto report = json::parse(as_json.out);
    EXPECT_EQ(report.at("ok"), false);
    EXPECT_EQ(report.at("live").as_array().size(), 3u);

    // A configuration that can run here: any address of this machine, and keys of that name.
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const std::string mine = own_address();
    if (mine.empty())
        GTEST_SKIP() << "this machine has no address that another could reach";
    write(file, "config setup\n\tnode=goofy\n\tkeydir=" + keydir.string() +
                    "\n\tsyncdev=encsync-none\nconn minnie\n\tleft=" + mine +
                    "\n\tright=198.51.100.2\n");
    const auto good = run({"check", "--live", file});
    EXPECT_EQ(good.status, 0) << good.err;
    EXPECT_TRUE(good.out.ends_with(": good; node goofy, 1 peer\n")) << good.out;

    // Certificates that expire: days is what openssl is told.
    const auto certified = [&](const std::string& days) {
        const std::string ca = dir_ / "ca.pem", key = dir_ / "ca.key", request = dir_ / "ca.csr";
        const std::string command =
            "openssl req -new -newkey ed25519 -nodes -subj /CN=ca -keyout " + key + " -out " +
            request + " 2>/dev/null && openssl x509 -req -in " + request + " -signkey " + key +
            " -days " + days + " -out " + ca + " 2>/dev/null";
        EXPECT_EQ(std::system(command.c_str()), 0);
        write(file, "config setup\n\tnode=goofy\n\tkeydir=" + keydir.string() +
                        "\n\tsyncdev=encsync-none\nconn minnie\n\tleft=" + mine +
                        "\n\tright=198.51.100.2\n\trightca=" + ca + "\n");
        return run({"check", "--live", file});
    };
    EXPECT_EQ(certified("40").status, 0);
    const auto soon = certified("20");
    EXPECT_EQ(soon.status, 1);
    EXPECT_NE(soon.err.find("ca.pem expires in "), std::string::npos) << soon.err;
    EXPECT_TRUE(soon.err.ends_with(": usable, but not for long\n")) << soon.err;
    const auto over = certified("-1");
    EXPECT_EQ(over.status, 1);
    EXPECT_NE(over.err.find("ca.pem expired 1 day ago, at "), std::string::npos) << over.err;
    EXPECT_TRUE(over.err.ends_with(": not usable on this machine\n")) << over.err;
}

TEST_F(Command, MakesShowsAndTrustsKeys) {
    const auto none = run({"keys", "show"});
    EXPECT_EQ(none.status, 1);
    EXPECT_EQ(none.err, "encsync: " + (dir_ / "keys").string() +
                            ": no keys here; 'encsync keys init' makes them\n");
    const auto made = run({"keys", "init"});
    EXPECT_EQ(made.status, 0) << made.err;
    EXPECT_TRUE(made.out.starts_with("mickey (")) << made.out;
    EXPECT_EQ(run({"keys", "init"}).status, 1); // never overwrites
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);

    const auto exported = as_minnie({"keys", "export"});
    ASSERT_EQ(exported.status, 0);
    // What the other side will print; not part of the file.
    EXPECT_TRUE(exported.err.starts_with("minnie  SHA256:")) << exported.err;
    write(dir_ / "minnie.pub", exported.out);
    const auto trusted = run({"keys", "trust", dir_ / "minnie.pub"});
    EXPECT_EQ(trusted.status, 0) << trusted.err;
    const auto list = run_json({"keys", "list"});
    ASSERT_EQ(list.as_array().size(), 1u);
    const std::string print(list.at(0).at("fingerprint").as_string());
    EXPECT_EQ(list.at(0).at("name"), "minnie");
    EXPECT_EQ(trusted.out, "trusting minnie  " + print + "\nencsyncd is not running in " +
                               dir_.string() + "; it reads the keys when it starts\n");
    EXPECT_NE(as_minnie({"keys", "show"}).out.find(print), std::string::npos);

    write(dir_ / "bad.pub", exported.out.substr(0, 60));
    const auto bad = run({"keys", "trust", dir_ / "bad.pub"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.err, "encsync: " + (dir_ / "bad.pub").string() + ": line 3: truncated\n");
    EXPECT_EQ(run({"keys", "trust", dir_ / "none.pub"}).status, 1);

    EXPECT_EQ(run({"keys", "forget", "minnie"}).status, 0);
    EXPECT_EQ(run({"keys", "forget", "minnie"}).status, 1);
    EXPECT_EQ(run_json({"keys", "list"}), json::array());
}

TEST_F(Command, SealsItsKeysBacksThemUpAndRestoresThem) {
    const auto keydir = dir_ / "keys";
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    const auto shown = run_json({"keys", "show"}).as_object();
    const auto fails = [&](const std::vector<std::string>& words, const std::string& reason) {
        const auto outcome = run(words);
        EXPECT_EQ(outcome.status, 1) << reason;
        EXPECT_NE(outcome.err.find(reason), std::string::npos) << outcome.err;
    };
    write_private("passphrase", "correct horse battery\n");
    write_private("short", "short\n");
    write_private("wrong", "battery horse correct\n");
    write_private("for-backup", "another passphrase\n");
    fails({"keys", "seal"}, "standard input is no terminal: --passphrase-file names a file with");
    fails({"keys", "seal", "--passphrase-file", dir_ / "short"}, "has 12 bytes at least");
    fails({"keys", "seal", "--passphrase-file", dir_ / "none"}, "No such file");
    fails({"keys", "seal", "--change"}, "the store is not sealed");
    fails({"keys", "unseal"}, "is not sealed");
    const auto sealed = run({"keys", "seal", "--passphrase-file", dir_ / "passphrase"});
    EXPECT_EQ(sealed.status, 0) << sealed.err;
    EXPECT_NE(sealed.out.find("keypassphrase= or the systemd credential encsync.passphrase"),
              std::string::npos);
    fails({"keys", "seal", "--passphrase-file", dir_ / "passphrase"}, "is sealed already");

    fails({"keys", "show"}, "the store is sealed, and no passphrase was given");
    fails({"keys", "rotate", "--what", "identity"}, "no passphrase was given");
    fails({"keys", "show", "--passphrase-file", dir_ / "wrong"}, "the passphrase is wrong");
    EXPECT_EQ(run({"keys", "list"}).status, 0);
    EXPECT_EQ(run({"keys", "log"}).status, 0);
    // By the configuration, as encsyncd does it.
    write(dir_ / "encsync.conf", "config setup\n\tnode=mickey\n\tkeydir=" + keydir.string() +
                                     "\n\tkeypassphrase=" + (dir_ / "passphrase").string() + "\n");
    auto again = run_json({"keys", "show"}).as_object();
    EXPECT_EQ(again.at("secrets"), "sealed");
    EXPECT_EQ(again.at("identities").at(0).at("fingerprint"),
              shown.at("identities").at(0).at("fingerprint"));
    EXPECT_NE(run({"keys", "show"}).out.find(", sealed\n"), std::string::npos);

    const auto file = dir_ / "mickey.backup";
    fails({"keys", "backup", file}, "--backup-passphrase-file names a file with");
    fails({"keys", "backup", file, "--backup-passphrase-file", dir_ / "short"}, "has 12 bytes");
    EXPECT_FALSE(fs::exists(file));
    ASSERT_EQ(run({"keys", "backup", file, "--backup-passphrase-file", dir_ / "for-backup"}).status,
              0);
    fails({"keys", "backup", file, "--backup-passphrase-file", dir_ / "for-backup"},
          "is there already, and is not overwritten");
    EXPECT_EQ(read_file(file).find(std::string(shown.at("creatorid").as_string())),
              std::string::npos);
    fails({"keys", "restore", file, "--backup-passphrase-file", dir_ / "for-backup"},
          "there is something here already");

    // The machine is lost: docs/keys.md.
    fs::remove_all(keydir);
    fails({"keys", "restore", file, "--backup-passphrase-file", dir_ / "wrong"},
          "the passphrase is wrong, or somebody has changed this file");
    EXPECT_FALSE(fs::exists(keydir));
    const auto restored =
        run({"keys", "restore", "--seal", file, "--backup-passphrase-file", dir_ / "for-backup"});
    EXPECT_EQ(restored.status, 0) << restored.err;
    again = run_json({"keys", "show"}).as_object();
    EXPECT_EQ(again.at("secrets"), "sealed");
    EXPECT_EQ(again.at("creatorid"), shown.at("creatorid"));
    EXPECT_EQ(again.at("identities").at(0).at("fingerprint"),
              shown.at("identities").at(0).at("fingerprint"));
    EXPECT_EQ(run({"keys", "log", "--verify"}).status, 0);

    EXPECT_EQ(
        run({"keys", "seal", "--change", "--new-passphrase-file", dir_ / "for-backup"}).status, 0);
    fails({"keys", "show"}, "the passphrase is wrong");
    EXPECT_EQ(run({"keys", "unseal", "--passphrase-file", dir_ / "for-backup"}).status, 0);
    EXPECT_EQ(run_json({"keys", "show"}).at("secrets"), "plain");
}

TEST_F(Command, AsksForAPassphraseWithoutEcho) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    {
        Terminal terminal({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "seal"});
        terminal.type("correct horse battery\n");
        terminal.type("correct horse batterY\n");
        EXPECT_EQ(terminal.end(), 1);
        EXPECT_NE(terminal.shown().find("the two are not the same"), std::string::npos)
            << terminal.shown();
    }
    Terminal terminal({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "seal"});
    terminal.type("correct horse battery\n");
    terminal.type("correct horse battery\n");
    EXPECT_EQ(terminal.end(), 0);
    EXPECT_TRUE(terminal.echoes());
    EXPECT_EQ(terminal.shown().find("horse"), std::string::npos) << terminal.shown();
    EXPECT_EQ(terminal.shown().find("New passphrase of "), 0u) << terminal.shown();
    Terminal show({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "show"});
    show.type("correct horse battery\n");
    EXPECT_EQ(show.end(), 0);
    EXPECT_NE(show.shown().find("mickey ("), std::string::npos) << show.shown();
}

TEST_F(Command, AnInterruptedPassphraseLeavesTheTerminalAsItWas) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
        Terminal terminal({ENCSYNC_COMMAND, "--config", dir_ / "encsync.conf", "keys", "seal"});
        terminal.type("correct");
        terminal.send(signal);
        EXPECT_EQ(terminal.end(), -signal);
        EXPECT_TRUE(terminal.echoes()) << signal;
    }
    EXPECT_EQ(run_json({"keys", "show"}).at("secrets"), "plain");
}

TEST_F(Command, TellsARotationFromAnotherIdentity) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const std::string anew = dir_ / "anew";
    ASSERT_EQ(run({"keys", "--keydir", anew, "init", "--name", "minnie"}).status, 0);
    write(dir_ / "anew.pub", run({"keys", "--keydir", anew, "export"}).out);
    const auto refused = run({"keys", "trust", dir_ / "anew.pub"});
    EXPECT_EQ(refused.status, 1);
    EXPECT_NE(refused.err.find("is not signed by that key"), std::string::npos) << refused.err;
    EXPECT_EQ(run_json({"keys", "list"}).as_array().size(), 1u);
    EXPECT_EQ(run({"keys", "trust", "--new-identity", dir_ / "anew.pub"}).status, 0);
    EXPECT_EQ(run_json({"keys", "list"}).as_array().size(), 2u);
}

TEST_F(Command, ShowsAndChecksTheLogOfKeys) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    write(dir_ / "minnie.pub", as_minnie({"keys", "export"}).out);
    ASSERT_EQ(run({"keys", "trust", dir_ / "minnie.pub"}).status, 0);
    const auto log = run_json({"keys", "log"});
    ASSERT_EQ(log.at("entries").as_array().size(), 2u);
    EXPECT_EQ(log.at("entries").at(1).at("event"), "trust");
    EXPECT_EQ(log.at("entries").at(1).at("name"), "minnie");
    EXPECT_EQ(log.at("differences"), json::array());
    const std::string last(log.at("last").as_string());
    const auto shown = run({"keys", "log"});
    EXPECT_EQ(shown.status, 0) << shown.err;
    EXPECT_TRUE(shown.out.starts_with("TIME ")) << shown.out;
    const auto verified = run({"keys", "log", "--verify", last});
    EXPECT_EQ(verified.status, 0) << verified.err;
    EXPECT_EQ(verified.out, "2 events, the last one's hash is " + last +
                                "; the keys that are there are those of the log\n");
    EXPECT_EQ(run({"keys", "log", "--verify", "AAAA"}).status, 1);

    // A key that came by another way, and a log that was changed.
    std::filesystem::remove(dir_ / "keys" / "trusted");
    const auto differs = run({"keys", "log", "--verify"});
    EXPECT_EQ(differs.status, 1);
    EXPECT_NE(differs.err.find(" of minnie is not there, though it is in the log"),
              std::string::npos);
    EXPECT_EQ(run({"keys", "log", "--json"}).status, 1);
    write(dir_ / "keys" / "log", "encsync key log 1\nsomething else\n");
    EXPECT_EQ(run({"keys", "log"}).err, "encsync: " + (dir_ / "keys" / "log").string() +
                                            ": line 2: expected a time, an event, a "
                                            "name, a fingerprint and a hash\n");
}

TEST_F(Command, RotatesAnIdentityOnBothSides) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    ASSERT_EQ(as_minnie({"keys", "init"}).status, 0);
    const auto first = run_json({"keys", "show"}).at("identities").at(0).at("fingerprint");
    EXPECT_EQ(run({"keys", "retire"}).status, 1);
    EXPECT_EQ(run({"keys", "rotate", "--what", "identity", "--peer", "minnie"}).status, 1);

    start({{"reload-keys", nullptr}});
    const auto rotated = run({"keys", "rotate", "--what", "identity"});
    EXPECT_EQ(rotated.status, 0) << rotated.err;
    EXPECT_NE(rotated.out.find("encsyncd has read the keys anew"), std::string::npos);
    const auto both = run_json({"keys", "show"}).at("identities");
    ASSERT_EQ(both.as_array().size(), 2u);
    EXPECT_EQ(both.at(0).at("fingerprint"), first);
    EXPECT_EQ(both.at(0).at("signs"), true);
    EXPECT_EQ(run({"keys", "rotate", "--what", "identity"}).status, 1);

    write(dir_ / "mickey.pub", run({"keys", "export"}).out);
    EXPECT_EQ(as_minnie({"keys", "trust", dir_ / "mickey.pub"}).status, 0);
    stop();

    const auto peers_trust = [&](json::array minnie, json::array goofy) {
        start({{"reload-keys", nullptr},
               {"peers", json::array{{{"name", "minnie"}, {"accepts", std::move(minnie)}},
                                     {{"name", "goofy"}, {"accepts", std::move(goofy)}}}}});
    };
    const json::value next = both.at(1).at("fingerprint");
    EXPECT_NE(run({"keys", "retire"}).err.find("encsyncd does not run"), std::string::npos);
    peers_trust({first, next}, {first});
    const auto early = run({"keys", "retire"});
    EXPECT_EQ(early.status, 1);
    EXPECT_EQ(early.err,
              "encsync: goofy has not shown that the new key is trusted there: take it to the peer "
              "(encsync keys export) and run encsync keys trust; --force retires the old key all "
              "the same\n");
    EXPECT_EQ(run_json({"keys", "show"}).at("identities").as_array().size(), 2u);
    stop();
    peers_trust({first, next}, {next});
    EXPECT_EQ(run({"keys", "retire"}).status, 0);
    EXPECT_EQ(as_minnie({"keys", "retire", "--peer", "mickey"}).status, 0);
    EXPECT_EQ(as_minnie({"keys", "retire", "--peer", "mickey"}).status, 1);
    const auto left = as_minnie({"keys", "list"}).out;
    EXPECT_NE(left.find(std::string(both.at(1).at("fingerprint").as_string())), std::string::npos);
    EXPECT_EQ(left.find(std::string(first.as_string())), std::string::npos);
    stop();
    // Each change once, and none that was refused.
    EXPECT_EQ(std::ranges::count(asked_, R"({"command":"reload-keys"})"), 4);
    // A peer that never confirms the new key.
    ASSERT_EQ(run({"keys", "rotate", "--what", "identity"}).status, 0);
    EXPECT_EQ(run({"keys", "retire"}).status, 1);
    EXPECT_EQ(run({"keys", "retire", "--force"}).status, 0);
}

TEST_F(Command, SaysIfTheDaemonDoesNotTakeTheKeys) {
    ASSERT_EQ(run({"keys", "init"}).status, 0);
    start({}); // without reload-keys
    const auto outcome = run({"keys", "rotate", "--what", "identity"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.err, "encsync: the keys have changed, but encsyncd did not take them: this "
                           "encsyncd does not offer 'reload-keys'\n");
}

TEST_F(Command, FindsTheKeyDirectory) {
    const std::string elsewhere = dir_ / "elsewhere";
    EXPECT_EQ(run({"keys", "init", "--keydir", elsewhere, "--name", "goofy"}).status, 0);
    EXPECT_TRUE(run({"keys", "--keydir", elsewhere, "show"}).out.starts_with("goofy ("));
    EXPECT_EQ(run({"keys", "show"}).status, 1); // the configuration has another name
    write(dir_ / "bad.conf", "nonsense\n");
    const auto bad = run({"keys", "show", "--config", dir_ / "bad.conf"});
    EXPECT_EQ(bad.status, 1);
    EXPECT_EQ(bad.err, "encsync: " + (dir_ / "bad.conf").string() +
                           ": has errors; 'encsync check' lists them, and with --keydir it is not "
                           "needed\n");
    EXPECT_EQ(run({"keys", "show", "--config", dir_ / "none.conf"}).status, 1);
    EXPECT_EQ(run({"keys", "show", "--config", dir_ / "bad.conf", "--keydir", elsewhere}).status,
              0);
    EXPECT_EQ(run({"keys", "init", "--keydir", dir_ / "new", "--name", "no/name"}).status, 1);
}

} // namespace
} // namespace encsync
