// SPDX-License-Identifier: ISC
// The command line, and the verbs that ask the daemon or read a file.
#include "command.hpp"

#include <boost/asio/post.hpp>

namespace encsync {
namespace {

TEST_F(Command, RefusesACommandLineWithoutSense) {
    for (const std::vector<std::string>& words : {std::vector<std::string>{},
                                                  {"halt"},
                                                  {"keys"},
                                                  {"keys", "halt"},
                                                  {"status", "--halt"},
                                                  {"role", "master"},
                                                  {"keys", "trust"},
                                                  {"keys", "rotate", "--what", "every"},
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
              "encsync: encsync policy what? One of: show, verify, test; see encsync --help\n");
    EXPECT_EQ(said({"policy", "xyzzy"}), "encsync: there is no 'encsync policy xyzzy'; one of: "
                                         "show, verify, test; see encsync --help\n");
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

TEST_F(Command, WaitsUntilReady) {
    EXPECT_EQ(run({"wait"}).status, 2); // for what?
    EXPECT_EQ(run({"wait", "--ready", "--timeout", "-1"}).status, 2);
    const std::string down =
        "encsyncd is not running (no " + (dir_ / "control.sock").string() + ")\n";
    auto outcome = run({"wait", "--ready", "--timeout", "0"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.err, "encsync: not ready after 0 s: " + down);
    // It waits for a daemon that is starting, and for one that is not ready yet.
    std::thread starts([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        boost::asio::post(io_, [this] { // before anybody can ask
            server_->handle("status", [this](const json::object&) -> Result<json::value> {
                asked_.emplace_back("status");
                const bool ready = asked_.size() > 2;
                return json::value{{"ready", ready},
                                   {"why", ready ? "" : "no peer has been heard yet"}};
            });
        });
        start({});
    });
    outcome = run({"wait", "--ready"});
    starts.join();
    EXPECT_EQ(outcome.status, 0);
    EXPECT_TRUE(outcome.err.ends_with("encsync: waiting: no peer has been heard yet\n"))
        << outcome.err;
    EXPECT_LE(lines(outcome.err), 2) << outcome.err; // each reason once
    EXPECT_EQ(outcome.out, "");
    stop();
    start({{"status", {{"ready", false}, {"why", "the state table has not been read yet"}}}});
    outcome = run({"wait", "--ready", "--timeout", "1", "--json"});
    EXPECT_EQ(outcome.status, 1);
    EXPECT_EQ(outcome.err,
              "{\"error\":\"not ready after 1 s: the state table has not been read yet\"}\n");
}

TEST_F(Command, WatchesUntilNobodyReads) {
    start({{"status", {{"node", "mickey"}}}});
    const std::string dir = dir_.string();
    const std::string command = "(timeout 60 " ENCSYNC_COMMAND " --run-dir '" + dir +
                                "' status --watch --json; echo $? > '" + dir +
                                "/ended') | head -n 2 > '" + dir + "/watched'";
    EXPECT_EQ(std::system(command.c_str()), 0);
    const std::string once = "{\"node\":\"mickey\"}\n";
    EXPECT_EQ(read_file(dir_ / "watched"), once + once);
    EXPECT_NE(read_file(dir_ / "ended"), "124\n"); // it was not timeout(1) that ended it
    EXPECT_EQ(run({"status", "--watch", "--ready"}).status, 2);
}

TEST_F(Command, PrintsMetrics) {
    start({{"metrics", json::string("encsync_ready 1\n")}});
    EXPECT_EQ(run({"metrics"}).out, "encsync_ready 1\n");
    EXPECT_EQ(run({"metrics", "--format", "prometheus"}).status, 0);
    EXPECT_EQ(run({"metrics", "--format", "xml"}).status, 2);
    EXPECT_EQ(run({"metrics", "--json"}).status, 2);
    stop();
    EXPECT_EQ(asked_, (std::vector<std::string>{R"({"command":"metrics"})",
                                                R"({"command":"metrics","format":"prometheus"})"}));
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

} // namespace
} // namespace encsync
