// SPDX-License-Identifier: ISC
#include "metrics/server.hpp"

#include "metrics/socket.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <list>
#include <map>
#include <sys/socket.h>
#include <utility>

namespace encsync::metrics {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::chrono::milliseconds kTick{50};
// What a client may still send after its answer. To close before that is read would reset the
// connection, and the answer might be lost.
constexpr std::size_t kMaxRest = 65536;
constexpr std::chrono::seconds kRestTime{1};

} // namespace

struct Server::Impl : std::enable_shared_from_this<Server::Impl> {
    Impl(asio::io_context& io, net::Listen where, Text make, const ServerOptions& opts)
        : options(opts), listen(std::move(where)), text(std::move(make)), acceptor(io), again(io),
          tick(io) {}

    void open();
    void accept();
    void admit(Socket socket);
    void make_room(const std::string& client);
    void close();
    // The same for everyone who asks within `fresh`.
    std::shared_ptr<const std::string> latest(Format format);

    void count(Refusal refusal) { counters.refused[static_cast<std::size_t>(refusal)]++; }

    const ServerOptions options;
    const net::Listen listen;
    const Text text;
    Acceptor acceptor;
    asio::steady_timer again, tick;
    unsigned accepted = 0; // in this tick
    Clock::time_point tick_began{};
    std::list<std::shared_ptr<Connection>> connections; // the oldest first
    struct Made {
        std::shared_ptr<const std::string> text;
        Clock::time_point at{};
    };
    std::map<Format, Made> made;
    Counters counters;
    std::string trouble = "not yet";
    bool closed = false;
};

// One connection: reads a request, answers it, reads what is left, ends.
class Server::Connection : public std::enable_shared_from_this<Connection> {
  public:
    Connection(std::shared_ptr<Impl> server, Socket socket, std::string client)
        : server_(std::move(server)), socket_(std::move(socket)), timer_(socket_.get_executor()),
          client_(std::move(client)) {}

    const std::string& client() const { return client_; }

    void start() {
        limit(server_->options.request_time,
              [](Connection& self) { self.refuse(Refusal::timeout); });
        read();
    }

    // Its place is needed.
    void give_way() {
        const auto self = shared_from_this(); // which the list may be the last to hold
        if (!content_) {
            server_->count(Refusal::too_many);
            const std::string answer = metrics::refuse(Refusal::too_many);
            [[maybe_unused]] const auto sent = ::send(socket_.native_handle(), answer.data(),
                                                      answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        close();
    }

    void close() {
        boost::system::error_code ignored;
        socket_.close(ignored);
        timer_.cancel();
        server_->connections.remove(shared_from_this());
    }

  private:
    using Error = boost::system::error_code;

    void read() {
        socket_.async_read_some(asio::buffer(scratch_),
                                [self = shared_from_this()](const Error& error, std::size_t n) {
                                    if (error || !self->socket_.is_open())
                                        return self->close();
                                    if (self->content_) // it is too late to say anything
                                        return;
                                    self->request_.append(self->scratch_.data(), n);
                                    self->look();
                                });
    }

    void look() {
        const std::size_t end = end_of_request(request_);
        if (std::min(end, request_.size()) > kMaxRequest ||
            (end == request_.npos && request_.size() == kMaxRequest))
            return refuse(Refusal::too_large);
        if (end == request_.npos)
            return read();
        const auto parsed = parse_request(std::string_view(request_).substr(0, end));
        if (const auto* refusal = std::get_if<Refusal>(&parsed))
            return refuse(*refusal);
        const Request& request = *std::get_if<Request>(&parsed);
        auto text = server_->latest(request.format);
        if (text == nullptr)
            return close();
        server_->counters.requests++;
        std::string header = answer_header(request.format, text->size());
        if (request.head)
            text = std::make_shared<const std::string>();
        answer(std::move(header), std::move(text));
    }

    void refuse(Refusal refusal) {
        server_->count(refusal);
        answer(metrics::refuse(refusal), std::make_shared<const std::string>());
    }

    void answer(std::string header, std::shared_ptr<const std::string> content) {
        header_ = std::move(header);
        content_ = std::move(content);
        limit(server_->options.answer_time, [](Connection& self) { self.close(); });
        asio::async_write(
            socket_,
            std::array<asio::const_buffer, 2>{asio::buffer(header_), asio::buffer(*content_)},
            [self = shared_from_this()](const Error& error, std::size_t) {
                if (error || !self->socket_.is_open())
                    return self->close();
                Error ignored;
                self->socket_.shutdown(asio::socket_base::shutdown_send, ignored);
                self->limit(kRestTime, [](Connection& late) { late.close(); });
                self->read_rest();
            });
    }

    void read_rest() {
        socket_.async_read_some(asio::buffer(scratch_),
                                [self = shared_from_this()](const Error& error, std::size_t n) {
                                    self->rest_ += n;
                                    if (error || !self->socket_.is_open() || self->rest_ > kMaxRest)
                                        return self->close();
                                    self->read_rest();
                                });
    }

    template<class Then>
    void limit(std::chrono::milliseconds time, Then then) {
        timer_.expires_after(time);
        timer_.async_wait([weak = weak_from_this(), then](const Error& error) {
            if (const auto self = weak.lock(); self && !error && self->socket_.is_open())
                then(*self);
        });
    }

    std::shared_ptr<Impl> server_;
    Socket socket_;
    asio::steady_timer timer_;
    const std::string client_;
    std::array<char, 2048> scratch_;
    std::string request_, header_;
    std::shared_ptr<const std::string> content_; // of the answer, once there is one
    std::size_t rest_ = 0;
};

void Server::Impl::open() {
    if (auto done = start_listening(acceptor, listen); !done) {
        if (std::exchange(trouble, done.error().text) != trouble)
            log::warning("metricslisten: {}; tried again every {} s; syncing is not affected",
                         trouble, options.again.count() / 1000);
        again.expires_after(options.again);
        again.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
            if (!cancelled && !self->closed)
                self->open();
        });
        return;
    }
    trouble.clear();
    log::notice("metrics are at {}", to_string(listen));
    accept();
}

