// SPDX-License-Identifier: ISC
#include "ipsec/plugin/supervisor.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/wait.h>

namespace encsync::supervisor {
namespace {

using boost::asio::posix::descriptor_base;
using std::chrono::steady_clock;

constexpr int kMessagesPerTurn = 64;   // so that other handlers get their turn
constexpr std::size_t kMaxQueue = 256; // beyond, IKE datagrams are dropped
constexpr std::size_t kMaxLine = 500;
constexpr std::size_t kLastWords = 5;
constexpr auto kStable = std::chrono::seconds(30); // ran this long: restart quickly again

std::string how_it_ended(int status) {
    if (WIFSIGNALED(status))
        return fmt::format("charon was killed by signal {} ({})", WTERMSIG(status),
                           ::strsignal(WTERMSIG(status)));
    return fmt::format("charon ended with status {}", WEXITSTATUS(status));
}

} // namespace

struct Supervisor::Charon {
    Charon(boost::asio::io_context& io, CharonProcess process)
        : pid(process.pid), channel(io, process.channel.release()),
          output(io, process.stderr_.release()), end(io, process.pidfd.release()), timer(io) {}

    pid_t pid;
    bool reaped = false;
    boost::asio::posix::stream_descriptor channel, output, end;
    Timer timer; // of pings; before hello and while stopping, the deadline
    steady_clock::time_point started = steady_clock::now();

    std::deque<WipedBytes> queue; // does not fit into the socket yet
    bool waiting_to_write = false;

    std::uint32_t pinged = 0, ponged = 0; // cookies of the last ping sent and answered

