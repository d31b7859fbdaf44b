// SPDX-License-Identifier: ISC
// Node: one running encsyncd. It makes the parts in the order in which one depends on the other,
// connects them, and passes on their events; it makes no decisions.
//
//     auto node = Node::open(io, config, file, run_dir);    // the error says what is missing
//     (*node)->start();  io.run();
//     (*node)->stop([&] { io.stop(); });
//
// Everything runs in io's one thread, in turns: see turns.hpp.
#pragma once

#include "daemon/administration.hpp"
#include "daemon/key_writer.hpp"
#include "daemon/policy_watch.hpp"
#include "ipsec/link/enc0.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace encsync::daemon {

class Node final : public link::Receiver, public supervisor::Owner, public table::Listener {
  public:
    // Fails without the ruleset in place, without an identity, or without its sockets.
    // `config_file` is where reload() reads a newer configuration.
    static Result<std::unique_ptr<Node>> open(boost::asio::io_context& io, config::Config config,
                                              const std::string& config_file,
                                              const std::string& run_dir);
    ~Node() override;

    Result<void> start();
    // Stops charon, which sends DELETEs to the peers, then calls done. The ruleset stays.
    void stop(std::function<void()> done);
    // It stopped by itself, and has stopped io; the log says why.
    bool failed() const { return failed_; }
    // It has raw sockets, and may need to open more of them.
    bool raw_sockets() const;
    // See Reload.
    Result<Reloaded> reload() { return reload_->run(); }

  private:
    Node(boost::asio::io_context& io, config::Config config, const std::string& config_file,
         const std::string& run_dir);
    Result<void> launch_charon();
    Result<void> open_key_writer();
    Result<void> open_control();
    Result<void> choose_ipsec();
    Result<void> install_policy();
    Result<void> open_table();
    Result<void> open_queue();
    Result<void> open_link();
    Result<void> open_userspace_link(link::LinkHooks hooks);
    Result<void> open_kernel_link(link::LinkHooks hooks);
    sync::Role first_role();
    Result<void> make_relay();
    Result<void> make_engine();
    Result<void> join();

    void make_key_sync();
    void wake_key_sync();
    void make_metrics_server();
    void every_second();
    void look_at_machine();
    void log_clash(const state::Flow& ended, const state::Flow& other);
    void on_first_packet(std::uint32_t id, const state::Flow* flow);

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
    // table::Listener: each begins a turn and is passed on to the engine.
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

    boost::asio::io_context& io_;
    config::Setup setup_;
    Directory directory_;
    const std::string config_file_;
    RunDir run_dir_;
    std::shared_ptr<keys::Unlock> unlock_; // of the key store

    // The parts.
    std::unique_ptr<control::Server> control_;
    std::optional<policy::Ruleset> ruleset_;
    std::optional<PolicyWatch> policy_watch_;
    std::unique_ptr<table::Table> table_;
    std::optional<Machine> machine_;            // of a table in the kernel
    std::unique_ptr<table::PacketQueue> queue_; // with defer
    IpsecChoice ipsec_;
    std::unique_ptr<link::Enc0> enc0_; // in userspace
    std::unique_ptr<link::Tunnel> tunnel_;
    std::unique_ptr<link::Cables> cables_;
    std::optional<link::Links> link_;
    std::optional<RequestedRole> requested_role_; // set before this start
    std::optional<relay::Relay> relay_;           // with table=relay; the engine is idle then
    std::unique_ptr<sync::Engine> engine_;
    std::unique_ptr<supervisor::Supervisor> charon_;
    std::unique_ptr<KeyWriter> key_writer_; // with keysync

    // These connect the parts, and are given those that they use.
    std::optional<Turns> turns_;
    std::optional<keysync::KeySync> key_sync_;
    std::optional<Peers> peers_;
    std::optional<KeyRing> keys_;
    std::optional<Roles> roles_;
    std::optional<Readiness> readiness_;
    std::optional<Reload> reload_;
    std::unique_ptr<metrics::Server> metrics_server_; // with metricslisten
    std::optional<Registry> registry_;
    std::optional<Views> views_;
    std::optional<Metrics> metrics_;
    std::optional<Administration> administration_;

    boost::asio::steady_timer second_timer_, key_timer_;
    bool key_sync_woken_ = false;
    std::uint32_t clashes_logged_ = 0; // in this second
    Repeats refused_keys_{16};
    bool stopping_ = false;
    bool failed_ = false;
};

} // namespace encsync::daemon
