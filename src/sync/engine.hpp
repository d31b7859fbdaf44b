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
// settle whose flows they are when nothing moves: the one active node takes over those of standby
// and vanished peers. ownership.cpp has the rules, docs/architecture.md the whole story.
//
// What is known of flows changes in flow_store alone, which keeps sums and counts right.
//
// Files: engine.cpp (time, what the administrator asks), peers.cpp (who come and go),
// ownership.cpp, events.cpp (the table's side, copies kept alive), extras.cpp (labels, helper,
// lifetime), expect.cpp and expectations.cpp, withheld.cpp (who is not to hear of what),
// refused.cpp (what is not taken from peers),
// neighbours.cpp (whom the peers hear), collapse.cpp (how many changes make a message), defer.cpp
// (first packets), stranded.cpp (an address leaves), liberal.cpp (sequence numbers that are not
// checked), sessions.cpp (hello, acks, bulk updates), receive.cpp, word.cpp (what our own nodes
// say), transmit.cpp, checks.cpp and digest (both sides hold the same), missing.cpp (what the table
// does not hold), pf_peer.cpp, pf_bulk.cpp and pf_states.cpp (what is different with a pf
// firewall), reliability, merge, timer_queue.
#pragma once

#include "ipsec/link/link.hpp"
#include "pfsync/build.hpp"
#include "sync/flow_store.hpp"
#include "sync/pf_states.hpp"
#include "sync/session.hpp"
#include "sync/timer_queue.hpp"
#include "table/table.hpp"

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace encsync::sync {

struct Said;
struct Merge;

struct Options {
    std::uint32_t creatorid = 0; // not 0
    state::Seed id_secret{};     // names this node's flows; the same after a restart
    state::Seed index_seed{};    // random with each start
    std::uint64_t session = 0;   // random with each start, not 0
    Role role = Role::automatic;
    // The table is the one that a former life of this process served (same boot): a flow of ours
    // that is missing from it has ended. Otherwise peers may hold flows that we have lost.
    bool table_kept = false;
    std::chrono::seconds join_wait{30}; // without any peer for so long: serve alone
    std::size_t max_states = 8'000'000; // what peers may make us hold
    // Lets the packet go that defer() has taken by this token.
    std::function<void(std::uint32_t token)> release{};
    // A flow of ours has ended, for another node gave the same NAT port to that one.
    std::function<void(const state::Flow& ended, const state::Flow& other)> on_clash{};
    Instant delay{0};               // a flow must have lived so long before peers hear of it
    std::vector<PeerOptions> peers; // by PeerId
};

// Why a message of a peer was not taken.
enum class Refused : std::uint8_t {
    fault,           // pfsync::Fault, counted by its own name
    unknown_action,  // skipped by its length
    short_message,   // likewise
    own_creatorid,   // CLR of our own states
    id_clash,        // an id that names another flow here
    table_limit,     // more states than max_states
    not_owner,       // removal of a flow that is live here or at a third node
    no_sync,         // a state that is not to be sent: asked for, or sent all the same
    unknown_state,   // request for a state that is not here
    foreign_session, // SEQ or ACK of a session that is over
    bad_ack,         // of packets that were never sent
    bad_hello,
    hello_version,     // of our own messages: one that we do not know
    expectation_limit, // more expectations than a flow, or all of them, may have
    too_often,         // more requests than a pf peer is answered
    foreign_bulk,      // the end of a bulk update that began before we asked
    bad_ask,           // for sums of what is no node of the tree, or for too much at a time
    unasked,           // sums or a list that we did not ask for
};
inline constexpr int kRefused = 18;
const char* to_string(Refused refused);

struct Counters {
    std::uint64_t events = 0;
    std::array<std::uint64_t, kRefused> refused{};
    std::array<std::uint64_t, pfsync::kFaults> faults{};
    std::array<std::uint64_t, table::kRefusals> table_refused{};
    std::uint64_t refreshed = 0; // copies re-armed
    std::uint64_t put_back = 0;  // copies that had vanished
    std::uint64_t clashes = 0;   // own flows that ended, as their NAT port was another flow's
    std::uint64_t relaxed = 0;   // flows whose TCP sequence numbers are no longer checked
    std::uint64_t adopted = 0;   // flows taken over
    std::uint64_t dropped_unclaimed = 0;
    // Packets that waited, and what ended it: all peers had the flow, or time was up.
    std::uint64_t deferred = 0, defer_acknowledged = 0, defer_timed_out = 0;
    std::uint64_t defer_over_limit = 0;  // did not wait: too many did
    std::uint64_t defer_unconfirmed = 0; // flows that never began
    std::uint64_t leases_over = 0;       // copies of which a pf peer spoke no more
    std::uint64_t ambiguous_masters = 0; // expectations of one of two flows, nobody knows which
    std::uint64_t stranded = 0;          // flows that the table forgot when their address left
    // Expectations that came before their master: it never came, or is not to be synced; or too
    // many of them waited.
    std::uint64_t expectations_without_master = 0, expectations_over_limit = 0;
};

class Engine : public table::Listener {
  public:
    Engine(Options options, table::Table& table, link::Link& link);
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
    std::size_t deferred() const { return deferred_.size(); } // packets that wait

    // ---- the peers' side -------------------------------------------------------------------
    void on_link_up(PeerId peer);
    void on_link_down(PeerId peer);
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
    // The keys that the peer may prove itself with, of which it is told: two at most.
    void set_trusted(PeerId peer, std::vector<KeyPrint> keys);
    void set_role(Role role);
    Role role() const { return options_.role; }
    // What peers are told of this machine.
    void set_tracking(std::optional<TcpTracking> tracking) { tracking_ = tracking; }
    // Asks the peer for all its states.
    void request_bulk(PeerId peer);
    // The peer is up, and nothing that it says is understood, or arrives: *why says which.
    bool misunderstood(PeerId peer, std::string* why = nullptr) const;
    // In step: may be promoted. Otherwise *why says what is missing.
    bool ready(std::string* why = nullptr) const;

    // ---- what is to be seen ----------------------------------------------------------------
    const state::Index& index() const { return index_; }
    const PfStates& pf_states() const { return pf_states_; }
    const ExpectationBook& expectations() const { return book_; }
    std::size_t early_expectations() const { return early_.size(); } // that wait for their master
    std::uint32_t seconds() const { return now_s_; }                 // the clock of index records
    const Session& session(PeerId peer) const { return *sessions_[peer]; }
    bool has_peer(PeerId peer) const;
    // States that are live here.
    std::size_t live() const { return flows_.live(); }
    // Of those, the ones that this peer hears of.
    std::size_t live_for(PeerId peer) const { return live() - flows_.withheld(peer); }
    // States whose owner is `peer`.
    std::size_t copies_of(PeerId peer) const { return flows_.copies(peer); }
    // Of those, the ones that the table does not hold.
    std::size_t missing_of(PeerId peer, Missing why) const { return flows_.missing(peer, why); }
    std::size_t missing_of(PeerId peer) const;
    // Of its states, those that are not taken from it.
    std::size_t refused_of(PeerId peer) const { return flows_.refused(peer); }
    // All that the peer has told us is here, but for what is normal while flows come and go.
    bool holds_all_of(PeerId peer) const;
    const Counters& counters() const { return counters_; }
    bool table_known() const { return table_known_; }
    // A node with flows that a peer hears and this one does not.
    struct MissingEdge {
        PeerId peer;
        const Neighbour* node; // of the peer's session
    };
    std::vector<MissingEdge> missing_edges() const;
    std::string describe(const MissingEdge& edge) const;
    // For tests: digests, and counts, are those of what the index holds.
    bool digests_hold() const { return flows_.holds(); }

  private:
    // Of what a table tells: set by a packet just now, some time ago, or by us.
    enum class Timer : std::uint8_t { full, partly_used, ours };

    PeerId peer_count() const { return static_cast<PeerId>(sessions_.size()); }
    std::uint16_t all_peers() const {
        return static_cast<std::uint16_t>((1u << sessions_.size()) - 1);
    }

    // engine.cpp
    void advance_session(PeerId peer);

    // peers.cpp
    bool has_peers() const;

    // neighbours.cpp
    std::vector<Neighbour> neighbours_for(PeerId peer) const;
    bool hears(std::uint32_t creatorid) const;

    // ownership.cpp
    void set_owner(state::Slot slot, std::uint8_t owner);
    bool owner_alive(std::uint8_t owner) const;
    std::uint8_t sole_active() const;
    bool gives_way(std::uint8_t owner) const;
    bool falls_to_us(PeerId peer, state::Slot slot) const;
    bool take(state::Slot slot);
    bool claim(state::Slot slot);
    void give(state::Slot slot, PeerId taker);
    bool claim_holds(PeerId peer, const state::Record& record, std::uint8_t term) const;
    bool settle(PeerId peer, state::Slot slot, const Said& said);
    void reconcile_roles();
    void take_lost(PeerId peer);
    void settle_unclaimed(bool waited = false);
    void settle_unclaimed_later();
    state::Slot adopt_new(const state::Flow& flow, std::uint8_t owner);
    void forget(state::Slot slot);
    void discard(state::Slot slot);
    void remember_term(state::Slot slot);
    void forget_former(Instant until);

    // checks.cpp
    std::uint64_t own_sum(PeerId peer, Digest::Node node) const;
    bool comparable(const Session& s) const;
    void receive_root(PeerId peer, Bytes message);
    void end_search(Session& s);
    void ask(Session& s, Digest::Node node);
    void receive_sums(PeerId peer, Bytes message);
    void receive_list(PeerId peer, Bytes message);
    void ask_state(Session& s, state::StateId id);
    void ask_surplus(PeerId peer);
    void receive_absent(PeerId peer, Bytes message);
    void receive_ask(PeerId peer, Bytes message);
    void answer_absent(PeerId peer, state::StateId id);
    void walk_leaves(PeerId peer);
    bool say_list(Session& s, pfsync::Builder& packet);
    bool say_sums(Session& s, PeerId peer, pfsync::Builder& packet);
    bool say_checks(Session& s, PeerId peer, pfsync::Builder& packet);

    // word.cpp
    void obey(state::Slot slot, const Said& said);
    bool heed(PeerId peer, state::Slot slot, const Said& said);
    void take_word(PeerId peer, state::Slot slot, const Said& said);
    bool short_word(PeerId peer, state::Slot slot, const Said& said);
    bool owners_word(PeerId peer, state::Slot slot, const Said& said);
    bool bystanders_word(PeerId peer, state::Slot slot, const Said& said);

    // events.cpp
    void announce(state::Slot slot, bool full);
    void enqueue(Session& s, PeerId peer, state::Slot slot, bool full);
    void retract(state::Slot slot);
    void retract_from(PeerId peer, state::Slot slot);
    bool local_change(const state::Flow& flow, Timer timer);
    bool touched(const state::Record& record, const state::Flow& flow, bool untouched) const;
    void put_copy(state::Slot slot);
    void mark_present(state::Slot slot);
    void mark_named(state::Slot slot);
    bool is_named(const state::Record& record) const;
    bool look_at_unnamed();
    void refresh(state::Slot slot);
    void refresh_round();
    void watch_orphans();
    void look_for_orphans();
    bool orphans() const;
    void remember_gone(const state::Key& key);
    void forget_gone();
    bool joining() const;

    // liberal.cpp
    bool others_may_serve() const;
    void relax(state::Slot slot);
    void relax_all();
    void relax_round();

    // extras.cpp
    bool learn_extras(state::Slot slot, const state::Flow& flow, Timer timer);
    std::uint32_t own_lifetime(const state::Flow& flow) const;
    void lengthen(PeerId vanished);

    // refused.cpp
    std::optional<table::Ignored> refuses(std::uint8_t owner, const state::Flow& flow) const;
    void judge(state::Slot slot, bool copy);
    bool judge_again(state::Slot slot);
    bool is_refused(state::Slot slot) const;
    void count_refused(std::uint8_t owner, table::Ignored why);
    void hold_back(state::Slot slot);

    // withheld.cpp
    std::uint16_t kept_from(state::Slot slot) const;
    std::uint16_t deaf_to_zone_of(state::Slot slot) const;
    void review_zones(PeerId peer);
    void review(state::Slot slot);
    void withhold(state::Slot slot);
    void keep_back(state::Slot slot);
    bool is_over(state::Slot slot) const;
    void come_of_age(Instant until);

    // missing.cpp
    struct Vanished {      // of one owner
        TimerQueue copies; // "due" when it happened
        Instant put_back_since{0};
        std::size_t put_back = 0;               // since then
        Instant missing_since = Instant::max(); // any, for any reason
    };
    void mark_absent(state::Slot slot, Missing why);
    void note_missing();
    bool lacks(PeerId peer) const;
    bool may_put_back(PeerId peer) const;
    void put_back_vanished(PeerId peer);
    void put_clashing();
    bool is_missing(state::Slot slot, Missing why) const;
    std::uint32_t creatorid_of(std::uint8_t owner) const;
    bool outranks(state::Slot slot, state::Slot other) const;
    void end_clashing(state::Slot slot, const state::Flow& other);
    void settle_clash(state::Slot slot, state::Slot held);

    // expect.cpp
    state::Expectation of_master(state::Expectation expectation, state::Slot slot) const;
    std::vector<state::Slot> masters_of(const state::Expectation& expectation) const;
    void expect_of(state::Slot slot, const state::Expectation& expectation, bool fresh);
    struct Early {
        Instant due;
        std::uint32_t expires; // second of the clock
        state::Expectation expectation;
    };
    void await_master(const state::Expectation& expectation);
    void meet_expectations(state::Slot master);
    void give_up_masters();
    void look_at_masters();
    void put_expectations(state::Slot slot);
    void unexpect(state::Slot slot, const std::vector<state::Expectation>& gone);
    std::uint8_t expectations_of(const Session& s, state::Slot slot) const;
    bool say_expectations(Session& s, pfsync::Builder& packet);
    void begin_expectations(PeerId peer, const pfsync::FullState& full);
    void receive_expect(PeerId peer, Bytes message);

    // defer.cpp
    struct Deferred {
        Instant due;
        state::StateId id;
        std::uint32_t token;
        std::uint16_t waiting_for; // peers
    };
    bool awaits(PeerId peer, state::Slot slot) const;
    void receive_insert_ack(PeerId peer, state::StateId id);
    void advance_deferred();
    void release(std::uint32_t token);

    // stranded.cpp
    bool strand(state::Slot slot);
    void end_stranded(state::Slot slot);
    void settle_stranded();

    // collapse.cpp
    void announce_change(state::Slot slot);
    bool waits(PeerId peer, state::Slot slot) const;
    Instant end_of_wait(const Session& s) const;
    void end_waits(PeerId peer);
    bool may_ride_along(const Session& s) const;
    bool say_waiting(Session& s, PeerId peer, pfsync::Builder& packet);

    // sessions.cpp
    void on_silent(PeerId peer);
    void heard(PeerId peer);
    void begin_session(PeerId peer);
    void begin_anew(PeerId peer);
    void receive_hello(PeerId peer, Bytes message);
    void receive_ack(PeerId peer, Bytes message);
    void receive_bulk_status(PeerId peer, Bytes message);
    void end_bulk(PeerId peer);

    // receive.cpp
    void read_packet(PeerId peer, Bytes payload);
    bool receive_number(PeerId peer, Bytes message);
    void receive_section(PeerId peer, const pfsync::Section& section);
    void receive_message(PeerId peer, const pfsync::Section& section, Bytes message);
    void learn_dialect(PeerId peer, std::uint8_t version, Bytes payload);
    void receive_own(PeerId peer, std::uint8_t action, Bytes message);
    void receive_full(PeerId peer, pfsync::Dialect layout, Bytes message);
    void receive_other_name(PeerId peer, state::Slot slot, const pfsync::FullState& full);
    void receive_new(PeerId peer, const pfsync::FullState& full);
    void receive_update(PeerId peer, pfsync::Dialect layout, Bytes message);
    void request(PeerId peer, state::StateId id);
    void receive_request(PeerId peer, state::StateId id);
    void receive_removal(PeerId peer, state::StateId id, std::uint8_t term);
    std::uint8_t removal_term(PeerId peer, Bytes message) const;
    void receive_clear(PeerId peer, Bytes message);
    void merge_into(PeerId peer, state::Slot slot, Said said);
    Said said_of(PeerId peer, pfsync::Dialect layout, const pfsync::FullState& full) const;
    void tell(PeerId peer, state::Slot slot);
    void refuse(Refused why);
    void refuse(pfsync::Fault fault);

    // pf_peer.cpp
    Merge merge_pf(PeerId peer, state::Slot slot, const Said& said);
    void keep_pf(PeerId peer, state::Slot slot, const pfsync::FullState& full);
    bool second_name(PeerId peer, state::Slot slot, const pfsync::FullState& full);
    bool pf_outgoing(state::Slot slot) const;
    bool drop_name(PeerId peer, state::StateId id);
    static void learn_timeouts(Session& s, const pfsync::FullState& full);
    bool pf_claims(state::Slot slot, bool further, const Merge& merged) const;
    std::int32_t since_moved(const state::Record& record, const state::Flow& flow) const;
    void take_from_plain();
    state::Flow pf_flow(const Session& s, state::Slot slot) const;
    void write_pf_state(const Session& s, PeerId peer, std::uint8_t* m, state::Slot slot);
    void write_pf_update(const Session& s, std::uint8_t* m, state::Slot slot);
    bool pf_windows(const Session& s, state::Slot slot, Windows& out) const;
    void pass_on(PeerId from, state::Slot slot);
    void pass_removal_on(PeerId from, state::Slot slot);
    bool deaf_to(PeerId peer, PeerId from) const;
    bool pf_peers() const;
    static std::uint32_t pf_rounds(const Session& s, const state::Flow& flow);
    void pf_round();
    void pf_turn(state::Slot slot);
    void renew_leases(PeerId peer);

    // pf_bulk.cpp
    void receive_plain_bulk(PeerId peer, const pfsync::BulkStatus& status);
    void plain_bulk_state(Session& s);
    void retry_plain_bulk(PeerId peer);
    void ask_again_plain(PeerId peer);
    void request_from_plain(PeerId peer, state::StateId id);
    std::uint32_t bulk_endtime(const Session& s) const;
    void clear_plain(PeerId peer, const pfsync::Clear& what);

    // transmit.cpp
    bool transmit(PeerId peer);
    std::size_t build(Session& s, PeerId peer, MutableBytes room);
    void say_hello(Session& s, PeerId peer, pfsync::Builder& packet);
    bool say(Session& s, PeerId peer, pfsync::Builder& packet);
    bool say_order(Session& s, pfsync::Builder& packet);
    bool say_queue(Session& s, PeerId peer, pfsync::Builder& packet);
    bool say_queued(Session& s, PeerId peer, pfsync::Builder& packet, state::Slot slot);
    bool say_state(Session& s, PeerId peer, pfsync::Builder& packet, state::Slot slot,
                   Item::Kind kind);
    bool say_bulk(Session& s, PeerId peer, pfsync::Builder& packet);
    bool due(const Session& s) const;
    void say_again(PeerId peer, const Item& item);
    void start_bulk(PeerId peer);

    Options options_;
    table::Table& table_;
    link::Link& link_;
    FlowStore flows_;
    const state::Index& index_ = flows_.index();
    const ExpectationBook& book_ = flows_.expectations();
    std::vector<std::unique_ptr<Session>> sessions_;
    Instant now_{0};
    Instant started_{-1};
    std::uint32_t now_s_ = 0;
    Counters counters_;
    std::optional<TcpTracking> tracking_;
    std::string_view refused_;      // what was refused last of the packet that is being read
    std::uint32_t births_ = 0;      // of flows named here; its low bits end their names
    bool any_nosync_ = false;       // of a peer
    std::deque<Deferred> deferred_; // in the order of time
    TimerQueue young_, unconfirmed_, stranded_;
    TimerQueue clashing_; // copies that are to be tried again
    TimerQueue unnamed_;  // own flows that the last dump did not name
    TimerQueue masters_;  // whose helper may be about to move sequence numbers
    std::array<Vanished, kMaxPeers> vanished_;

    std::multimap<state::Key, Early> early_; // by their master, which is not known yet
    Instant early_due_ = Instant::max();     // of the first of them

    // Nodes hear of a new role, or of a node that is gone, one after the other.
    static constexpr Instant kRolesSettle = std::chrono::seconds(3);
    Instant reconciled_{0}; // when roles, or who is within reach, changed last

    bool table_known_ = false; // the first dump is through
    bool dumping_ = false;
    bool dump_mark_ = false;
    // Ended while a dump or a first bulk update was under way, which may still name them.
    std::set<state::Key> gone_lately_;

    // What was live here, had changed hands, and has ended lately.
    struct FormerLife {
        Instant due;
        std::uint8_t term;
    };
    std::map<state::Key, FormerLife> former_lives_;
    std::deque<std::pair<Instant, state::Key>> former_ends_; // in the order of time
    Instant unclaimed_due_ = Instant::max();                 // when they are settled

    state::Slot refresh_cursor_ = state::kNoSlot;
    Instant refresh_due_{0};
    bool refresh_hurry_ = false;
    state::Slot relax_cursor_ = state::kNoSlot;
    Instant relax_due_{0};
    bool relax_hurry_ = false;
    bool judging_ = false; // in this round: the machine's addresses have changed
    // Flows of which pf peers must hear in time; a round visits each once.
    PfStates pf_states_;
    state::Slot pf_cursor_ = state::kNoSlot;
    std::uint32_t pf_round_ = 0;
    Instant pf_due_ = Instant::max();
    // When the table is read again to see which copies of vanished owners have traffic here.
    Instant orphans_due_ = Instant::max(), orphans_pause_{0};
    Instant alone_since_{-1};   // when a peer was within reach last
    bool served_alone_ = false; // for join_wait nobody was
    bool ever_in_step_ = false;
};

} // namespace encsync::sync
