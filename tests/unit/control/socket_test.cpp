// SPDX-License-Identifier: ISC
// Server and client over a real socket. The server's loop runs in this thread, clients in another;
// raw sockets for what a client would not do.
#include "control/client.hpp"
#include "control/server.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>

namespace encsync::control {
namespace {

namespace fs = std::filesystem;
using boost::json::object;
using boost::json::value;

template<class T>
std::string why(const Result<T>& result) {
    return result ? std::string("accepted") : result.error().text;
}

class ControlSocket : public testing::Test {
  protected:
    ControlSocket() {
        std::string pattern = fs::temp_directory_path() / "encsync-control-XXXXXX";
        if (!::mkdtemp(pattern.data()))
            std::abort();
        dir_ = pattern;
    }
    ~ControlSocket() override {
        server_.reset();
        fs::remove_all(dir_);
    }

    void serve(const ServerOptions& options = {}) {
        auto server = Server::open(io_, dir_, options);
        ASSERT_TRUE(server) << why(server);
        server_ = std::move(*server);
        server_->handle("status", [](const object&) -> Result<value> {
            return value(object{{"node", "mickey"}});
        });
        server_->handle("bulk", [](const object& fields) -> Result<value> {
            return Error{"no peer " + std::string(text(fields, "peer"))};
        });
        server_->handle("peers",
                        [](const object&) -> Result<value> { throw std::runtime_error("a bug"); });
    }

    // Runs the server until the client's work is done.
    template<class Work>
    auto run(Work work) {
        auto done = std::async(std::launch::async, [&] {
            const auto stop = [this](int*) { boost::asio::post(io_, [this] { io_.stop(); }); };
            int unused = 0;
            const std::unique_ptr<int, decltype(stop)> at_end(&unused, stop);
            return work();
        });
        const auto guard = boost::asio::make_work_guard(io_);
        io_.run();
        io_.restart();
        return done.get();
    }

    Fd raw() const {
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        const std::string path = socket_path(dir_);
        std::memcpy(address.sun_path, path.data(), path.size());
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
            << std::strerror(errno);
        return fd;
    }
    static void send(const Fd& fd, std::string_view text) {
        EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }
    static std::string receive_until(const Fd& fd, std::size_t lines) {
        std::string got;
        char c;
        while (lines > 0 && ::recv(fd.get(), &c, 1, 0) == 1) {
            got += c;
            lines -= c == '\n';
        }
        return got;
    }
    static std::string receive_all(const Fd& fd) { return receive_until(fd, SIZE_MAX); }

