// SPDX-License-Identifier: ISC
// The sync engine: keeps this node's table and its peers' in step. No I/O and no clock: it is
// given events, packets and the time, and asks the table and the link to act.
//
//     Engine engine(options, table, link);
//     engine.advance(now);                   // before every batch, and when deadline() has come
//     engine.on_packet(peer, pfsync_payload);
//     engine.flush();                        // after every batch: whatever waits is sent
//
// A flow is live at the node that last saw it move, its owner; everywhere else it is a copy,
// which is kept alive without traffic as long as the owner lives and has not deleted it. Roles
// settle who owns them when nothing moves: the one active node takes over those of standby and
// vanished peers. ownership.hpp has the rules, docs/architecture.md the whole story.
//
// The engine only wires its parts (engine.cpp); the header of each says what it owns, what it may
// call, and what it promises. From the bottom up, each calls only those before it:
//
//     flow_store, pf_states        what is known of flows
//     peers                        who the peers are, who is within reach, who is active
//     outbound, suppression        updates of flows for peers; what they are not sent
//     lifecycle                    where flows begin and end
//     copies, missing, liberal     the table's entries of flows
//     ownership                    which node owns a flow
//     address_loss, orphans        flows whose address or owner has gone
//     local_flows, table_expectations, clashes, deferral    the table's events and dumps
//     bulk, anti_entropy           everything at once; that nothing is missing
//     readiness, sessions          how nodes meet
//     encsync_peer, pf_peer        the two protocols
#pragma once

#include "sync/context.hpp"
#include "sync/link.hpp"
#include "sync/peer.hpp"
#include "sync/readiness.hpp"
#include "sync/time.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace encsync::sync {

class Engine : public table::Listener {
  public:
    Engine(Options options, table::Table& table, Link& link);
    ~Engine() override;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // ---- time ------------------------------------------------------------------------------
    void advance(Instant now);
    Instant deadline() const; // when advance() is wanted next

    // ---- the table's side (table::Listener) ------------------------------------------------
    void on_created(const state::Flow& flow) override;
    void on_updated(const state::Flow& flow) override;
    void on_destroyed(const state::Flow& flow) override;
    void on_withdrawn(const state::Flow& flow) override;
    void on_dump_begin() override;
    void on_dump_entry(const state::Flow& flow, bool untouched) override;
    void on_dump_end() override;
    void on_refused(const state::Key& key, table::Refusal refusal) override;
    void on_clash(const state::Key& key, const state::Flow& holder, bool untouched) override;
    void on_addresses_changed() override;
    void on_expected(const state::Expectation& expectation, bool fresh) override;
    void on_unexpected(const state::Expectation& expectation) override;

    // The first packet of a flow that the table does not have yet. True: it is to wait until
    // Options::release is called with this token, in 20 ms at the latest. False: it may go.
    bool defer(const state::Flow& flow, std::uint32_t token);
    std::size_t deferred() const; // packets that wait

    // ---- the peers' side -------------------------------------------------------------------
    void on_link_up(PeerId peer);
    void on_link_down(PeerId peer);
    // What the peer may send; the packets that it accepts go to on_packet().
    policy::Verdict& verdict(PeerId peer);
    Instant now() const { return context_.now; } // of the last advance()
    // A pfsync payload that the policy has accepted, from its header on.
    void on_packet(PeerId peer, Bytes payload);
    // The policy refused a packet of the peer, for this reason. To be called at least while nothing
    // of the peer has been accepted.
    void on_packet_refused(PeerId peer, std::string why);
    // Sends what waits, as far as the peers' windows and the link allow. True: one turn's worth
    // has left and there is more; to be called again soon.
    bool flush();

    // ---- the administrator's side ----------------------------------------------------------
    // The number must be free, or taken by a peer, respectively; others do not notice.
    void add_peer(PeerId peer, PeerOptions options);
    void remove_peer(PeerId peer);
    // The keys with which the peer may authenticate, which HELLO names: two at most.
    void set_trusted(PeerId peer, std::vector<KeyPrint> keys);
    void set_role(Role role);
    Role role() const { return context_.options.role; }
    // What is announced of this machine.
    void set_tracking(std::optional<TcpTracking> tracking);
    // How many more entries the table may get from peers, as of now; those made meanwhile are
    // counted. Less than 0: so many copies are too many, and leave the table. At first there is no
    // limit.
    void set_room(std::int64_t room);
    // Removes all states that the peer has brought here, also those that are ours by now. Returns
    // how many. If it is up, it sends again those that it still has.
    std::size_t remove_states_of(PeerId peer);
    // Asks the peer for all its states.
    void request_bulk(PeerId peer);
    // The peer is up, but none of its packets arrives or is understood: *why says which.
    bool misunderstood(PeerId peer, std::string* why = nullptr) const;
    // In step: may be promoted. Otherwise *why says what is missing.
    bool ready(std::string* why = nullptr) const { return unready(why) == Unready::no; }
    Unready unready(std::string* why = nullptr) const; // likewise

    // ---- what is to be seen ----------------------------------------------------------------
    const FlowIndex& index() const { return context_.index; }
    const PfStates& pf_states() const { return context_.pf_states; }
    const ExpectationBook& expectations() const { return context_.flows.expectations(); }
    std::size_t early_expectations() const;                    // that wait for their master
    std::uint32_t seconds() const { return context_.seconds; } // the clock of index records
    const Peer& session(PeerId peer) const;
    bool has_peer(PeerId peer) const;
    // States that are live here.
    std::size_t live() const { return context_.flows.live(); }
    // Of those, the ones that are sent to this peer.
    std::size_t live_for(PeerId peer) const { return live() - context_.flows.suppressed(peer); }
    // States whose owner is `peer`.
    std::size_t copies_of(PeerId peer) const { return context_.flows.copies(peer); }
    // Of those, the ones that the table does not hold.
    std::size_t missing_of(PeerId peer, Missing why) const {
        return context_.flows.missing(peer, why);
    }
    std::size_t missing_of(PeerId peer) const;
    // How long the oldest change has waited that the peer has not acknowledged; 0: it has
    // acknowledged all. None: it speaks plain pfsync, which acknowledges nothing, or has not been
    // met.
    std::optional<Duration> lag(PeerId peer, Instant now) const;
    // From the oldest change in a packet until the peer has acknowledged that.
    const Histogram& acknowledge_latency(PeerId peer) const;
    // Of its states, those that are not taken from it.
    std::size_t refused_of(PeerId peer) const { return context_.flows.refused(peer); }
    // All that the peer has sent is here, but for what is normal while flows come and go.
    bool holds_all_of(PeerId peer) const;
    const Counters& counters() const { return context_.counters; }
    std::vector<MissingEdge> missing_edges() const;
    std::string describe(const MissingEdge& edge) const;
    // For tests: digests, and counts, are those of what the index holds.
    bool digests_hold() const { return context_.flows.holds(); }

  private:
    struct Wiring;

    std::unique_ptr<Peer> make_peer(PeerId number, PeerOptions options, bool present);
    void advance(Peer& peer);
    bool transmit(Peer& peer);

    Context context_;
    std::unique_ptr<Wiring> parts_;
    Link& link_;
    Instant started_ = kNever;
    Instant alone_since_ = kNever; // when a peer was within reach last
};

} // namespace encsync::sync
