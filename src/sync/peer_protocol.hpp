// SPDX-License-Identifier: ISC
// The protocol used with one peer: encsync_peer.hpp, our own messages in pfsync, numbered and
// acknowledged, or pf_peer.hpp, standard pfsync and nothing else. Each peer has both, and one at
// a time is in use; sessions.hpp chooses. The other parts use only what is below.
#pragma once

#include "pfsync/build.hpp"
#include "pfsync/parse.hpp"
#include "state/index.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"
#include "util/histogram.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace encsync::sync {

// What the protocol can carry of the conntrack zone of a flow.
enum class Zones : std::uint8_t {
    none,            // pfsync has none
    both_directions, // encsync before it knew of zones for one direction
    each_direction,
};

class PeerProtocol {
  public:
    virtual ~PeerProtocol() = default;

    // ---- what it promises ------------------------------------------------------------------
    // Changes are sent as they happen; otherwise the peer requests a bulk update later.
    virtual bool is_sent_changes() const = 0;
    // No message is lost for good: requests are answered, and a bulk update names all
    // that its sender owns.
    virtual bool reliable() const = 0;
    // Claims to own a flow carry a term, by which they are compared.
    virtual bool has_terms() const = 0;
    virtual Zones zones() const = 0;
    // Until when an unanswered request for a bulk update waits before it is repeated.
    virtual Duration bulk_retry() const = 0;

    // ---- the conversation ------------------------------------------------------------------
    virtual void on_link_up() = 0;
    virtual void on_link_down() = 0;
    virtual void on_received() = 0;       // something of the peer was accepted
    virtual void on_received_again() = 0; // likewise, after a silence
    virtual void on_promoted() = 0;       // this node has become the active one
    // Both start over: what was under way does not count any more.
    virtual void reset() = 0;
    virtual void advance() = 0;
    virtual Instant deadline() const = 0;

    // Takes the sections of a packet from `first` on.
    virtual void receive(const pfsync::Section* first, pfsync::Parser& rest) = 0;
    // There is a packet to build now.
    virtual bool due() const = 0;
    // Writes one packet. 0: there was nothing to send.
    virtual std::size_t build(MutableBytes room) = 0;
    // One packet of a bulk update in progress has left. True: no further one now.
    virtual bool pauses() = 0;

    // ---- messages, for the parts that know what is to be sent -------------------------------
    // False: the packet is full.
    virtual bool write_state(pfsync::Builder& packet, state::Slot slot, Item::Kind kind) = 0;
    virtual bool write_update(pfsync::Builder& packet, state::Slot slot) = 0;
    // A message has been added to the packet that is being built.
    virtual void sent(const Item& item) = 0;
    // With it goes a change that has waited since then.
    virtual void carries(Instant /*since*/) {}

    // ---- how far the peer is behind ----------------------------------------------------------
    // Since when the oldest change waits that the peer has not acknowledged. Instant::max(): it
    // has acknowledged all. None: it never acknowledges anything, or there is no session with it.
    virtual std::optional<Instant> oldest_unacknowledged() const { return std::nullopt; }
    // From the oldest change in a packet until that is acknowledged.
    virtual const Histogram* acknowledge_latency() const { return nullptr; }
};

} // namespace encsync::sync