    std::string dir_;
    boost::asio::io_context io_{1};
    std::unique_ptr<Server> server_;
};

TEST_F(ControlSocket, AnswersACommand) {
    serve();
    const auto reply = run([&] {
        auto client = Client::connect(dir_);
        EXPECT_TRUE(client) << why(client);
        EXPECT_TRUE(client->call({{"command", "status"}}));
        return client->call({{"command", "status"}}); // again, on the same connection
    });
    ASSERT_TRUE(reply) << why(reply);
    EXPECT_EQ(*reply, (value(object{{"node", "mickey"}})));
    EXPECT_EQ(server_->counters().requests, 2u);
    EXPECT_EQ(server_->counters().connections, 1u);
}

TEST_F(ControlSocket, SaysWhyItRefuses) {
    serve();
    const auto [bulk, halt, peers, sas, status] = run([&] {
        auto client = Client::connect(dir_);
        auto call = [&](const object& request) { return why(client->call(request)); };
        return std::tuple(call({{"command", "bulk"}, {"peer", "goofy"}}),
                          call({{"command", "halt"}}), call({{"command", "peers"}}),
                          call({{"command", "sas"}}), call({{"command", "status"}}));
    });
    EXPECT_EQ(bulk, "no peer goofy");
    EXPECT_EQ(halt, "unknown command 'halt'");
    EXPECT_EQ(peers, "internal error: a bug");
    EXPECT_EQ(sas, "this encsyncd does not offer 'sas'");
    EXPECT_EQ(status, "accepted"); // a refusal does not close the connection
    EXPECT_EQ(server_->counters().connections, 1U);
    EXPECT_EQ(server_->counters().requests, 1U);
    EXPECT_EQ(server_->counters().of(Refusal::failed), 2U);
    EXPECT_EQ(server_->counters().of(Refusal::unknown_command), 2U);
}

TEST_F(ControlSocket, TakesRequestsInAnyPieces) {
    serve();
    const auto got = run([&] {
        const Fd fd = raw();
        for (const char c : std::string_view("{\"command\":\"status\"}\n{\"comm"))
            send(fd, {&c, 1});
        std::string all = receive_until(fd, 1);
        send(fd, "and\":\"status\"}\nnonsense\n{\"command\":\"status\"}\n");
        return all + receive_until(fd, 3);
    });
    EXPECT_EQ(got, R"({"ok":true,"result":{"node":"mickey"}})"
                   "\n"
                   R"({"ok":true,"result":{"node":"mickey"}})"
                   "\n"
                   R"({"ok":false,"error":"not JSON: syntax error"})"
                   "\n"
                   R"({"ok":true,"result":{"node":"mickey"}})"
                   "\n");
    EXPECT_EQ(server_->counters().of(Refusal::bad_json), 1u);
}

TEST_F(ControlSocket, HangsUpOnARequestWithoutEnd) {
    serve();
    const auto got = run([&] {
        const Fd fd = raw();
        send(fd, std::string(kMaxRequest + 1, 'x'));
        return receive_all(fd);
    });
    EXPECT_EQ(got, "{\"ok\":false,\"error\":\"a request longer than 65536 bytes\"}\n");
    EXPECT_EQ(server_->counters().of(Refusal::too_long), 1u);
}

TEST_F(ControlSocket, TakesARequestOfTheGreatestLength) {
    serve();
    const auto got = run([&] {
        const Fd fd = raw();
        std::string line = R"({"command":"status"})";
        send(fd, line + std::string(kMaxRequest - line.size(), ' ') + "\n");
        return receive_until(fd, 1);
    });
    EXPECT_EQ(got, "{\"ok\":true,\"result\":{\"node\":\"mickey\"}}\n");
}

TEST_F(ControlSocket, StreamsAndSkipsNothing) {
    serve();
    constexpr int kItems = 20000;
    server_->handle_stream("states", [](const object& fields) -> Result<Generator> {
        if (text(fields, "filter") == "bad")
            return Error{"filter: bad"};
        return Generator([i = 0]() mutable -> std::optional<value> {
            if (i == 3 * kItems)
                return std::nullopt;
            // Two of three are null, in long sequences.
            const int n = i++;
            return n < 2 * kItems ? value() : value(n - 2 * kItems);
        });
    });
    std::vector<int> items;
    const auto [bad, good, after] = run([&] {
        auto client = Client::connect(dir_);
        auto ask = [&](const char* filter) {
            return why(
                client->stream({{"command", "states"}, {"filter", filter}}, [&](const value& item) {
                    items.push_back(static_cast<int>(item.as_int64()));
                }));
        };
        auto first = ask("bad"), second = ask("tcp");
        return std::tuple(first, second, why(client->call({{"command", "status"}})));
    });
    EXPECT_EQ(bad, "filter: bad");
    EXPECT_EQ(good, "accepted");
    EXPECT_EQ(after, "accepted");
    ASSERT_EQ(items.size(), static_cast<std::size_t>(kItems));
    for (int i = 0; i < kItems; i++)
        ASSERT_EQ(items[static_cast<std::size_t>(i)], i);
}

TEST_F(ControlSocket, AnErrorInAStreamReachesTheClient) {
    serve();
    server_->handle_stream("states", [](const object&) -> Result<Generator> {
        return Generator([i = 0]() mutable -> std::optional<value> {
            if (i == 3)
                throw std::runtime_error("a bug");
            return value(i++);
        });
    });
    int items = 0;
    const auto got = run([&] {
        auto client = Client::connect(dir_);
        return why(client->stream({{"command", "states"}}, [&](const value&) { items++; }));
    });
    EXPECT_EQ(got, "internal error: a bug");
    EXPECT_EQ(items, 3);
}

// An endless stream that is not read: other connections are served meanwhile, and the generator is
// called for no more than the socket accepts.
TEST_F(ControlSocket, ASlowReaderBlocksNobody) {
    serve();
    std::uint64_t pulled = 0;
    server_->handle_stream("states", [&](const object&) -> Result<Generator> {
        return Generator([&pulled]() -> std::optional<value> {
            pulled++;
            return value(std::string(100, 'x'));
        });
    });
    run([&] {
        const Fd slow = raw();
        send(slow, "{\"command\":\"states\"}\n");
        receive_until(slow, 1); // the stream has begun
        auto client = Client::connect(dir_);
        for (int i = 0; i < 100; i++)
            EXPECT_TRUE(client->call({{"command", "status"}}));
        return 0;
    });
    EXPECT_GT(pulled, 0u);
    EXPECT_LT(pulled, 100000u); // 10 MB; a unix socket holds about 200 kB
}

TEST_F(ControlSocket, HangsUpOnTheIdle) {
    serve({.idle = std::chrono::milliseconds(20)});
    bool released = false;
    server_->handle_stream("states", [&](const object&) -> Result<Generator> {
        const auto guard = std::shared_ptr<int>(new int, [&](int* p) {
            released = true;
            delete p;
        });
        return Generator([guard]() -> std::optional<value> { return value(1); });
    });
    const auto got = run([&] {
        const Fd silent = raw();
        std::string all = receive_all(silent);
        // If this thread is too slow, this connection is closed as well: try again.
        Fd unread;
        do {
            unread = raw();
            ::send(unread.get(), "{\"command\":\"states\"}\n", 21, MSG_NOSIGNAL);
        } while (receive_until(unread, 1).empty());
        // Wait until it is closed, without reading.
        pollfd polled{unread.get(), POLLRDHUP, 0};
        EXPECT_EQ(::poll(&polled, 1, -1), 1);
        return all;
    });
    EXPECT_EQ(got, "");
    EXPECT_TRUE(released);
}

TEST_F(ControlSocket, LimitsConnections) {
    serve({.max_connections = 2, .in_use = std::chrono::minutes(10)});
    const auto [third, again] = run([&] {
        auto one = Client::connect(dir_), two = Client::connect(dir_);
        EXPECT_TRUE(one->call({{"command", "status"}}));
        EXPECT_TRUE(two->call({{"command", "status"}}));
        std::string refused = receive_all(raw());
        { const Client gone = std::move(*two); }
        // A closed one makes room, as soon as the server has noticed.
        std::string later;
        do
            later = why(Client::connect(dir_)->call({{"command", "status"}}));
        while (later == "too many connections to the control socket");
        return std::tuple(refused, later);
    });
    EXPECT_EQ(third, "{\"ok\":false,\"error\":\"too many connections to the control socket\"}\n");
    EXPECT_EQ(again, "accepted");
    EXPECT_GE(server_->counters().of(Refusal::too_many), 1u);
}

TEST_F(ControlSocket, AForgottenConnectionMakesRoom) {
    serve({.max_connections = 2, .in_use = std::chrono::milliseconds(50)});
    const auto answers = run([&] {
        auto forgotten = Client::connect(dir_), used = Client::connect(dir_);
        EXPECT_TRUE(forgotten->call({{"command", "status"}}));
        EXPECT_TRUE(used->call({{"command", "status"}}));
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        EXPECT_TRUE(used->call({{"command", "status"}}));
        auto third = Client::connect(dir_);
        const std::string came = why(third->call({{"command", "status"}}));
        return std::tuple(came, why(used->call({{"command", "status"}})),
                          why(forgotten->call({{"command", "status"}})));
    });
    EXPECT_EQ(std::get<0>(answers), "accepted");
    EXPECT_EQ(std::get<1>(answers), "accepted");
    EXPECT_NE(std::get<2>(answers), "accepted");
    EXPECT_EQ(server_->counters().of(Refusal::too_many), 0u);
}

TEST_F(ControlSocket, IsForItsUserOnly) {
    serve();
    struct stat info {};
    ASSERT_EQ(::stat(socket_path(dir_).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u);
}

TEST_F(ControlSocket, TurnsAwayAStrangerWhateverTheMode) {
    if (::geteuid() != 0)
        GTEST_SKIP() << "only root can become a stranger";
    serve();
    ASSERT_EQ(::chmod(dir_.c_str(), 0755), 0);
    ASSERT_EQ(::chmod(socket_path(dir_).c_str(), 0666), 0);
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
    const Fd out(pipe_ends[0]);
    Fd in(pipe_ends[1]);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
        if (::setuid(4242) != 0)
            ::_exit(1);
        const Fd fd = raw();
        ::send(fd.get(), "{\"command\":\"status\"}\n", 21, MSG_NOSIGNAL);
        const std::string got = receive_all(fd);
        ::_exit(::write(in.get(), got.data(), got.size()) == static_cast<ssize_t>(got.size()) ? 0
                                                                                              : 1);
    }
    in.reset();
    const auto got = run([&] {
        std::string all;
        char c;
        while (::read(out.get(), &c, 1) == 1)
            all += c;
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
        return all;
    });
    EXPECT_EQ(got, "{\"ok\":false,\"error\":\"only root and the user of encsyncd may use the "
                   "control socket\"}\n");
    EXPECT_EQ(server_->counters().of(Refusal::not_permitted), 1u);
    EXPECT_EQ(server_->counters().requests, 0u);
}

TEST_F(ControlSocket, IsTheOnlyOne) {
    serve();
    const std::string taken = "another encsyncd is running with this run dir (" + dir_ + ")";
    EXPECT_EQ(why(Server::open(io_, dir_)), taken);
    EXPECT_TRUE(fs::exists(socket_path(dir_)));
    server_.reset();
    EXPECT_FALSE(fs::exists(socket_path(dir_)));
    EXPECT_TRUE(Server::open(io_, dir_));
}

TEST_F(ControlSocket, ReplacesAStaleFileAndNoOther) {
    const std::string path = socket_path(dir_);
    Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(listener.get(), 1), 0);
    // Another program answers, without our lock.
    EXPECT_EQ(why(Server::open(io_, dir_)),
              "another encsyncd is running with this run dir (" + dir_ + ")");
    listener.reset(); // the file remains
    EXPECT_TRUE(fs::exists(path));
    EXPECT_EQ(why(Client::connect(dir_)),
              "encsyncd is not running (nobody answers on " + path + ")");
    EXPECT_TRUE(Server::open(io_, dir_));

