// SPDX-License-Identifier: ISC
#include "control/client.hpp"

#include "control/server.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace encsync::control {

namespace {

using Clock = std::chrono::steady_clock;

// A line of a reply. Far more than a daemon sends, but a harmless amount of memory.
constexpr std::size_t kMaxReply = 16 << 20;

Error failed(std::string_view what) {
    return Error{fmt::format("encsyncd: {}: {}", what, std::strerror(errno))};
}

} // namespace

Result<std::optional<Client>> Client::connect_if_running(const std::string& run_dir,
                                                         Timeout patience) {
    const std::string path = socket_path(run_dir);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return Error{fmt::format("{}: longer than the {} characters that a socket's name may have",
                                 path, sizeof address.sun_path - 1)};
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd)
        return failed("cannot make a socket");
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        return std::optional(Client(std::move(fd), patience));
    if (errno == ENOENT || errno == ENOTDIR || errno == ECONNREFUSED)
        return std::optional<Client>();
    if (errno == EACCES || errno == EPERM)
        return Error{fmt::format("no permission to use {}; root has it", path)};
    if (errno == EAGAIN)
        return Error{fmt::format("encsyncd has no room for another connection on {}", path)};
    return failed(path);
}

Result<Client> Client::connect(const std::string& run_dir, Timeout patience) {
    auto client = connect_if_running(run_dir, patience);
    if (!client)
        return client.error();
    if (*client)
        return std::move(**client);
    const std::string path = socket_path(run_dir);
    if (::access(path.c_str(), F_OK) == 0)
        return Error{fmt::format("encsyncd is not running (nobody answers on {})", path)};
    return Error{fmt::format("encsyncd is not running (no {})", path)};
}

Result<void> Client::wait(short events, Clock::time_point until) const {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
        pollfd polled{fd_.get(), events, 0};
        const int ready = ::poll(&polled, 1, static_cast<int>(std::max(left, Timeout(0)).count()));
        if (ready > 0)
            return {};
        if (ready == 0)
            return Error{fmt::format("encsyncd did not answer within {} s",
                                     static_cast<double>(patience_.count()) / 1000)};
        if (errno != EINTR)
            return failed("cannot wait");
    }
}

Result<void> Client::send(const boost::json::object& request) {
    const std::string line = boost::json::serialize(request) + "\n";
    const auto until = Clock::now() + patience_;
    for (std::size_t done = 0; done < line.size();) {
        const ssize_t put = ::send(fd_.get(), line.data() + done, line.size() - done, MSG_NOSIGNAL);
        if (put >= 0)
            done += static_cast<std::size_t>(put);
        else if (errno == EAGAIN) {
            if (auto ok = wait(POLLOUT, until); !ok)
                return ok;
        } else if (errno == EPIPE || errno == ECONNRESET)
            return {}; // closed by the daemon, perhaps after an error reply
        else if (errno != EINTR)
            return failed("cannot send");
    }
    return {};
}

Result<boost::json::object> Client::receive() {
    const auto until = Clock::now() + patience_;
    std::size_t seen = begin_;
    for (;;) {
        if (const auto end = buffer_.find('\n', seen); end != buffer_.npos) {
            boost::json::error_code error;
            auto value = boost::json::parse({buffer_.data() + begin_, end - begin_}, error);
            begin_ = end + 1;
            if (error || !value.is_object())
                return Error{"encsyncd sent what is no reply"};
            return std::move(value.get_object());
        }
        buffer_.erase(0, begin_);
        begin_ = 0;
        seen = buffer_.size();
        if (buffer_.size() > kMaxReply)
            return Error{"encsyncd sent what is no reply: it has no end"};
        std::array<char, 65536> piece;
        const ssize_t got = ::recv(fd_.get(), piece.data(), piece.size(), 0);
        if (got > 0)
            buffer_.append(piece.data(), static_cast<std::size_t>(got));
        else if (got == 0 || errno == ECONNRESET)
            return Error{"encsyncd closed the connection without an answer"};
        else if (errno == EAGAIN) {
            if (auto ok = wait(POLLIN, until); !ok)
                return ok.error();
        } else if (errno != EINTR)
            return failed("cannot receive");
    }
}

Result<boost::json::value> Client::call(const boost::json::object& request) {
    if (auto ok = send(request); !ok)
        return ok.error();
    auto reply = receive();
    if (!reply)
        return reply.error();
    const auto* ok = reply->if_contains("ok");
    if (ok && *ok == true)
        return std::move((*reply)["result"]);
    const auto* error = reply->if_contains("error");
    if (ok && *ok == false && error && error->is_string())
        return Error{std::string(error->get_string())};
    return Error{"encsyncd sent what is no reply"};
}

Result<void> Client::stream(const boost::json::object& request,
                            const std::function<void(const boost::json::value&)>& item) {
    if (auto ok = send(request); !ok)
        return ok;
    for (;;) {
        auto reply = receive();
        if (!reply)
            return reply.error();
        if (const auto* content = reply->if_contains("item")) {
            item(*content);
            continue;
        }
        const auto* ok = reply->if_contains("ok");
        if (ok && *ok == true)
            return {};
        const auto* error = reply->if_contains("error");
        if (ok && *ok == false && error && error->is_string())
            return Error{std::string(error->get_string())};
        return Error{"encsyncd sent what is no reply"};
    }
}

} // namespace encsync::control
