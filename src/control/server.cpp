// SPDX-License-Identifier: ISC
#include "control/server.hpp"

#include "util/fd.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <set>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace encsync::control {

namespace asio = boost::asio;
using Protocol = asio::local::stream_protocol;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kReadSize = 4096;
// A turn of a stream: about as many bytes as one write accepts, and as many items as are generated
// in well under a millisecond.
constexpr std::size_t kTurnBytes = 32768;
constexpr int kTurnPulls = 256;

std::string error_line(std::string_view text) {
    return boost::json::serialize(boost::json::object{{"ok", false}, {"error", text}}) + "\n";
}

std::optional<uid_t> peer_uid(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
        return std::nullopt;
    return peer.uid;
}

} // namespace

std::string socket_path(const std::string& run_dir) {
    return run_dir + "/control.sock";
}

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
    Impl(asio::io_context& io, ServerOptions opts)
        : options(opts), acceptor(io), accept_retry(io) {}

    void accept();
    void admit(Protocol::socket socket);
    bool make_room();
    void close();

    void count(Refusal refusal) { counters.refused[static_cast<std::size_t>(refusal)]++; }

    ServerOptions options;
    Protocol::acceptor acceptor;
    asio::steady_timer accept_retry;
    std::set<std::shared_ptr<Connection>> connections;
    std::map<const Command*, Handler> handlers;
    std::map<const Command*, StreamHandler> stream_handlers;
    Counters counters;
    std::string path;
    Fd lock;
    bool closed = false;
};

