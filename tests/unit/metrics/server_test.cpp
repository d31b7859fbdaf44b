// SPDX-License-Identifier: ISC
// The server against clients that are good, slow, broken and hostile.
#include "metrics/server.hpp"

#include "util/fd.hpp"

#include <arpa/inet.h>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace encsync::metrics {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kGet = "GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n";

// A port of 127.0.0.1 that is free, and stays so with SO_REUSEADDR until somebody listens.
std::uint16_t free_port() {
    const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    return ntohs(address.sin_port);
}

net::Listen on_port(std::uint16_t port) {
    return {{}, {*net::parse_address("127.0.0.1"), port}};
}

sockaddr_in tcp(std::uint32_t address, std::uint16_t port) {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_addr.s_addr = htonl(address);
    out.sin_port = htons(port);
    return out;
}

// `host`: which of 127.0.0.1, 127.0.0.2 ... the client has.
Fd connect_to(const net::Listen& listen, unsigned host = 1) {
    if (!listen.path.empty()) {
        Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::memcpy(to.sun_path, listen.path.data(), listen.path.size());
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0)
            << std::strerror(errno);
        return fd;
    }
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in from = tcp(0x7f000000 + host, 0), to = tcp(INADDR_LOOPBACK, listen.tcp.port);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&from), sizeof from), 0);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0)
        << std::strerror(errno);
    return fd;
}

void send(const Fd& fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (n <= 0)
            return;
        text.remove_prefix(static_cast<std::size_t>(n));
    }
}

// All that comes until the end. A reset shows as "(reset)".
std::string receive(const Fd& fd) {
    std::string got;
    std::array<char, 65536> buffer;
    for (;;) {
        const ssize_t n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
        if (n == 0)
            return got;
        if (n < 0)
            return got + "(reset)";
        got.append(buffer.data(), static_cast<std::size_t>(n));
    }
}

std::string ask(const net::Listen& listen, std::string_view request = kGet, unsigned host = 1) {
    const Fd fd = connect_to(listen, host);
    send(fd, request);
    return receive(fd);
}

std::string status_of(const std::string& answer) {
    return answer.substr(0, answer.find('\r'));
}

class MetricsServer : public testing::Test {
  protected:
    // Everything of the server happens in the loop's thread.
    template<class Action>
    auto on_loop(Action action) {
        std::promise<decltype(action())> done;
        boost::asio::post(io_, [&] { done.set_value(action()); });
        return done.get_future().get();
    }

    void SetUp() override {
        listen_ = on_port(free_port());
        loop_ = std::thread([this] { io_.run(); });
    }
    void TearDown() override {
        on_loop([this] {
            server_.reset();
            return 0;
        });
        work_.reset();
        io_.stop();
        loop_.join();
    }

    void serve(const ServerOptions& options = {}) {
        on_loop([&] {
            server_ = std::make_unique<Server>(
                io_, listen_,
                [this](Format format) {
                    made_++;
                    return (format == Format::openmetrics ? "open " : "plain ") + text_;
                },
                options);
            server_->open();
            return 0;
        });
    }
    Counters counters() {
        return on_loop([this] { return server_->counters(); });
    }
    std::uint64_t refused(Refusal refusal) {
        return counters().refused[static_cast<std::size_t>(refusal)];
    }
    std::string trouble() {
        return on_loop([this] { return server_->trouble(); });
    }

    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
        io_.get_executor()};
    std::thread loop_;
    net::Listen listen_;
    std::string text_ = "text\n";
    int made_ = 0;
    std::unique_ptr<Server> server_;
};

TEST_F(MetricsServer, Answers) {
    serve();
    const std::string answer = ask(listen_);
    EXPECT_EQ(status_of(answer), "HTTP/1.1 200 OK");
    EXPECT_TRUE(answer.ends_with("\r\n\r\nplain text\n")) << answer;
    EXPECT_NE(answer.find("Content-Length: 11\r\n"), std::string::npos);
    EXPECT_TRUE(ask(listen_, "GET /metrics HTTP/1.1\r\nHost: m\r\n"
                             "Accept: application/openmetrics-text\r\n\r\n")
                    .ends_with("\r\n\r\nopen text\n"));
    const std::string head = ask(listen_, "HEAD /metrics HTTP/1.0\r\n\r\n");
    EXPECT_NE(head.find("Content-Length: 11\r\n"), std::string::npos);
    EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
    EXPECT_EQ(counters().connections, 3u);
    EXPECT_EQ(counters().requests, 3u);
}

