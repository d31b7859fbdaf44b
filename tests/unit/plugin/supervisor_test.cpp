// SPDX-License-Identifier: ISC
// charon's privileges, what is done about a faulty one, and one that cannot be started.
#include "ipsec/plugin/charon_user.hpp"
#include "tests/unit/plugin/pair.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>

namespace encsync::supervisor::test {
namespace {

using std::chrono::milliseconds;

std::string status_of(pid_t pid, std::string_view field) {
    std::ifstream in(fmt::format("/proc/{}/status", pid));
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(fmt::format("{}:\t", field)))
            return line.substr(field.size() + 2);
    return "no such field";
}

std::string namespace_of(pid_t pid, std::string_view kind) {
    std::error_code error;
    return std::filesystem::read_symlink(fmt::format("/proc/{}/ns/{}", pid, kind), error).string();
}

TEST_F(Pair, CharonCanDoNothingButThink) {
    start(mickey, peer_of(mickey));
    ASSERT_TRUE(eventually([&] { return mickey.ups == 1; }));
    const pid_t pid = mickey.ike.pid(), self = ::getpid();
    const auto uid = static_cast<uid_t>(std::stoul(status_of(pid, "Uid")));
    EXPECT_EQ(status_of(pid, "Uid"), fmt::format("{0}\t{0}\t{0}\t{0}", uid));
    const passwd* encsync = ::getpwnam("encsync");
    EXPECT_TRUE(encsync ? uid == encsync->pw_uid : uid >= 61184 && uid <= 65519) << uid;
    EXPECT_EQ(status_of(pid, "Groups"), " ");
    for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
        EXPECT_EQ(status_of(pid, set), "0000000000000000") << set;
    EXPECT_EQ(status_of(pid, "NoNewPrivs"), "1");
    EXPECT_EQ(status_of(pid, "Seccomp"), "2"); // SECCOMP_MODE_FILTER
    for (const char* kind : {"net", "mnt", "ipc"}) {
        EXPECT_NE(namespace_of(pid, kind), "") << kind;
        EXPECT_NE(namespace_of(pid, kind), namespace_of(self, kind)) << kind;
    }
    // Other processes of its user cannot read its memory (prctl(PR_SET_DUMPABLE)).
    struct stat info {};
    ASSERT_EQ(::stat(fmt::format("/proc/{}/environ", pid).c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 0U);
    // No descriptor of ours but the channel, and no network socket.
    for (const auto& fd : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid))) {
        std::error_code error;
        const auto target = std::filesystem::read_symlink(fd.path(), error).string();
        const int number = std::stoi(fd.path().filename().string());
        if (target.starts_with("socket:")) {
            EXPECT_EQ(number, 3);
        }
    }
    std::ifstream devices(fmt::format("/proc/{}/net/dev", pid));
    const std::string text{std::istreambuf_iterator<char>(devices), {}};
    EXPECT_EQ(text.find("eth"), std::string::npos);
    EXPECT_NE(text.find("lo:"), std::string::npos);
}

TEST_F(Pair, HangingCharonIsReplaced) {
    Options impatient = options();
    impatient.ping_interval = milliseconds(100);
    Node node(io, impatient);
    const bool cut = false;
    node.wire = &cut;
    ASSERT_TRUE(node.ike.start());
    ASSERT_TRUE(eventually([&] { return node.ups == 1; }));
    const pid_t pid = node.ike.pid();
    ASSERT_EQ(::kill(pid, SIGSTOP), 0);
    ASSERT_TRUE(eventually([&] { return node.ups == 2; }));
    ASSERT_EQ(node.losses.size(), 1U);
    EXPECT_EQ(node.losses.front(), "charon does not answer and was killed");
    EXPECT_NE(node.ike.pid(), pid);
    // One that answers is not killed.
    go_on(impatient.hang_timeout + milliseconds(1000));
    EXPECT_EQ(node.losses.size(), 1U);
}

TEST_F(Pair, ItIsNotCharonThatHangsIfWeDid) {
    Options impatient = options();
    impatient.ping_interval = milliseconds(100);
    Node node(io, impatient);
    const bool cut = false;
    node.wire = &cut;
    ASSERT_TRUE(node.ike.start());
    ASSERT_TRUE(eventually([&] { return node.ups == 1; }));
    go_on(milliseconds(300));
    std::this_thread::sleep_for(impatient.hang_timeout + milliseconds(500));
    go_on(milliseconds(1000));
    EXPECT_TRUE(node.losses.empty());
}