// One connection: read a line, answer it, read the next. Never two of these at a time.
class Server::Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(std::shared_ptr<Impl> server, Protocol::socket socket)
        : server_(std::move(server)), socket_(std::move(socket)), timer_(socket_.get_executor()) {}

    void start() { next_request(); }

    // Since when it has sent no request and taken nothing of an answer.
    Clock::time_point inactive_since() const { return active_; }

    void close() {
        boost::system::error_code ignored;
        socket_.close(ignored);
        timer_.cancel();
        generator_ = nullptr;
        server_->connections.erase(shared_from_this());
    }

  private:
    void next_request() {
        const auto end = input_.find('\n');
        if (end != input_.npos && end <= kMaxRequest) {
            const std::string line = input_.substr(0, end);
            input_.erase(0, end + 1);
            answer(line);
        } else if (input_.size() > kMaxRequest) {
            // Where the next request would begin is unknown, so this is the last answer.
            last_ = true;
            refuse(Refusal::too_long, fmt::format("a request longer than {} bytes", kMaxRequest));
        } else {
            read();
        }
    }

    void read() {
        watch();
        socket_.async_read_some(
            asio::buffer(scratch_),
            [self = shared_from_this()](const boost::system::error_code& error, std::size_t size) {
                if (error || !self->socket_.is_open())
                    return self->close();
                self->input_.append(self->scratch_.data(), size);
                self->next_request();
            });
    }

    void answer(std::string_view line) {
        auto parsed = parse_request(line);
        if (const auto* refused = std::get_if<Refused>(&parsed))
            return refuse(refused->reason, refused->text);
        const Request& request = *std::get_if<Request>(&parsed);
        // A handler's exception is a bug, but must not end the sync process.
        try {
            if (const auto row = server_->stream_handlers.find(request.command);
                row != server_->stream_handlers.end())
                return begin_stream(row->second(request.fields));
            if (const auto row = server_->handlers.find(request.command);
                row != server_->handlers.end())
                return reply(row->second(request.fields));
        } catch (const std::exception& exception) {
            log::error("control: {} failed: {}", request.command->name, exception.what());
            return refuse(Refusal::failed, fmt::format("internal error: {}", exception.what()));
        }
        refuse(Refusal::unknown_command,
               fmt::format("this encsyncd does not offer '{}'", request.command->name));
    }

    void reply(Result<boost::json::value> result) {
        if (!result)
            return refuse(Refusal::failed, result.error().text);
        server_->counters.requests++;
        output_ = boost::json::serialize(
                      boost::json::object{{"ok", true}, {"result", std::move(*result)}}) +
                  "\n";
        write();
    }

    void refuse(Refusal reason, std::string_view text) {
        server_->count(reason);
        output_ = error_line(text);
        write();
    }

    void begin_stream(Result<Generator> generator) {
        if (!generator)
            return refuse(Refusal::failed, generator.error().text);
        generator_ = std::move(*generator);
        pump();
    }

    void pump() {
        try {
            for (int i = 0; generator_ && i < kTurnPulls && output_.size() < kTurnBytes; i++) {
                const auto item = generator_();
                if (!item) {
                    generator_ = nullptr;
                    server_->counters.requests++;
                    output_ += "{\"ok\":true}\n";
                } else if (!item->is_null()) {
                    output_ += "{\"item\":" + boost::json::serialize(*item) + "}\n";
                }
            }
        } catch (const std::exception& exception) {
            log::error("control: a stream failed: {}", exception.what());
            generator_ = nullptr;
            server_->count(Refusal::failed);
            output_ += error_line(fmt::format("internal error: {}", exception.what()));
        }
        if (!output_.empty())
            return write();
        // Nothing to send yet: let other handlers run first.
        watch();
        asio::post(socket_.get_executor(), [self = shared_from_this()] {
            if (self->socket_.is_open())
                self->pump();
        });
    }

    // Sends output_ in pieces, so that each piece accepted shows that the reader is alive.
    void write() {
        watch();
        socket_.async_write_some(
            asio::buffer(output_) + written_,
            [self = shared_from_this()](const boost::system::error_code& error, std::size_t size) {
                if (error || !self->socket_.is_open())
                    return self->close();
                self->written_ += size;
                if (self->written_ < self->output_.size())
                    return self->write();
                self->written_ = 0;
                self->output_.clear();
                if (self->generator_)
                    self->pump();
                else if (self->last_)
                    self->close();
                else
                    self->next_request();
            });
    }

    void watch() {
        active_ = Clock::now();
        timer_.expires_after(server_->options.idle);
        timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
            if (const auto self = weak.lock(); self && !error)
                self->close();
        });
    }

    std::shared_ptr<Impl> server_;
    Protocol::socket socket_;
    asio::steady_timer timer_;
    Clock::time_point active_ = Clock::now();
    std::array<char, kReadSize> scratch_;
    std::string input_, output_;
    std::size_t written_ = 0;
    Generator generator_;
    bool last_ = false;
};

void Server::Impl::accept() {
    acceptor.async_accept([self = shared_from_this()](const boost::system::error_code& error,
                                                      Protocol::socket socket) {
        if (self->closed)
            return;
        if (!error) {
            self->admit(std::move(socket));
            return self->accept();
        }
        // Probably out of descriptors. Accepting again at once would be a busy loop.
        log::warning("control: cannot accept a connection: {}", error.message());
        self->accept_retry.expires_after(std::chrono::seconds(1));
        self->accept_retry.async_wait([self](const boost::system::error_code& cancelled) {
            if (!cancelled && !self->closed)
                self->accept();
        });
    });
}