    std::ofstream(path) << "precious";
    EXPECT_EQ(why(Server::open(io_, dir_)), path + ": is in the way, and no socket");
    EXPECT_TRUE(fs::exists(path));
}

TEST_F(ControlSocket, NamesAnImpossibleRunDir) {
    EXPECT_EQ(why(Server::open(io_, dir_ + "/none")),
              dir_ + "/none: cannot open the run directory: No such file or directory");
    const std::string longest = dir_ + "/" + std::string(100, 'x');
    EXPECT_NE(why(Server::open(io_, longest)).find("longer than the 107 characters"),
              std::string::npos);
    EXPECT_NE(why(Client::connect(longest)).find("longer than the 107 characters"),
              std::string::npos);
}

TEST_F(ControlSocket, TheClientSaysThatNobodyIsThere) {
    EXPECT_EQ(why(Client::connect(dir_)), "encsyncd is not running (no " + socket_path(dir_) + ")");
    auto maybe = Client::connect_if_running(dir_);
    ASSERT_TRUE(maybe);
    EXPECT_FALSE(*maybe);
    serve();
    maybe = Client::connect_if_running(dir_);
    ASSERT_TRUE(maybe);
    EXPECT_TRUE(*maybe);
}

// A daemon that listens and never answers.
TEST_F(ControlSocket, TheClientDoesNotWaitForEver) {
    serve(); // and its loop does not run
    auto client = Client::connect(dir_, std::chrono::milliseconds(10));
    ASSERT_TRUE(client);
    EXPECT_EQ(why(client->call({{"command", "status"}})), "encsyncd did not answer within 0.01 s");
}

TEST_F(ControlSocket, TheClientNoticesAHangUp) {
    serve();
    auto client = Client::connect(dir_);
    ASSERT_TRUE(client);
    server_.reset();
    EXPECT_EQ(why(client->call({{"command", "status"}})),
              "encsyncd closed the connection without an answer");
}

} // namespace
} // namespace encsync::control
