// SPDX-License-Identifier: ISC
// Keeps one charon running as encsyncd's IKE daemon: starts it, passes it the identity and the
// peers, detects when it dies or hangs, and restarts it. The SAs that it negotiates are reported to
// the Owner. Single-threaded: everything happens on the io_context given.
//
//     Supervisor ike(io, options, owner);
//     ike.set_identity(identity); ike.set_peer(minnie); Result<void> up = ike.start();
//
// The owner passes IKE datagrams to ike_in() and sends those of on_ike_out(), both without the
// non-ESP marker of RFC 3948. Identity and peers are kept (secrets wiped at the end), so that they
// can be passed to a new charon.
//
// When charon is lost, so are its IKE_SAs: the owner drops all SAs at on_charon_lost(), and peers
// negotiate again.
#pragma once

#include "ipsec/plugin/channel.hpp"
#include "ipsec/plugin/charon_launcher.hpp"
#include "util/counters.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace encsync::supervisor {

struct Options {
    CharonOptions charon;
    std::chrono::milliseconds hello_timeout{15000}; // from its start until charon answers
    std::chrono::milliseconds ping_interval{1000};
    std::chrono::milliseconds hang_timeout{5000}; // killed if no ping is answered for this long
    std::chrono::milliseconds shutdown_timeout{2000};
    std::chrono::milliseconds first_restart{100}; // then doubling,
    std::chrono::milliseconds longest_restart{5000};
};

// Called from the io_context, never from within a call of a Supervisor's member.
class Owner {
  public:
    virtual ~Owner() = default;
    virtual void on_ike_out(const channel::IkeOut& datagram) = 0;
    // Send on the outbound SA that was added last. The keys are wiped afterwards.
    virtual void on_add_sa(const channel::AddSa& sa) = 0;
    virtual void on_delete_sa(const channel::DeleteSa& sa) = 0;
    virtual void on_peer_event(const channel::PeerEvent& event) = 0;
    virtual void on_log(const channel::LogLine& line) = 0;
    // charon is running, and has identity and peers.
    virtual void on_charon_up(const std::string& version) = 0;
    // All SAs must be dropped now. A new charon will be started, unless stop() was called.
    virtual void on_charon_lost(const std::string& reason) = 0;
    // Also, no charon can be started any more: its launcher is gone, and creating another needs
    // privileges that were dropped.
    virtual void on_charon_impossible(const std::string& reason) = 0;
};

struct Counters {
    std::uint64_t restarts = 0;
    std::uint64_t ike_in = 0, ike_out = 0;
    std::uint64_t ike_in_dropped = 0;             // no charon, its queue full, or too large
    std::map<std::string, std::uint64_t> refused; // messages of charon's, by reason
};
inline constexpr std::array kCounters = {
    counters::value<&Counters::restarts>("charon", "restarts", "times",
                                         "Times charon was restarted"),
    counters::value<&Counters::ike_in>("", "charon_ike_in", "datagrams",
                                       "IKE datagrams handed to charon"),
    counters::value<&Counters::ike_out>("", "charon_ike_out", "datagrams",
                                        "IKE datagrams that charon sent"),
    counters::value<&Counters::ike_in_dropped>(
        "", "charon_ike_in_dropped", "datagrams",
        "IKE datagrams that charon could not be given: not there, too slow, or too large"),
};

class Supervisor {
  public:
    Supervisor(boost::asio::io_context& io, Options options, Owner& owner);
    ~Supervisor(); // kills charon if it still runs
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;

    // Forks charon's launcher: to be called as root, before there are secrets in this process.
    // start() does it if needed. Fails if charon cannot be started at all (no package, no user, not
    // root).
    Result<void> prepare();
    // Later failures are reported by on_log() and retried.
    Result<void> start();
    // Lets charon send DELETEs to the peers, for at most shutdown_timeout; then calls `done`, once.
    void stop(std::function<void()> done);

    // May be called at any time; also passed to every later charon. Changed peers keep their SAs
    // unless addresses or ids differ, or none of their keys is trusted any longer.
    Result<void> set_identity(channel::Identity identity);
    Result<void> set_peer(channel::Peer peer);
    void remove_peer(PeerId peer);

    void ike_in(const net::Endpoint& from, const net::Endpoint& to, Bytes datagram);
    void initiate(PeerId peer);
    // The end whose id sorts last waits a second, in case the other received the same order.
    void rekey(PeerId peer, bool reauthenticate);
    void expire(std::uint32_t inbound_spi);

    pid_t pid() const; // of charon; -1: there is none just now
    bool up() const { return up_; }
    const Counters& counters() const { return counters_; }

  private:
    struct Charon; // one run of the process
    using Timer = boost::asio::steady_timer;

    // A handler that does nothing once the charon it was made for is gone.
    template<class F>
    auto for_this_charon(F f);

    Result<void> spawn();
    void kill(std::string reason);
    void lost(const std::string& reason);
    void restart_later();
    void reap();

    void wait_for_messages();
    void wait_for_output();
    void wait_for_end();
    void read_messages(int most);
    void read_output();
    void handle(channel::Message& message);
    void greet(const channel::Hello& hello);
    void refuse(const std::string& reason);

    void send(const channel::Message& message, bool may_be_lost = false);
    void flush();
    void ping();
    void log(std::uint8_t level, std::string text);

    boost::asio::io_context& io_;
    const Options options_;
    Owner& owner_;
    Counters counters_;

    std::optional<CharonLauncher> launcher_;
    std::shared_ptr<Charon> charon_;
    bool up_ = false;
    bool stopping_ = false;
    std::function<void()> stopped_;
    std::chrono::milliseconds pause_; // before the next start
    Timer restart_timer_;
    std::shared_ptr<int> alive_ = std::make_shared<int>(0); // handlers see whether we still are

    std::unique_ptr<channel::Identity> identity_;
    std::map<PeerId, channel::Peer> peers_;
};

} // namespace encsync::supervisor
