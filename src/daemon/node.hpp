// SPDX-License-Identifier: ISC
// Node: one running encsyncd. It owns the rooms and passes between them; it decides nothing that
// a room could decide.
//
//     auto node = Node::open(io, config, run_dir);    // says what is missing, in words
//     (*node)->start();  io.run();
//     (*node)->stop([&] { io.stop(); });
//
// Everything runs in io's one thread. A turn of the loop takes what has arrived, and whatever
// follows from it leaves in one flush at the end of the turn: packed while there is much to do,
// at once when there is little.
#pragma once

#include "config/config.hpp"
#include "control/server.hpp"
#include "daemon/credentials.hpp"
#include "daemon/ipsec_choice.hpp"
#include "daemon/machine.hpp"
#include "daemon/repeats.hpp"
#include "daemon/run_dir.hpp"
#include "ipsec/link/enc0.hpp"
#include "ipsec/link/tunnel.hpp"
#include "ipsec/plugin/supervisor.hpp"
#include "keys/store.hpp"
#include "policy/guard.hpp"
#include "policy/ruleset.hpp"
#include "sync/engine.hpp"
#include "table/conntrack/packet_queue.hpp"
#include "table/table.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace encsync::daemon {

// What a reload did, by names of conns.
struct Reloaded {
    std::vector<std::string> added, changed, removed;
    std::string role;     // what became of a new role=; empty: it is what it was
    std::string warnings; // rendered
};

class Node final : public link::Receiver, public supervisor::Owner, public table::Listener {
  public:
    // Opens everything, in the order in which one depends on the other. Without the ruleset in
    // place, without an identity, without its sockets a node does not start.
    // `config_file` is where reload() reads a newer one.
    static Result<std::unique_ptr<Node>> open(boost::asio::io_context& io, config::Config config,
                                              const std::string& config_file,
                                              const std::string& run_dir);
    ~Node() override;

    Result<void> start();
    // Tells the peers, lets charon go, then calls done. The ruleset stays.
    void stop(std::function<void()> done);
    // It gave up by itself, and has stopped io; the log says why.
    bool failed() const { return failed_; }
    bool kernel_ipsec() const { return ipsec_.kernel; }
    // Reads the key store anew and tells charon.
    Result<void> reload_keys();
    // Reads configuration and keys anew. Peers that have not changed keep their SAs and states.
    // What is wrong with it, or needs a restart, is said in as many lines as it takes, and nothing
    // has changed then.
    Result<Reloaded> reload();

  private:
    // What charon last said of a peer.
    struct PeerLife {
        bool connecting = false;
        std::string last_error;
        Repeats failures;                          // as the log is told of them
        std::string end;                           // why its SAs go
        std::optional<channel::Ed25519Public> key; // what it proved itself with last
        std::optional<FilesDigest> files;          // that it may do so with
        std::vector<keys::RawKey> vouched; // keys of ours that need no trust of it: see take_keys()
        std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
        std::uint64_t guard_refused = 0;
        std::string misunderstood; // why nothing that it says is of use, while that is so
        std::optional<pfsync::Dialect> spoken;   // that packets have shown which were refused
        bool taken_for_pf = false;               // of which the log has told
        std::set<table::Ignored> refused_states; // kinds of which the log has told
    };

    // What charon has to know of the key store.
    struct Keys {
        keys::Store store;
        std::vector<keys::Identity> identities;
        std::vector<keys::TrustedKey> trusted;
        std::map<std::string, ike::Authentication> files; // by the name of the conn
    };
    struct Changes; // of a reload
    // What charon is told: who we are, then of each peer. Wiped at the end.
    struct Told {
        Told() = default;
        Told(Told&&) = default;
        Told& operator=(Told&&) = default;
        ~Told();
        std::vector<channel::Message> messages;
    };

    Node(boost::asio::io_context& io, config::Config config, const std::string& config_file,
         const std::string& run_dir);
    Result<void> open_control();
    Result<void> choose_ipsec();
    Result<void> install_policy();
    Result<void> open_table();
    Result<void> open_queue();
    Result<void> open_link();
    Result<void> open_userspace_link(link::LinkHooks hooks);
    Result<void> open_kernel_link(link::LinkHooks hooks);
    Result<void> make_engine();
    Result<void> launch_charon();

    // The PeerIds in use are those whose conn has a name: a removed one leaves its place free.
    bool used(PeerId peer) const {
        return peer < config_.conns.size() && !config_.conns[peer].name.empty();
    }
    policy::RulesetOptions ruleset_options(const std::vector<config::Conn>& conns) const;
    Result<void> add_to_link(PeerId peer, const config::Conn& conn);
    channel::Peer charon_peer(PeerId peer, const config::Conn& conn, const Keys& keys) const;
    Result<Keys> read_keys(const std::vector<config::Conn>& conns) const;
    // Of conns by PeerId. An error: charon would not take it.
    Result<Told> prepare_charon(const Keys& keys, const std::vector<config::Conn>& conns) const;
    void take_keys(Keys keys, Told told);