void Server::Impl::admit(Protocol::socket socket) {
    const auto uid = peer_uid(socket.native_handle());
    const auto turn_away = [&](Refusal reason, std::string_view text) {
        count(reason);
        const std::string line = error_line(text);
        // A fresh socket has room for one line.
        [[maybe_unused]] const auto sent =
            ::send(socket.native_handle(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    };
    if (!uid || (*uid != 0 && *uid != ::geteuid()))
        return turn_away(Refusal::not_permitted,
                         "only root and the user of encsyncd may use the control socket");
    if (connections.size() >= options.max_connections && !make_room())
        return turn_away(Refusal::too_many, "too many connections to the control socket");
    counters.connections++;
    boost::system::error_code ignored;
    socket.non_blocking(true, ignored);
    auto connection = std::make_shared<Connection>(shared_from_this(), std::move(socket));
    connections.insert(connection);
    connection->start();
}

// A program that forgets its connections must not shut the administrator out.
bool Server::Impl::make_room() {
    const auto oldest = std::ranges::min_element(
        connections, {}, [](const auto& each) { return each->inactive_since(); });
    if (oldest == connections.end() || Clock::now() - (*oldest)->inactive_since() < options.in_use)
        return false;
    (*oldest)->close();
    return true;
}

void Server::Impl::close() {
    closed = true;
    boost::system::error_code ignored;
    acceptor.close(ignored);
    accept_retry.cancel();
    while (!connections.empty())
        (*connections.begin())->close();
    // Before the lock is released: until then the file is certainly this daemon's.
    if (!path.empty())
        ::unlink(path.c_str());
    lock.reset();
}

namespace {

// Held while this process lives; the kernel releases it when the process ends in any way.
Result<Fd> lock_run_dir(const std::string& run_dir, const Error& taken) {
    Fd fd(::open(run_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd)
        return Error{
            fmt::format("{}: cannot open the run directory: {}", run_dir, std::strerror(errno))};
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (errno == EWOULDBLOCK)
        return taken;
    return Error{
        fmt::format("{}: cannot lock the run directory: {}", run_dir, std::strerror(errno))};
}

// Removes a socket file without a listener.
Result<void> clear_stale(const std::string& path, const Error& taken) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) {
        if (errno == ENOENT)
            return {};
        return Error{fmt::format("{}: {}", path, std::strerror(errno))};
    }
    if (!S_ISSOCK(info.st_mode))
        return Error{fmt::format("{}: is in the way, and no socket", path)};
    // Not blocking: EAGAIN means that a daemon is running, with a full queue.
    Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
        errno != ECONNREFUSED)
        return taken;
    if (::unlink(path.c_str()) != 0)
        return Error{
            fmt::format("{}: cannot remove a stale socket: {}", path, std::strerror(errno))};
    return {};
}

} // namespace

Result<std::unique_ptr<Server>> Server::open(asio::io_context& io, const std::string& run_dir,
                                             const ServerOptions& options) {
    const Error taken{fmt::format("another encsyncd is running with this run dir ({})", run_dir)};
    const std::string path = socket_path(run_dir);
    if (path.size() >= sizeof(sockaddr_un::sun_path))
        return Error{fmt::format("{}: longer than the {} characters that a socket's name may have",
                                 path, sizeof(sockaddr_un::sun_path) - 1)};
    auto lock = lock_run_dir(run_dir, taken);
    if (!lock)
        return lock.error();
    if (auto ok = clear_stale(path, taken); !ok)
        return ok.error();

    auto impl = std::make_shared<Impl>(io, options);
    impl->lock = std::move(*lock);
    boost::system::error_code error;
    impl->acceptor.open(Protocol(), error);
    if (!error)
        impl->acceptor.bind(Protocol::endpoint(path), error);
    if (!error) {
        impl->path = path;
        // Nobody can connect before listen(), so there is no moment with a wider mode.
        if (::chmod(path.c_str(), 0600) != 0)
            error.assign(errno, boost::system::system_category());
    }
    if (!error)
        impl->acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) {
        impl->close();
        return Error{fmt::format("{}: {}", path, error.message())};
    }
    impl->accept();
    return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
    impl_->close();
}

void Server::handle(std::string_view command, Handler handler) {
    const Command* row = find_command(command);
    assert(row && !row->stream);
    impl_->handlers[row] = std::move(handler);
}

void Server::handle_stream(std::string_view command, StreamHandler handler) {
    const Command* row = find_command(command);
    assert(row && row->stream);
    impl_->stream_handlers[row] = std::move(handler);
}

const Counters& Server::counters() const {
    return impl_->counters;
}

} // namespace encsync::control