TEST_F(MetricsServer, TakesARequestInPieces) {
    serve();
    const Fd fd = connect_to(listen_);
    for (const char c : kGet)
        send(fd, {&c, 1});
    EXPECT_TRUE(receive(fd).ends_with("plain text\n"));
}

TEST_F(MetricsServer, SaysWhyItRefuses) {
    serve();
    EXPECT_EQ(status_of(ask(listen_, "GET / HTTP/1.1\r\nHost: m\r\n\r\n")),
              "HTTP/1.1 404 Not Found");
    EXPECT_EQ(status_of(ask(listen_, "POST /metrics HTTP/1.1\r\nHost: m\r\n\r\n")),
              "HTTP/1.1 405 Method Not Allowed");
    EXPECT_EQ(status_of(ask(listen_, "nonsense\r\n\r\n")), "HTTP/1.1 400 Bad Request");
    EXPECT_EQ(refused(Refusal::not_found), 1u);
    EXPECT_EQ(refused(Refusal::method_not_allowed), 1u);
    EXPECT_EQ(refused(Refusal::bad_request), 1u);
    EXPECT_EQ(counters().requests, 0u);
}

// The answer arrives although there is more to read than anybody will.
TEST_F(MetricsServer, RefusesARequestThatIsTooLarge) {
    serve();
    const std::string field = "X: " + std::string(kMaxRequest, 'x') + "\r\n";
    const std::string start(kGet.substr(0, kGet.size() - 2));
    for (const std::string& request :
         {start + field, start + field + "\r\n", start + field + field + field + field + "\r\n"})
        EXPECT_EQ(ask(listen_, request).substr(0, 12), "HTTP/1.1 431") << request.size();
    EXPECT_EQ(refused(Refusal::too_large), 3u);
    // As large as may be.
    const std::string most =
        start + "X: " + std::string(kMaxRequest - start.size() - 7, 'x') + "\r\n\r\n";
    ASSERT_EQ(most.size(), kMaxRequest);
    EXPECT_EQ(ask(listen_, most).substr(0, 12), "HTTP/1.1 200");
}

TEST_F(MetricsServer, EndsWhoSendsNoRequestInTime) {
    serve({.request_time = 200ms});
    const Fd idle = connect_to(listen_), slow = connect_to(listen_);
    std::thread drip([&] { // each byte is progress, and no reason to wait on
        for (std::size_t n = 0; n < kGet.size() - 1; n++) {
            send(slow, kGet.substr(n, 1));
            std::this_thread::sleep_for(20ms);
        }
    });
    EXPECT_EQ(receive(idle).substr(0, 12), "HTTP/1.1 408");
    drip.join();
    EXPECT_EQ(receive(slow).substr(0, 12), "HTTP/1.1 408");
    EXPECT_EQ(refused(Refusal::timeout), 2u);
}

TEST_F(MetricsServer, EndsWhoDoesNotReadAndAnswersOthersMeanwhile) {
    text_ = std::string(std::size_t{16} << 20, 'x'); // more than any socket takes
    serve({.answer_time = 500ms});
    const Fd deaf = connect_to(listen_);
    send(deaf, kGet);
    EXPECT_EQ(status_of(ask(listen_)), "HTTP/1.1 200 OK");
    // It was given up: not all of it comes any more.
    while (on_loop([&] { return server_->connections(); }) != 0)
        std::this_thread::sleep_for(10ms);
    EXPECT_LT(receive(deaf).size(), text_.size());
}

TEST_F(MetricsServer, AClientTakesPlacesFromItselfOnly) {
    serve({.max_connections = 16, .max_per_client = 4});
    std::vector<Fd> hostile;
    for (int n = 0; n < 5; n++)
        hostile.push_back(connect_to(listen_, 2));
    EXPECT_EQ(receive(hostile[0]).substr(0, 12), "HTTP/1.1 503"); // its own oldest
    EXPECT_EQ(refused(Refusal::too_many), 1u);
    EXPECT_EQ(status_of(ask(listen_, kGet, 1)), "HTTP/1.1 200 OK");
    EXPECT_EQ(refused(Refusal::too_many), 1u);
    send(hostile[4], kGet);
    EXPECT_EQ(status_of(receive(hostile[4])), "HTTP/1.1 200 OK");
}

