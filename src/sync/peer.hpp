// SPDX-License-Identifier: ISC
// What is known of one peer: its identity, whether it is reachable, what it announced about itself,
// and how far the updates in both directions have come. Each group of fields names the part that
// writes it; the other parts read it.
#pragma once

#include "pfsync/dialect.hpp"
#include "policy/verdict.hpp"
#include "sync/bulk_state.hpp"
#include "sync/checks.hpp"
#include "sync/counters.hpp"
#include "sync/hello.hpp"
#include "sync/options.hpp"
#include "sync/outbox.hpp"
#include "sync/peer_protocol.hpp"
#include "sync/time.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace encsync::sync {

struct Peer {
    static constexpr Duration kSilence = std::chrono::seconds(4); // four hellos missed

    Peer(PeerId number, PeerOptions o, bool is_there = true, std::uint32_t our_creatorid = 0)
        : id(number), options(std::move(o)), present(is_there),
          verdict(options.rules, our_creatorid),
          dialect(options.dialect.value_or(pfsync::kOwnDialect)) {}

    const PeerId id;
    PeerOptions options;
    bool present;            // false: no peer has this number at present; its link is never up
    policy::Verdict verdict; // on all that it sends
    PeerCounters counters;

    // ---- which protocol it uses (sessions) -------------------------------------------------
    std::unique_ptr<PeerProtocol> encsync, pf;
    PeerProtocol* protocol = nullptr; // one of the two
    pfsync::Dialect dialect;          // of what we send
    Zones zones = Zones::none;        // as the flows were last reviewed for (suppression)
    // Standard pfsync only: as configured, or because that is what it sends.
    bool is_pf() const { return protocol == pf.get(); }

    // ---- the path (sessions) ---------------------------------------------------------------
    bool link_up = false;  // there is an SA to send with
    bool silent = true;    // nothing received for too long: its flows have no live owner
    bool accepted = false; // any packet, since the link came up or it fell silent
    bool blocked = false;  // the link had no room for it last time (engine)
    std::string refusal;   // else why all its packets are refused; empty: it sends none
    Instant up_since;      // of the link
    Instant last_received;
    bool reachable() const { return link_up && !silent; }

    // ---- session and HELLO (sessions) ------------------------------------------------------
    std::uint64_t local = 0;  // our session with it
    std::uint64_t remote = 0; // its session; 0: not known yet
    bool extended = false;    // both sent HELLO: SEQ, ACK and tails are in use
    bool hello_now = false;
    Instant hello_due;
    std::uint16_t hello_version = 0;
    std::uint32_t creatorid = 0; // 0: not known
    Role role = Role::automatic;
    bool peer_ready = false, peer_in_step = false;
    bool reads_reply_zone = false;
    std::uint64_t peer_states = 0;       // that it has
    std::optional<TcpTracking> tracking; // of the peer
    HelloTail hello_tail;                // with its last hello
    std::uint64_t lost_in = 0;           // the session in which it reported that its table was lost
    bool lost = false;                   // and flows that it owned may have no owner since
    // HELLO is sent to it: pf would not read beyond one.
    bool sends_hello() const { return options.extended && traits(dialect).extensible(); }

    // ---- what is queued for it, and how far we are -----------------------------------------
    Outbox outbox;        // outbound
    BulkState bulk;       // bulk updates
    Checks checks;        // anti-entropy
    bool in_step = false; // a whole bulk update of the peer has arrived since it came up
    Instant in_step_since;
    Instant over_limit = kNever; // when a state of it was refused last for want of a place
    Reason over_limit_by = Reason::accept; // and of which
    bool over_share = false; // another peer lacks the room that this one has beyond an even part
};

} // namespace encsync::sync
