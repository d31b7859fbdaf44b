// SPDX-License-Identifier: ISC
// How the peers fare: what the tunnel and charon tell of them, what their silence does, and why one
// is down.
#include "daemon/node.hpp"

#include "daemon/translate.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::daemon {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

// The likeliest reason for silence that is on this side. None: we have our address.
std::optional<std::string> lost_address(const config::Conn& conn) {
    if (lacks_interface(conn.left))
        return fmt::format("interface {} of left {} is gone", conn.left.scope,
                           config::to_string(conn.left));
    if (link::is_own(outer(conn.left)))
        return {};
    return fmt::format("left {} is no address of this machine any more",
                       config::to_string(conn.left));
}

// Since when nothing was heard of a peer that was.
std::chrono::seconds silence(const sync::Peer& session) {
    if (session.last_heard == sync::Instant::zero())
        return 0s;
    return std::chrono::duration_cast<std::chrono::seconds>(Clock::now().time_since_epoch() -
                                                            session.last_heard);
}

} // namespace

// ---- from the tunnel -----------------------------------------------------------------------

void Node::on_packet(PeerId peer, std::uint32_t spi, Bytes inner_packet) {
    turn();
    const auto [verdict, payload] =
        policy::check(inner_packet, selectors_[peer], engine_->session(peer).options.dialect);
    guard_.add(verdict);
    if (verdict == policy::Verdict::accept) {
        engine_->on_packet(peer, payload);
        return;
    }
    PeerLife& life = lives_[peer];
    life.guard_refused++;
    if (const sync::Peer& session = engine_->session(peer); !session.accepted)
        engine_->on_packet_refused(peer, policy::explain(verdict, inner_packet, selectors_[peer],
                                                         session.options.dialect, life.spoken));
    log::debug("peer {}: packet of SA {:08x} refused: {}", config_.conns[peer].name, spi,
               policy::to_string(verdict));
}

void Node::on_up(PeerId peer) {
    turn();
    lives_[peer].since = Clock::now();
    log::notice("peer {}: up", config_.conns[peer].name);
    engine_->on_link_up(peer);
}

void Node::on_down(PeerId peer) {
    turn();
    PeerLife& life = lives_[peer];
    life.since = Clock::now();
    std::string why = std::exchange(life.end, {});
    if (auto lost = lost_address(config_.conns[peer]))
        why = std::move(*lost);
    log::notice("peer {}: down{}{}", config_.conns[peer].name, why.empty() ? "" : ": ", why);
    engine_->on_link_down(peer);
    life.connecting = false;
    if (!why.empty())
        life.last_error = std::move(why);
}

void Node::on_writable(PeerId) {
    turn();
}

// ---- from charon ---------------------------------------------------------------------------

void Node::on_ike_out(const channel::IkeOut& datagram) {
    link::Endpoint from = endpoint(datagram.from), to = endpoint(datagram.to);
    for (const config::Conn& conn : config_.conns)
        if (!conn.right.scope.empty() && conn.right.ip == datagram.to.address) {
            from.address(outer(conn.left));
            to.address(outer(conn.right));
        }
    link_->send_ike(from, to, datagram.datagram);
}

void Node::on_add_sa(const channel::AddSa& sa) {
    if (auto added = link_->add_sa(sa); !added)
        log::error("SA {:08x} cannot be used: {}", sa.spi, added.error().text);
}

void Node::on_delete_sa(const channel::DeleteSa& sa) {
    link_->delete_sa(sa.peer, sa.spi, sa.direction);
}

