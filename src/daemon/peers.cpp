// SPDX-License-Identifier: ISC
#include "daemon/peers.hpp"

#include "config/options.hpp"
#include "daemon/translate.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace encsync::daemon {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

// The most likely local reason for silence: our address is gone, or the cable's interface. None:
// they are here.
std::optional<std::string> local_reason(const config::Conn& conn, const link::Links& link,
                                        PeerId peer) {
    if (auto why = link.cables.why_down(peer); !why.empty())
        return why;
    if (lacks_interface(conn.left))
        return fmt::format("interface {} of left {} is gone", conn.left.scope,
                           config::to_string(conn.left));
    if (link::is_own(outer(conn.left)))
        return {};
    return fmt::format("left {} is no address of this machine any more",
                       config::to_string(conn.left));
}

// For how long nothing was received from a peer; 0 if nothing ever was.
std::chrono::seconds silence(const sync::Peer& session) {
    if (session.last_received == sync::Instant{})
        return 0s;
    return std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - session.last_received);
}

// The id comes in hex.
std::optional<keys::PpkId> ppk_of(const channel::PeerEvent& event) {
    keys::PpkId id{};
    std::size_t size = 0;
    if (sodium_hex2bin(id.data(), id.size(), event.ppk.data(), event.ppk.size(), nullptr, &size,
                       nullptr) != 0 ||
        size != id.size())
        return std::nullopt;
    return id;
}

} // namespace

const char* to_string(Failure failure) {
    switch (failure) {
    case Failure::authentication:
        return "authentication";
    case Failure::no_proposal:
        return "no_proposal";
    case Failure::no_answer:
        return "no_answer";
    case Failure::flooded:
        break;
    }
    return "flooded";
}

Peers::Peers(const Directory& directory, sync::Engine& engine, relay::Relay* relay,
             keysync::KeySync& key_sync, link::Links& link, Turns& turns)
    : directory_(directory), engine_(engine), relay_(relay), key_sync_(key_sync), link_(link),
      turns_(turns) {}

// ---- from the tunnel -----------------------------------------------------------------------

void Peers::on_packet(PeerId peer, std::uint32_t spi, Bytes inner_packet) {
    turns_.begin();
    const policy::Selectors& selectors = directory_.selectors(peer);
    const sync::Peer& session = engine_.session(peer);
    const pfsync::Expected expected =
        relay_ != nullptr ? relay_->expected(peer) : session.options.dialect;
    const auto [refusal, payload] =
        engine_.verdict(peer).packet(inner_packet, selectors, expected, engine_.now());
    if (refusal == policy::Reason::accept) {
        if (keysync::is_about_keys(payload))
            key_sync_.on_packet(peer, payload);
        else if (relay_ != nullptr)
            relay_->on_packet(peer, payload);
        else
            engine_.on_packet(peer, payload);
        return;
    }
    State& state = states_[peer];
    const auto why = [&] {
        return policy::explain(refusal, inner_packet, selectors, expected, state.used_dialect);
    };
    if (relay_ != nullptr)
        relay_->on_packet_refused(peer, why());
    else if (!session.accepted)
        engine_.on_packet_refused(peer, why());
    log::debug("peer {}: packet of SA {:08x} refused: {}", directory_.name(peer), spi,
               policy::to_string(refusal));
}

void Peers::on_up(PeerId peer) {
    turns_.begin();
    states_[peer].life.since = Clock::now();
    if (link_.cables.has(peer))
        states_[peer].last_error.clear(); // where nothing else reports success
    log::notice("peer {}: up", directory_.name(peer));
    engine_.on_link_up(peer);
    key_sync_.on_up(peer);
    if (relay_ != nullptr)
        relay_->on_up(peer);
}

void Peers::on_down(PeerId peer) {
    turns_.begin();
    State& state = states_[peer];
    state.life.since = Clock::now();
    state.counters.lost++;
    std::string why = std::exchange(state.end, {});
    if (auto lost = local_reason(directory_.conn(peer), link_, peer))
        why = std::move(*lost);
    log::notice("peer {}: down{}{}", directory_.name(peer), why.empty() ? "" : ": ", why);
    engine_.on_link_down(peer);
    key_sync_.on_down(peer);
    if (relay_ != nullptr)
        relay_->on_down(peer);
    state.life.connecting = false;
    if (!why.empty())
        state.last_error = std::move(why);
}