TEST_F(Pair, WhatIsTooLargeForIkeIsDroppedWithoutAWord) {
    Node node(io, options());
    const bool cut = false;
    node.wire = &cut;
    ASSERT_TRUE(node.ike.start());
    ASSERT_TRUE(eventually([&] { return node.ups == 1; }));
    const auto lines = node.log.size();
    std::vector<std::uint8_t> datagram(channel::kMaxDatagram + 1);
    for (int i = 0; i < 3; i++)
        node.ike.ike_in({}, {}, datagram);
    EXPECT_EQ(node.ike.counters().ike_in_dropped, 3U);
    EXPECT_EQ(node.log.size(), lines);
    datagram.pop_back(); // control
    node.ike.ike_in({}, {}, datagram);
    EXPECT_EQ(node.ike.counters().ike_in_dropped, 3U);
}

TEST_F(Pair, NothingIsLeftBehind) {
    pid_t pid = -1;
    {
        Node node(io, options());
        const bool cut = false;
        node.wire = &cut;
        ASSERT_TRUE(node.ike.start());
        ASSERT_TRUE(eventually([&] { return node.ups == 1; }));
        pid = node.ike.pid();
        ASSERT_EQ(::kill(pid, 0), 0);
    }
    EXPECT_NE(::kill(pid, 0), 0);
}

TEST_F(Pair, CharonDiesWithItsParent) {
    int channel[2];
    ASSERT_EQ(::pipe(channel), 0);
    const pid_t parent = ::fork();
    ASSERT_GE(parent, 0);
    if (parent == 0) {
        auto launcher = CharonLauncher::open(options().charon);
        if (!launcher)
            ::_exit(1);
        auto charon = launcher->launch();
        const pid_t pid = charon ? charon->pid : -1;
        // Only once it is charon: its prctl() is in effect by then.
        std::array<std::uint8_t, 64> hello;
        while (charon && ::recv(charon->channel.get(), hello.data(), hello.size(), 0) < 0)
            ;
        if (::write(channel[1], &pid, sizeof pid) < 0)
            ::_exit(1);
        ::kill(::getpid(), SIGKILL);
    }
    pid_t pid = -1;
    ASSERT_EQ(::read(channel[0], &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));
    ASSERT_GT(pid, 0);
    ::waitpid(parent, nullptr, 0);
    // Gone, or a zombie until its new parent reaps it.
    EXPECT_TRUE(eventually(
        [&] { return ::kill(pid, 0) != 0 || status_of(pid, "State").starts_with("Z"); }));
    ::close(channel[0]);
    ::close(channel[1]);
}

class BadCharon : public Pair {
  protected:
    void SetUp() override {
        Pair::SetUp();
        char name[] = "/tmp/encsync-bad-charon-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        dir = name;
        // Not accessible for the unprivileged user, like a build below /root.
        std::filesystem::permissions(dir, std::filesystem::perms(0700));
        std::filesystem::copy_file(ENCSYNC_BAD_CHARON, dir / "charon");
    }
    void TearDown() override {
        if (!dir.empty())
            std::filesystem::remove_all(dir);
    }
    std::filesystem::path dir;
};

TEST_F(BadCharon, MalformedMessagesAreRefusedAndCounted) {
    Options bad = options();
    bad.charon.charon = dir / "charon";
    bad.ping_interval = milliseconds(100);
    bad.hang_timeout = milliseconds(4000);
    Node node(io, bad);
    const bool cut = false;
    node.wire = &cut;
    ASSERT_TRUE(node.ike.start());
    ASSERT_TRUE(eventually([&] { return node.ike.counters().refused.size() == 5; }));
    const auto& refused = node.ike.counters().refused;
    EXPECT_EQ(refused.at("message before hello"), 1U);
    EXPECT_EQ(refused.at("second hello"), 1U);
    EXPECT_EQ(refused.at("unknown message type 99"), 2U);
    EXPECT_EQ(refused.at("delete_sa.spi: truncated"), 1U);
    EXPECT_EQ(refused.at("message that only encsyncd sends"), 1U);
    EXPECT_TRUE(node.sas.empty());
    EXPECT_TRUE(
        eventually([&] { return std::ranges::count(node.log, "charon: I am not charon"); }));
    ASSERT_TRUE(eventually([&] { return !node.losses.empty(); }));
    EXPECT_EQ(node.losses.front(), "charon does not answer and was killed");
}