void Node::on_peer_event(const channel::PeerEvent& event) {
    using Kind = channel::PeerEventKind;
    if (!used(event.peer)) {
        if (auto line = strangers_.line(event.text, Clock::now()))
            log::warning("IKE: {}", *line);
        return;
    }
    PeerLife& life = lives_[event.peer];
    const std::string& name = config_.conns[event.peer].name;
    switch (event.kind) {
    case Kind::connecting:
        life.connecting = true;
        break;
    case Kind::up:
    case Kind::rekeyed:
        life.connecting = false;
        life.last_error.clear();
        life.failures.forget();
        life.end.clear();
        life.key = event.key.empty() ? std::nullopt : std::optional(event.key.front());
        log::info("peer {}: {} {}", name, event.kind == Kind::up ? "IKE SA" : "rekeyed, IKE SA",
                  event.ike_spi_i);
        break;
    case Kind::auth_failed:
        failed(event.peer, "authentication failed: " + event.text);
        break;
    case Kind::no_proposal:
        failed(event.peer, "no proposal in common: " + event.text);
        break;
    case Kind::unreachable:
        // If it was up, what ends says so.
        if (!engine_->session(event.peer).link_up)
            failed(event.peer, lost_address(config_.conns[event.peer])
                                   .value_or(event.text.empty() ? "does not answer" : event.text));
        break;
    case Kind::down:
        life.end = event.text;
        if (const auto silent = silence(engine_->session(event.peer)); silent >= 2s)
            life.end += fmt::format("{}nothing heard for {} s", event.text.empty() ? "" : ", ",
                                    silent.count());
        break;
    case Kind::peer_deleted:
        break;
    }
}

// Anybody can send what makes a negotiation fail, so nothing but words follows from it; those are
// kept while the peer is up as well, until its next negotiation succeeds.
void Node::failed(PeerId peer, std::string why) {
    PeerLife& life = lives_[peer];
    life.connecting = false;
    if (auto line = life.failures.line(why, Clock::now()))
        log::warning("peer {}: {}", config_.conns[peer].name, *line);
    life.last_error = std::move(why);
}

// Who it claims to be is not known: IKE says that in its second exchange, and we don't answer.
void Node::on_stranger(const link::Endpoint& from, const link::Endpoint& to, Bytes header) {
    constexpr std::size_t kVersion = 17; // RFC 7296 section 3.1
    const int version = header[kVersion] >> 4;
    if (version != 1 && version != 2)
        return;
    if (auto line = strangers_.line(
            fmt::format("a caller from {} began IKEv{} with {}: no conn of that left has its "
                        "address as right, so it gets no answer",
                        from.address().to_string(), version, to.address().to_string()),
            Clock::now()))
        log::warning("{}", *line);
}

void Node::on_log(const channel::LogLine& line) {
    log::write(static_cast<log::Level>(std::clamp<int>(line.level, 3, 7)), line.text);
}

void Node::on_charon_up(const std::string& version) {
    log::info("charon {} is up, pid {}", version, charon_->pid());
}

void Node::on_charon_lost(const std::string& reason) {
    log::write(stopping_ ? log::Level::info : log::Level::warning,
               fmt::format("charon is gone: {}; all SAs are dropped", reason));
    for (PeerLife& life : lives_) {
        life.connecting = false;
        life.end = "charon is gone: " + reason;
    }
    link_->drop_all();
    for (PeerLife& life : lives_)
        life.end.clear(); // of those that were down
}

void Node::on_charon_impossible(const std::string& reason) {
    log::error("charon cannot be started any more: {}; giving up", reason);
    failed_ = true;
    io_.stop();
}

// ---- by and by -----------------------------------------------------------------------------

// What no single packet tells.
void Node::watch_peers() {
    for (PeerId peer = 0; peer < config_.conns.size(); peer++) {
        if (!used(peer))
            continue;
        const std::string& name = config_.conns[peer].name;
        const sync::Peer& session = engine_->session(peer);
        PeerLife& life = lives_[peer];
        std::string why;
        engine_->misunderstood(peer, &why);
        if (why != life.misunderstood) {
            if (!why.empty())
                log::warning("peer {}: {}", name, why);
            else if (session.accepted)
                log::notice("peer {}: is understood now", name);
            life.misunderstood = std::move(why);
        }
        const bool taken_for_pf = session.is_pf() && session.options.dialect;
        if (taken_for_pf && !life.taken_for_pf)
            log::warning("peer {}: says no hello, so it is taken for a pf firewall; wire=openbsd "
                         "if it is one, otherwise its wire= differs from this node's",
                         name);
        life.taken_for_pf = taken_for_pf;
    }
}

std::string Node::last_error(PeerId peer) const {
    const PeerLife& life = lives_[peer];
    const sync::Peer& s = engine_->session(peer);
    if (!life.misunderstood.empty())
        return life.misunderstood;
    if (s.link_up && s.extended && s.silent && s.last_heard > s.up_since)
        return fmt::format("nothing heard for {} s, though its SAs are up", silence(s).count());
    return life.last_error;
}

} // namespace encsync::daemon