// Its identity is unknown: IKE sends it in the second exchange (IKE_AUTH), and we do not answer.
void Peers::on_stranger(const link::Endpoint& from, const link::Endpoint& to, Bytes header) {
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

// ---- from charon ---------------------------------------------------------------------------

void Peers::on_ike_out(const channel::IkeOut& datagram) {
    link::Endpoint from = endpoint(datagram.from), to = endpoint(datagram.to);
    for (const PeerId peer : directory_.all()) {
        const config::Conn& conn = directory_.conn(peer);
        if (!conn.right.scope.empty() && conn.right.ip == datagram.to.address) {
            from.address(outer(conn.left));
            to.address(outer(conn.right));
        }
    }
    link_.tunnel.send_ike(from, to, datagram.datagram);
}

void Peers::on_event(const channel::PeerEvent& event) {
    using Kind = channel::PeerEventKind;
    if (!directory_.used(event.peer)) {
        if (auto line = strangers_.line(event.text, Clock::now()))
            log::warning("IKE: {}", *line);
        return;
    }
    State& state = states_[event.peer];
    switch (event.kind) {
    case Kind::connecting:
        state.life.connecting = true;
        break;
    case Kind::up:
    case Kind::rekeyed:
        (event.kind == Kind::up ? state.counters.established : state.counters.rekeyed)++;
        state.life.connecting = false;
        state.last_error.clear();
        state.failures.forget();
        state.end.clear();
        state.life.key = event.key.empty() ? std::nullopt : std::optional(event.key.front());
        state.life.ppk = ppk_of(event);
        state.life.key_exchanges = event.key_exchanges;
        log::info("peer {}: {} {}, {}{}", directory_.name(event.peer),
                  event.kind == Kind::up ? "IKE SA" : "rekeyed, IKE SA", event.ike_spi_i,
                  event.key_exchanges,
                  state.life.ppk ? ", with " + keys::to_text(*state.life.ppk) : "");
        break;
    case Kind::auth_failed:
        failed(event.peer, Failure::authentication, "authentication failed: " + event.text);
        break;
    case Kind::no_proposal:
        failed(event.peer, Failure::no_proposal, "no proposal in common: " + event.text);
        break;
    case Kind::unreachable:
        // If the peer was up, on_down() reports it.
        if (!engine_.session(event.peer).link_up)
            failed(event.peer, Failure::no_answer,
                   local_reason(directory_.conn(event.peer), link_, event.peer)
                       .value_or(event.text.empty() ? "does not answer" : event.text));
        break;
    case Kind::flooded:
        failed(event.peer, Failure::flooded, event.text);
        break;
    case Kind::down:
        state.end = event.text;
        if (const auto silent = silence(engine_.session(event.peer)); silent >= 2s)
            state.end += fmt::format("{}nothing heard for {} s", event.text.empty() ? "" : ", ",
                                     silent.count());
        break;
    case Kind::peer_deleted:
        break;
    }
}

// Anybody can cause a failed negotiation, so it is only reported. The text is kept, even while the
// peer is up, until the next negotiation with it succeeds.
void Peers::failed(PeerId peer, Failure failure, std::string why) {
    states_[peer].counters.failed[static_cast<std::size_t>(failure)]++;
    failed(peer, std::move(why));
}

void Peers::failed(PeerId peer, std::string why) {
    State& state = states_[peer];
    state.life.connecting = false;
    if (auto line = state.failures.line(why, Clock::now()))
        log::warning("peer {}: {}", directory_.name(peer), *line);
    state.last_error = std::move(why);
}

void Peers::set_error(PeerId peer, std::string why) {
    log::warning("peer {}: {}", directory_.name(peer), why);
    states_[peer].last_error = std::move(why);
}

void Peers::on_charon_lost(const std::string& reason) {
    for (State& state : states_) {
        state.life.connecting = false;
        state.end = "charon is gone: " + reason;
    }
    link_.tunnel.drop_all();
    for (State& state : states_)
        state.end.clear(); // of peers that were already down
}

// ---- periodically --------------------------------------------------------------------------

void Peers::every_second() {
    follow_interfaces();
    for (const PeerId peer : directory_.all()) {
        look_at(peer);
        for (const auto& [level, line] :
             states_[peer].alarms.look(engine_.session(peer).verdict.counters(), Clock::now()))
            log::write(level, fmt::format("peer {}: {}", directory_.name(peer), line));
    }
}

// An interface that was recreated has another index, and its sockets are dead.
void Peers::follow_interfaces() {
    for (const PeerId peer : directory_.all()) {
        const config::Conn& conn = directory_.conn(peer);
        if (conn.is_cable() || conn.left.scope.empty() || lacks_interface(conn.left))
            continue;
        if (auto moved = link_.tunnel.move_peer(peer, outer(conn.left), outer(conn.right)); !moved)
            failed(peer, moved.error().text);
        else if (*moved)
            log::notice("peer {}: interface {} is back", conn.name, conn.left.scope);
    }
}

// Reports what no single packet shows.
void Peers::look_at(PeerId peer) {
    const std::string& name = directory_.name(peer);
    const sync::Peer& session = engine_.session(peer);
    State& state = states_[peer];
    std::string why;
    if (relay_ != nullptr)
        why = trouble_of_relay(peer);
    else
        engine_.misunderstood(peer, &why);
    if (why != state.misunderstood) {
        if (!why.empty())
            log::warning("peer {}: {}", name, why);
        else if (relay_ != nullptr ? session.link_up : session.accepted)
            log::notice("peer {}: is understood now", name);
        state.misunderstood = std::move(why);
    }
    const bool taken_for_pf =
        session.is_pf() && session.options.extended && session.options.dialect;
    if (taken_for_pf && !state.taken_for_pf)
        log::warning(
            "peer {}: sends no HELLO, so it is taken for a pf firewall; wire=openbsd if it "
            "is one, otherwise its wire= differs from this node's",
            name);
    state.taken_for_pf = taken_for_pf;
    if (session.counters.modulated != 0 && !std::exchange(state.modulates, true))
        log::warning("peer {}: its pf moves TCP sequence numbers (modulate state, synproxy state), "
                     "which Linux does not; a takeover here cuts these connections",
                     name);
}

// What is wrong with what a firewall or another gateway sends; empty: nothing.
std::string Peers::trouble_of_relay(PeerId peer) const {
    const config::Conn& conn = directory_.conn(peer);
    if (const auto loop = relay_->loop(peer))
        return fmt::format(
            "a loop: on its cable is a gateway, {}, so nothing from there is passed on; {} must "
            "name firewalls only",
            loop->self              ? "this one itself"
            : loop->peer == kNoPeer ? "of which this node has no conn"
                                    : directory_.name(loop->peer),
            conn.speakers.empty() ? "right=" : "speakers=");
    if (auto why = relay_->misunderstood(peer); !why.empty())
        return "its packets are not understood: " + why;
    if (const auto dialect = relay_->other_wire(peer))
        return fmt::format("it sends states of {}, and wire={} here: {}",
                           pfsync::to_string(*dialect),
                           pfsync::to_string(*config::dialect_of(conn.wire)),
                           conn.is_cable() ? "change that, and reload"
                                           : "both ends of a conn must have the same wire");
    return {};
}

bool Peers::up(PeerId peer) const {
    const sync::Peer& s = engine_.session(peer);
    return s.link_up && (relay_ != nullptr || (s.extended ? !s.silent : s.is_pf()));
}

bool Peers::ready(PeerId peer) const {
    const sync::Peer& s = engine_.session(peer);
    return up(peer) && (s.extended ? s.peer_ready : s.in_step);
}

bool Peers::in_step(PeerId peer) const {
    const sync::Peer& s = engine_.session(peer);
    return s.in_step && s.reachable() && engine_.holds_all_of(peer);
}

std::string Peers::last_error(PeerId peer) const {
    const State& state = states_[peer];
    const sync::Peer& s = engine_.session(peer);
    if (!state.misunderstood.empty())
        return state.misunderstood;
    if (s.link_up && s.extended && s.silent && s.last_received > s.up_since)
        return fmt::format("nothing heard for {} s, though its {} up", silence(s).count(),
                           directory_.conn(peer).is_cable() ? "cable is" : "SAs are");
    if (auto why = link_.cables.why_down(peer); !why.empty())
        return why;
    return state.last_error;
}

} // namespace encsync::daemon
