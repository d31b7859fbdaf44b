// SPDX-License-Identifier: ISC
#include "cli/pair_meeting.hpp"

#include "cli/socket_address.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

namespace encsync::cli {

namespace {

using namespace std::chrono_literals;
using keys::Pairing;

constexpr auto kRetry = 300ms;       // after a connection that could not be made
constexpr auto kConnecting = 3s;     // a SYN that was lost is sent again after one second
constexpr auto kPatience = 5s;       // with a connection that says nothing
constexpr std::size_t kWaiting = 16; // connections at once; another one displaces the oldest

net::Address sender(const sockaddr_storage& from) {
    if (from.ss_family == AF_INET6)
        return net::Address::read(reinterpret_cast<const sockaddr_in6&>(from).sin6_addr.s6_addr,
                                  net::Family::inet6);
    const auto& in = reinterpret_cast<const sockaddr_in&>(from);
    return net::Address::read(reinterpret_cast<const std::uint8_t*>(&in.sin_addr),
                              net::Family::inet);
}

int poll_until(std::vector<pollfd>& polled, PairingClock::time_point until) {
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - PairingClock::now());
        const int ready = ::poll(polled.data(), polled.size(),
                                 static_cast<int>(std::clamp<long>(left.count(), 0, 1'000'000)));
        if (ready >= 0 || errno != EINTR)
            return ready;
    }
}

Error in_use(const MeetingPlace& place) {
    return Error{fmt::format("{}, port {} is in use here: by another encsync pair, or by another "
                             "program (then give --port on both)",
                             config::to_string(place.left), place.port)};
}

Result<Fd> bound_socket(const MeetingPlace& place, std::uint16_t port) {
    const SocketAddress left = socket_address(place.left, port);
    Fd fd(::socket(left.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd)
        return Error{fmt::format("cannot make a socket: {}", std::strerror(errno))};
    const int on = 1; // not while another one listens
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd.get(), left.get(), left.size) == 0)
        return fd;
    const int error = errno;
    const std::string address = config::to_string(place.left);
    if (error == EADDRINUSE)
        return in_use(place);
    if (error == EADDRNOTAVAIL)
        return Error{fmt::format("left {} is no address of this machine", address)};
    return Error{fmt::format("{}, port {}: {}", address, port, std::strerror(error))};
}

// ---- the node that connects ------------------------------------------------------------------

// None: nobody is there, and `why` says what the system said.
Result<std::optional<Fd>> connect_once(const MeetingPlace& place, std::string& why) {
    auto fd = bound_socket(place, 0);
    if (!fd)
        return fd.error();
    const SocketAddress right = socket_address(place.right, place.port);
    int error = ::connect(fd->get(), right.get(), right.size) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        std::vector<pollfd> polled{{fd->get(), POLLOUT, 0}};
        socklen_t size = sizeof error;
        if (poll_until(polled, std::min(place.until, PairingClock::now() + kConnecting)) != 1)
            error = ETIMEDOUT;
        else if (::getsockopt(fd->get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0)
            error = errno;
    }
    if (error == 0)
        return std::optional(std::move(*fd));
    why = std::strerror(error);
    return std::optional<Fd>();
}

// Until there is a code.
Result<void> converse(PairingConnection& connection, PairingClock::time_point latest) {
    auto until = std::min(latest, PairingClock::now() + kPatience);
    if (auto ok = connection.send(); !ok)
        return ok;
    bool opened = false;
    while (!connection.pairing().code()) {
        bool readable = false, none = false;
        if (!wait_readable(until, connection.socket(), -1, readable, none))
            return Error{"it accepts connections and says nothing"};
        if (auto ok = connection.receive(); !ok)
            return ok;
        if (!std::exchange(opened, connection.pairing().opened()) && opened)
            until = PairingClock::now() + kPatience;
    }
    return {};
}

Result<PairingConnection> connect(const MeetingPlace& place) {
    std::string why = "nobody was there";
    while (PairingClock::now() < place.until) {
        auto fd = connect_once(place, why);
        if (!fd)
            return fd.error();
        if (*fd) {
            PairingConnection connection(std::move(**fd), place.make(Pairing::Role::connector));
            auto done = converse(connection, place.until);
            if (done)
                return connection;
            if (connection.pairing().opened())
                return done.error();
            why = done.error().text;
            place.notice(fmt::format("{}: {}", config::to_string(place.right), why));
        }
        std::this_thread::sleep_for(kRetry);
    }
    return Error{why};
}