TEST_F(MetricsServer, TheOldestGoesIfThereAreTooMany) {
    serve({.max_connections = 8, .max_per_client = 4});
    std::vector<Fd> hostile;
    for (unsigned n = 0; n < 8; n++)
        hostile.push_back(connect_to(listen_, 2 + n));
    EXPECT_EQ(status_of(ask(listen_, kGet, 1)), "HTTP/1.1 200 OK");
    EXPECT_EQ(receive(hostile[0]).substr(0, 12), "HTTP/1.1 503");
    EXPECT_EQ(refused(Refusal::too_many), 1u);
}

// However many ask: the text is made once in a while, and the loop has time for other things.
TEST_F(MetricsServer, AFloodCostsLittle) {
    serve({.accepts_per_tick = 5, .fresh = 1h});
    const auto began = std::chrono::steady_clock::now();
    std::vector<std::thread> flood;
    for (unsigned host = 2; host < 6; host++)
        flood.emplace_back([this, host] {
            for (int n = 0; n < 15; n++)
                (void)ask(listen_, kGet, host);
        });
    EXPECT_EQ(status_of(ask(listen_, kGet, 1)), "HTTP/1.1 200 OK"); // between them
    for (std::thread& each : flood)
        each.join();
    const auto ticks = (std::chrono::steady_clock::now() - began) / 50ms;
    EXPECT_GE(ticks, 61 / 5 - 2); // 61 connections, five in 50 ms
    EXPECT_EQ(counters().connections, 61u);
    EXPECT_EQ(on_loop([this] { return made_; }), 1);
}

TEST_F(MetricsServer, TheTextIsMadeAnewInTime) {
    serve({.fresh = 0ms});
    (void)ask(listen_);
    (void)ask(listen_);
    EXPECT_EQ(on_loop([this] { return made_; }), 2);
}

TEST_F(MetricsServer, WaitsForAPortThatIsTaken) {
    Fd other(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = tcp(INADDR_LOOPBACK, listen_.tcp.port);
    ASSERT_EQ(::bind(other.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::listen(other.get(), 1), 0);
    serve({.again = 20ms});
    EXPECT_EQ(trouble(), "cannot listen on " + to_string(listen_) + ": another program does");
    other = Fd();
    while (!trouble().empty())
        std::this_thread::sleep_for(10ms);
    EXPECT_EQ(status_of(ask(listen_)), "HTTP/1.1 200 OK");
}

TEST_F(MetricsServer, SaysThatTheAddressIsNotHere) {
    listen_.tcp.address = *net::parse_address("192.0.2.1");
    serve();
    EXPECT_EQ(trouble(), "cannot listen on " + to_string(listen_) +
                             ": this machine does not have that address");
}

class MetricsSocket : public MetricsServer {
  protected:
    void SetUp() override {
        MetricsServer::SetUp();
        std::string name = testing::TempDir() + "metricsXXXXXX";
        dir_ = ::mkdtemp(name.data());
        listen_ = {dir_ + "/m.sock", {}};
    }
    void TearDown() override {
        MetricsServer::TearDown();
        EXPECT_FALSE(std::filesystem::is_socket(listen_.path)); // removed at the end
        std::filesystem::remove_all(dir_);
    }
    std::string dir_;
};

TEST_F(MetricsSocket, AnswersWhoMayEnterTheDirectory) {
    serve();
    struct stat info {};
    ASSERT_EQ(::stat(listen_.path.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0666u);
    EXPECT_TRUE(ask(listen_).ends_with("plain text\n"));
}

TEST_F(MetricsSocket, ReplacesOneWithoutAListener) {
    {
        const Fd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, listen_.path.data(), listen_.path.size());
        ASSERT_EQ(::bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    }
    serve();
    EXPECT_EQ(trouble(), "");
    EXPECT_TRUE(ask(listen_).ends_with("plain text\n"));
    const std::string trouble_of_another = on_loop([&] { // but not one with
        Server another(io_, listen_, [](Format) { return std::string(); });
        another.open();
        return another.trouble();
    });
    EXPECT_EQ(trouble_of_another, "cannot listen on " + listen_.path + ": another program does");
    EXPECT_TRUE(ask(listen_).ends_with("plain text\n"));
}

TEST_F(MetricsSocket, LeavesAnotherFileAlone) {
    std::ofstream(listen_.path) << "mine";
    serve();
    EXPECT_EQ(trouble(), "cannot listen on " + listen_.path + ": File exists");
    EXPECT_TRUE(std::filesystem::is_regular_file(listen_.path));
}

} // namespace
} // namespace encsync::metrics