TEST_F(Pair, OneThatEndsAtOnceIsTriedAgainWithBackOff) {
    Options bad = options();
    bad.charon.charon = "/bin/false";
    Node node(io, bad);
    const bool cut = false;
    node.wire = &cut;
    ASSERT_TRUE(node.ike.start());
    ASSERT_TRUE(eventually([&] { return node.losses.size() == 4; }));
    EXPECT_EQ(node.ike.counters().restarts, 3U);
    EXPECT_EQ(node.ups, 0U);
    EXPECT_TRUE(node.losses.front().starts_with("charon ended with status")) << node.losses.front();
}

TEST_F(Pair, WhatCannotWorkIsSaidAtOnce) {
    const auto reason = [&](auto change) {
        Options o = options();
        change(o.charon);
        Node node(io, o);
        const auto started = node.ike.start();
        return started ? std::string("started") : started.error().text;
    };
    EXPECT_EQ(reason([](auto& o) { o.charon = "/nonexistent/charon"; }),
              "/nonexistent/charon (Debian package strongswan-charon): No such file or directory");
    EXPECT_EQ(reason([](auto& o) { o.plugin = "/nonexistent/plugin.so"; }),
              "/nonexistent/plugin.so: No such file or directory");
    EXPECT_EQ(reason([](auto& o) { o.user = "no-such-user"; }),
              "no user 'no-such-user' to run charon as");
    EXPECT_EQ(reason([](auto& o) { o.user = "root"; }),
              "charon is not to run as root (charonuser=root)");
    EXPECT_EQ(
        reason([](auto& o) { o.user = "nobody"; }),
        "charon is not to run as nobody, whose processes could kill it: give it a user of its "
        "own (charonuser)");
}

// As which user another program runs until this ends.
class Program {
  public:
    explicit Program(uid_t uid) : pid_(::fork()) {
        if (pid_ != 0)
            return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::setresuid(uid, uid, uid) == 0)
            ::execl("/bin/sleep", "sleep", "1000", nullptr);
        ::_exit(1);
    }
    ~Program() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    bool runs() const { return status_of(pid_, "Name") == "sleep"; }
    pid_t pid() const { return pid_; }

  private:
    pid_t pid_;
};

TEST(CharonUser, IsSharedWithNoOtherProgram) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root: it starts a program as another user";
    const uid_t games = ::getpwnam("games")->pw_uid;
    const auto free = charon_user("games");
    ASSERT_TRUE(free) << free.error().text;
    EXPECT_EQ(free->uid, games);
    {
        const Program other(games);
        while (!other.runs())
            std::this_thread::yield();
        const auto shared = charon_user("games");
        ASSERT_FALSE(shared);
        EXPECT_EQ(shared.error().text,
                  fmt::format("charon is not to run as games, as another program does (sleep, pid "
                              "{}) and could kill it: give it a user of its own (charonuser)",
                              other.pid()));
    }
    EXPECT_TRUE(charon_user("games"));
}

TEST(CharonUser, IsAnUnusedIdIfThereIsNone) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "needs root: it starts a program as another user";
    if (::getpwnam("encsync") != nullptr)
        GTEST_SKIP() << "there is a user encsync";
    const auto first = charon_user("");
    ASSERT_TRUE(first) << first.error().text;
    const Program other(first->uid);
    while (!other.runs())
        std::this_thread::yield();
    const auto second = charon_user("");
    ASSERT_TRUE(second) << second.error().text;
    EXPECT_NE(second->uid, first->uid);
    EXPECT_GE(second->uid, 61184U);
    EXPECT_LE(second->uid, 65519U);
}

TEST(Supervisor, BadPeersAndIdentitiesAreRefused) {
    boost::asio::io_context io;
    Node node(io, options());
    const auto identity = node.ike.set_identity({"mickey", {}});
    ASSERT_FALSE(identity);
    EXPECT_EQ(identity.error().text, "identity.seeds: none");
    const auto peer = node.ike.set_peer({});
    ASSERT_FALSE(peer);
    EXPECT_EQ(peer.error().text, "peer.id: no such peer");
}

TEST(CharonConfig, TriesFitIntoTheDpdTimeout) {
    CharonOptions options;
    const auto tries = [&](int seconds) {
        options.dpdtimeout = std::chrono::seconds(seconds);
        const std::string text = charon_config(options);
        const auto at = text.find("retransmit_tries = ");
        return text.substr(at + 19, text.find('\n', at) - at - 19);
    };
    EXPECT_EQ(tries(5), "3");
    EXPECT_EQ(tries(30), "28");
    EXPECT_EQ(tries(0), "1");
}

} // namespace
} // namespace encsync::supervisor::test