// ---- the node that listens -------------------------------------------------------------------

class Listener {
  public:
    Listener(const MeetingPlace& place, Fd fd) : place_(place), fd_(std::move(fd)) {}

    Result<PairingConnection> run() {
        while (PairingClock::now() < place_.until) {
            std::vector<pollfd> polled{{fd_.get(), POLLIN, 0}};
            auto until = place_.until;
            for (const Guest& guest : guests_) {
                polled.push_back({guest.connection.socket(), POLLIN, 0});
                until = std::min(until, guest.until);
            }
            if (poll_until(polled, until) < 0)
                return Error{fmt::format("cannot wait: {}", std::strerror(errno))};
            for (std::size_t i = guests_.size(); i-- > 0;) {
                PairingConnection& connection = guests_[i].connection;
                const auto heard =
                    polled[i + 1].revents != 0 ? connection.receive() : Result<void>();
                if (!heard && connection.pairing().opened())
                    return heard.error();
                if (connection.pairing().code())
                    return std::move(connection);
                if (!heard)
                    drop(i, heard.error().text);
                else if (PairingClock::now() >= guests_[i].until)
                    drop(i, "it has connected and said nothing");
            }
            if (polled[0].revents != 0)
                accept();
        }
        return Error{why_};
    }

  private:
    struct Guest {
        PairingConnection connection;
        PairingClock::time_point until;
    };

    void drop(std::size_t index, const std::string& why) {
        why_ = why;
        place_.notice(fmt::format("{}: {}", config::to_string(place_.right), why));
        guests_.erase(guests_.begin() + static_cast<long>(index));
    }

    void accept() {
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        Fd fd(::accept4(fd_.get(), reinterpret_cast<sockaddr*>(&from), &size,
                        SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd)
            return; // it has gone again
        if (const net::Address address = sender(from); address != place_.right.ip)
            return place_.notice(fmt::format("a connection from {} was refused: it is not right of "
                                             "the conn",
                                             net::to_string(address)));
        if (guests_.size() == kWaiting)
            drop(0, "others have connected from there, too");
        guests_.push_back({PairingConnection(std::move(fd), place_.make(Pairing::Role::listener)),
                           PairingClock::now() + kPatience});
        if (auto ok = guests_.back().connection.send(); !ok)
            drop(guests_.size() - 1, ok.error().text);
    }

    const MeetingPlace& place_;
    Fd fd_;
    std::vector<Guest> guests_; // the oldest first
    std::string why_ = "nobody has connected";
};

Result<PairingConnection> listen(const MeetingPlace& place) {
    auto fd = bound_socket(place, place.port);
    if (!fd)
        return fd.error();
    if (::listen(fd->get(), kWaiting) == 0)
        return Listener(place, std::move(*fd)).run();
    return errno == EADDRINUSE ? in_use(place)
                               : Error{fmt::format("cannot listen: {}", std::strerror(errno))};
}

} // namespace

PairingConnection::PairingConnection(Fd socket, Pairing pairing)
    : socket_(std::move(socket)), pairing_(std::move(pairing)) {}

Result<void> PairingConnection::send() {
    const auto bytes = pairing_.take();
    if (bytes.empty())
        return {};
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes.size()))
        return {};
    return Error{"it has broken off the connection"};
}

Result<void> PairingConnection::receive() {
    std::array<std::uint8_t, 8192> bytes;
    const ssize_t got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return {};
    if (got <= 0)
        return Error{"it has broken off the connection"};
    const auto taken = pairing_.receive(Bytes(bytes).first(static_cast<std::size_t>(got)));
    const auto sent = send();
    return taken ? sent : taken;
}

Result<PairingConnection> meet(const MeetingPlace& place) {
    return place.left.ip < place.right.ip ? connect(place) : listen(place);
}

bool wait_readable(PairingClock::time_point until, int first, int second, bool& first_is,
                   bool& second_is) {
    // poll(2) skips negative descriptors.
    std::vector<pollfd> polled{{first, POLLIN, 0}, {second, POLLIN, 0}};
    if (poll_until(polled, until) <= 0)
        return false;
    first_is = polled[0].revents != 0;
    second_is = polled[1].revents != 0;
    return true;
}

} // namespace encsync::cli