    // reload.cpp
    Result<Changes> find_changes(const config::Config& fresh) const;
    std::vector<config::Conn> conns_after(const Changes& changes) const;
    Result<void> prepare(const Changes& changes);
    void carry_out(const Changes& changes);

    // One turn: what is due first, and a flush when it ends.
    void turn();
    void end_turn();
    void wait_for_deadline();
    void every_second();
    void follow_interfaces();
    void look_at_machine();
    void log_clash(const state::Flow& ended, const state::Flow& other);

    // peers.cpp
    void watch_peers();
    std::string last_error(PeerId peer) const;
    void failed(PeerId peer, std::string why);
    void on_stranger(const link::Endpoint& from, const link::Endpoint& to, Bytes header);
    // link::Receiver
    void on_packet(PeerId peer, std::uint32_t spi, Bytes inner) override;
    void on_up(PeerId peer) override;
    void on_down(PeerId peer) override;
    void on_writable(PeerId peer) override;
    // supervisor::Owner
    void on_ike_out(const channel::IkeOut& datagram) override;
    void on_add_sa(const channel::AddSa& sa) override;
    void on_delete_sa(const channel::DeleteSa& sa) override;
    void on_peer_event(const channel::PeerEvent& event) override;
    void on_log(const channel::LogLine& line) override;
    void on_charon_up(const std::string& version) override;
    void on_charon_lost(const std::string& reason) override;
    void on_charon_impossible(const std::string& reason) override;

    void on_first_packet(std::uint32_t id, const state::Flow* flow);
    // table::Listener: each begins a turn and goes on to the engine.
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

    // roles.cpp
    sync::Role first_role();
    Result<boost::json::value> set_role(const boost::json::object& fields);
    void remember_role();
    std::optional<std::string> take_configured_role(config::Role before);
    std::optional<sync::Role> role_of_peer(PeerId peer) const;
    std::string odd_roles() const;
    void log_roles();

    // views.cpp: what the command is shown
    void offer_commands();
    bool ready(std::string* why) const;
    void log_readiness();
    void log_refused_states();
    void log_missing_edges();
    Result<PeerId> named(std::string_view name) const;
    boost::json::value status();
    boost::json::array peers() const;
    boost::json::object missing(PeerId peer) const;
    boost::json::array accepted_keys(PeerId peer) const;
    boost::json::array sas() const;
    boost::json::object policy();
    boost::json::object refused(const policy::RulesetStatus& ruleset) const;
    boost::json::object table_counters() const;
    boost::json::object deferral() const;
    Result<control::Generator> states(std::string_view filter) const;

    boost::asio::io_context& io_;
    config::Config config_; // its conns by PeerId: see used()
    const std::string config_file_;
    RunDir run_dir_;
    std::optional<keys::Store> store_;
    std::vector<keys::RawKey> own_keys_; // the public ones, oldest first
    const std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();

    std::unique_ptr<control::Server> control_;
    std::optional<policy::Ruleset> ruleset_;
    bool policy_in_place_ = false;
    bool was_ready_ = false;              // of which the log has told
    std::set<std::string> missing_edges_; // likewise
    std::optional<ToldRole> told_role_;   // none: the configuration's is in force
    bool role_stored_ = true;
    std::string role_not_stored_; // why
    std::string odd_roles_;       // since so many seconds
    int odd_for_ = 0;
    policy::GuardCounters guard_;
    std::vector<policy::Selectors> selectors_; // by PeerId
    std::unique_ptr<table::Table> table_;
    std::optional<Machine> machine_;            // of a table in the kernel
    std::unique_ptr<table::PacketQueue> queue_; // with defer
    IpsecChoice ipsec_;
    std::unique_ptr<link::Enc0> enc0_; // in userspace
    std::unique_ptr<link::Tunnel> link_;
    std::unique_ptr<sync::Engine> engine_;
    std::unique_ptr<supervisor::Supervisor> charon_;
    std::vector<PeerLife> lives_; // by PeerId
    Repeats strangers_{16};
    PeerId last_freed_ = kMaxPeers;

    boost::asio::steady_timer deadline_timer_, second_timer_;
    std::uint32_t clashes_logged_ = 0; // in this second
    bool in_turn_ = false;
    bool stopping_ = false;
    bool failed_ = false;
};

} // namespace encsync::daemon