// At a limited rate: each connection costs time that syncing needs.
void Server::Impl::accept() {
    const Clock::time_point now = Clock::now();
    if (now - tick_began >= kTick) {
        tick_began = now;
        accepted = 0;
    }
    if (accepted == options.accepts_per_tick) {
        tick.expires_at(tick_began + kTick);
        tick.async_wait([self = shared_from_this()](const boost::system::error_code& cancelled) {
            if (!cancelled && !self->closed)
                self->accept();
        });
        return;
    }
    acceptor.async_accept(
        [self = shared_from_this()](const boost::system::error_code& error, Socket socket) {
            if (self->closed)
                return;
            // An error, such as no descriptor left, counts as well: to try again at once would be a
            // busy loop.
            self->accepted++;
            if (!error)
                self->admit(std::move(socket));
            self->accept();
        });
}

void Server::Impl::admit(Socket socket) {
    counters.connections++;
    boost::system::error_code ignored;
    socket.non_blocking(true, ignored);
    std::string client = client_of(socket);
    make_room(client);
    connections.push_back(
        std::make_shared<Connection>(shared_from_this(), std::move(socket), std::move(client)));
    connections.back()->start();
}

void Server::Impl::make_room(const std::string& client) {
    const auto of_client = [&](const auto& each) { return each->client() == client; };
    if (static_cast<std::size_t>(std::ranges::count_if(connections, of_client)) >=
        options.max_per_client)
        return (*std::ranges::find_if(connections, of_client))->give_way();
    if (connections.size() >= options.max_connections)
        connections.front()->give_way();
}

std::shared_ptr<const std::string> Server::Impl::latest(Format format) {
    const Clock::time_point now = Clock::now();
    Made& last = made[format];
    if (last.text != nullptr && now - last.at < options.fresh)
        return last.text;
    try {
        last = {std::make_shared<const std::string>(text(format)), now};
        return last.text;
    } catch (const std::exception& exception) {
        // A bug, but it must not end the sync process.
        log::error("metrics: {}", exception.what());
        return nullptr;
    }
}

void Server::Impl::close() {
    closed = true;
    boost::system::error_code ignored;
    const bool listened = acceptor.is_open();
    acceptor.close(ignored);
    again.cancel();
    tick.cancel();
    while (!connections.empty())
        connections.front()->close();
    if (listened)
        stop_listening(listen);
}

Server::Server(asio::io_context& io, net::Listen listen, Text text, const ServerOptions& options)
    : impl_(std::make_shared<Impl>(io, std::move(listen), std::move(text), options)) {}

Server::~Server() {
    impl_->close();
}

void Server::open() {
    impl_->open();
}

const std::string& Server::trouble() const {
    return impl_->trouble;
}

std::size_t Server::connections() const {
    return impl_->connections.size();
}

const Counters& Server::counters() const {
    return impl_->counters;
}

} // namespace encsync::metrics