    std::string line;                   // of output, incomplete
    std::deque<std::string> last_words; // reported if it does not come up
    std::string reason;                 // why we ended it, if we did
};

template<class F>
auto Supervisor::for_this_charon(F f) {
    // A handler may be queued already when its descriptor is closed.
    return [this, weak = std::weak_ptr(charon_), f](boost::system::error_code error) {
        const auto charon = weak.lock();
        if (!error && charon && charon == charon_)
            f();
    };
}

Supervisor::Supervisor(boost::asio::io_context& io, Options options, Owner& owner)
    : io_(io), options_(std::move(options)), owner_(owner), pause_(options_.first_restart),
      restart_timer_(io) {}

Supervisor::~Supervisor() {
    launcher_.reset();
}

pid_t Supervisor::pid() const {
    return charon_ && !charon_->reaped ? charon_->pid : -1;
}

Result<void> Supervisor::prepare() {
    auto launcher = CharonLauncher::open(options_.charon);
    if (!launcher)
        return launcher.error();
    launcher_.emplace(std::move(*launcher));
    return {};
}

Result<void> Supervisor::start() {
    stopping_ = false;
    if (!launcher_)
        if (auto prepared = prepare(); !prepared)
            return prepared;
    return spawn();
}

Result<void> Supervisor::spawn() {
    auto process = launcher_->launch();
    if (!process)
        return process.error();
    charon_ = std::make_shared<Charon>(io_, std::move(*process));
    charon_->timer.expires_after(options_.hello_timeout);
    charon_->timer.async_wait(for_this_charon([this] { kill("charon did not come up in time"); }));
    wait_for_messages();
    wait_for_output();
    wait_for_end();
    return {};
}

void Supervisor::kill(std::string reason) {
    if (charon_->reason.empty())
        charon_->reason = std::move(reason);
    if (!charon_->reaped)
        launcher_->kill();
}

void Supervisor::stop(std::function<void()> done) {
    restart_timer_.cancel();
    stopping_ = true;
    stopped_ = std::move(done);
    if (!charon_) {
        boost::asio::post(io_, [this, alive = std::weak_ptr(alive_)] {
            if (!alive.lock())
                return;
            if (auto stopped = std::exchange(stopped_, nullptr))
                stopped();
        });
        return;
    }
    charon_->timer.expires_after(options_.shutdown_timeout);
    charon_->timer.async_wait(
        for_this_charon([this] { kill("charon did not shut down in time"); }));
    if (up_)
        send(channel::Shutdown{});
    else
        kill("charon was stopped before it came up");
}

// ---- messages to charon --------------------------------------------------------------------

Result<void> Supervisor::set_identity(channel::Identity identity) {
    auto check = channel::encode(identity);
    if (!check)
        return check.error();
    identity_ = std::make_unique<channel::Identity>(std::move(identity));
    if (up_)
        send(*identity_);
    return {};
}

Result<void> Supervisor::set_peer(channel::Peer peer) {
    auto check = channel::encode(peer);
    if (!check)
        return check.error();
    if (up_)
        send(peer);
    peers_.insert_or_assign(peer.id, std::move(peer));
    return {};
}

void Supervisor::remove_peer(PeerId peer) {
    if (peers_.erase(peer) != 0 && up_)
        send(channel::RemovePeer{peer});
}

void Supervisor::ike_in(const net::Endpoint& from, const net::Endpoint& to, Bytes datagram) {
    counters_.ike_in++;
    // An IPv6 datagram can be slightly larger than a channel message, but IKE never sends one that
    // large.
    if (!up_ || datagram.size() > channel::kMaxDatagram) {
        counters_.ike_in_dropped++;
        return;
    }
    send(channel::IkeIn{from, to, {datagram.begin(), datagram.end()}}, true);
}

void Supervisor::initiate(PeerId peer) {
    if (up_)
        send(channel::Initiate{peer});
}

void Supervisor::rekey(PeerId peer, bool reauthenticate) {
    if (up_)
        send(channel::Rekey{peer, reauthenticate});
}

void Supervisor::expire(std::uint32_t inbound_spi) {
    if (up_)
        send(channel::Expire{inbound_spi});
}

void Supervisor::send(const channel::Message& message, bool may_be_lost) {
    if (!charon_ || charon_->reaped)
        return;
    if (may_be_lost && charon_->queue.size() >= kMaxQueue) {
        counters_.ike_in_dropped++;
        return;
    }
    auto packet = channel::encode(message);
    if (!packet) {
        log(4, "not sent to charon: " + packet.error().text);
        return;
    }
    charon_->queue.push_back(std::move(*packet));
    flush();
}

void Supervisor::flush() {
    Charon& charon = *charon_;
    while (!charon.queue.empty()) {
        auto& packet = charon.queue.front();
        const ssize_t sent = ::send(charon.channel.native_handle(), packet.data(), packet.size(),
                                    MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
            if (charon.waiting_to_write)
                return;
            charon.waiting_to_write = true;
            charon.channel.async_wait(descriptor_base::wait_write, for_this_charon([this] {
                                          charon_->waiting_to_write = false;
                                          flush();
                                      }));
            return;
        }
        // Any other failure means that charon is gone; its end is reported elsewhere.
        charon.queue.pop_front();
    }
}

// ---- messages from charon ------------------------------------------------------------------

void Supervisor::wait_for_messages() {
    charon_->channel.async_wait(descriptor_base::wait_read,
                                for_this_charon([this] { read_messages(kMessagesPerTurn); }));
}

void Supervisor::read_messages(int most) {
    static std::vector<std::uint8_t> buffer(channel::kMaxMessage + 1);
    for (int i = 0; i < most; i++) {
        const ssize_t size =
            ::recv(charon_->channel.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            break;
        if (size <= 0) {
            // Closed: charon is ending or has become useless. Its exit status will show which.
            kill({});
            return;
        }
        const auto length = static_cast<std::size_t>(size);
        auto message = channel::decode(Bytes(buffer.data(), length));
        ::explicit_bzero(buffer.data(), length);
        if (!message) {
            refuse(message.error().text);
            continue;
        }
        handle(*message);
        if (!charon_)
            return;
    }
    wait_for_messages();
}

void Supervisor::refuse(const std::string& reason) {
    if (counters_.refused[reason]++ == 0)
        log(4, "refused a message of charon's: " + reason);
}

void Supervisor::handle(channel::Message& message) {
    if (auto* line = std::get_if<channel::LogLine>(&message))
        return log(line->level, "charon: " + line->text);
    if (auto* hello = std::get_if<channel::Hello>(&message))
        return greet(*hello);
    if (!up_)
        return refuse("message before hello");
    if (auto* out = std::get_if<channel::IkeOut>(&message)) {
        counters_.ike_out++;
        owner_.on_ike_out(*out);
    } else if (auto* sa = std::get_if<channel::AddSa>(&message)) {
        owner_.on_add_sa(*sa);
    } else if (auto* gone = std::get_if<channel::DeleteSa>(&message)) {
        owner_.on_delete_sa(*gone);
    } else if (auto* event = std::get_if<channel::PeerEvent>(&message)) {
        owner_.on_peer_event(*event);
    } else if (auto* pong = std::get_if<channel::Pong>(&message)) {
        charon_->ponged = std::min(pong->cookie, charon_->pinged);
    } else {
        refuse("message that only encsyncd sends");
    }
}

void Supervisor::greet(const channel::Hello& hello) {
    if (up_)
        return refuse("second hello");
    if (hello.version != channel::kVersion) {
        return kill(fmt::format("the plugin speaks version {} of the channel, not {}",
                                hello.version, channel::kVersion));
    }
    up_ = true;
    if (stopping_)
        return send(channel::Shutdown{});
    if (identity_)
        send(*identity_);
    for (const auto& [id, peer] : peers_)
        send(peer);
    ping();
    owner_.on_charon_up(hello.charon_version);
}

void Supervisor::ping() {
    Charon& charon = *charon_;
    // Counted, not timed: if this process was stopped, the answer may be queued already.
    if ((charon.pinged - charon.ponged) * options_.ping_interval >= options_.hang_timeout)
        return kill("charon does not answer and was killed");
    send(channel::Ping{++charon.pinged});
    charon.timer.expires_after(options_.ping_interval);
    charon.timer.async_wait(for_this_charon([this] {
        if (!stopping_)
            ping();
    }));
}

void Supervisor::wait_for_output() {
    charon_->output.async_wait(descriptor_base::wait_read,
                               for_this_charon([this] { read_output(); }));
}

void Supervisor::read_output() {
    std::array<char, 4096> buffer;
    const ssize_t size = ::read(charon_->output.native_handle(), buffer.data(), buffer.size());
    if (size <= 0) {
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            wait_for_output();
        return;
    }
    std::string& line = charon_->line;
    for (const char c : std::string_view(buffer.data(), static_cast<std::size_t>(size))) {
        if (c != '\n' && line.size() < kMaxLine) {
            line += c == '\0' || (c > 0 && c < ' ') ? ' ' : c;
            continue;
        }
        if (!line.empty()) {
            charon_->last_words.push_back(line);
            if (charon_->last_words.size() > kLastWords)
                charon_->last_words.pop_front();
            log(7, "charon: " + line);
        }
        line.clear();
    }
    wait_for_output();
}

// ---- the end of a charon -------------------------------------------------------------------

void Supervisor::wait_for_end() {
    charon_->end.async_wait(descriptor_base::wait_read, for_this_charon([this] { reap(); }));
}

void Supervisor::reap() {
    const std::optional<int> status = launcher_->wait();
    charon_->reaped = true;
    const std::string reason = !charon_->reason.empty() ? charon_->reason
                               : status                 ? how_it_ended(*status)
                                                        : "charon ended with its launcher";
    // Output from before it ended: the DELETEs of a shutdown, its last log lines.
    read_messages(10000);
    read_output();
    lost(reason);
}

void Supervisor::lost(const std::string& reason) {
    if (!up_ && !stopping_)
        for (const std::string& words : charon_->last_words)
            log(3, "charon: " + words);
    const bool stable = steady_clock::now() - charon_->started > kStable;
    charon_.reset();
    up_ = false;
    if (!stopping_) {
        log(3, reason);
        if (stable)
            pause_ = options_.first_restart;
        restart_later();
    }
    owner_.on_charon_lost(reason);
    if (auto stopped = std::exchange(stopped_, nullptr))
        stopped();
}

void Supervisor::restart_later() {
    restart_timer_.expires_after(pause_);
    pause_ = std::min(pause_ * 2, options_.longest_restart);
    restart_timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code e) {
        if (e || !alive.lock() || stopping_)
            return;
        counters_.restarts++;
        if (auto started = spawn(); !started)
            owner_.on_charon_impossible(started.error().text);
    });
}

void Supervisor::log(std::uint8_t level, std::string text) {
    owner_.on_log(channel::LogLine{level, std::move(text)});
}

} // namespace encsync::supervisor
