// SPDX-License-Identifier: ISC
#include "daemon/node.hpp"

#include "daemon/translate.hpp"
#include "ipsec/link/kernel.hpp"
#include "ipsec/link/userspace.hpp"
#include "table/factory.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <pwd.h>
#include <sodium.h>

namespace encsync::daemon {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint32_t kClashesLogged = 10; // a second

// The plugin lies beside the program: in the build tree and in an installation alike.
Result<std::string> find_plugin() {
    if (const char* path = std::getenv("ENCSYNC_PLUGIN"))
        return std::string(path);
    std::error_code error;
    const auto here = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
    for (const char* place :
         {"../lib/libstrongswan-encsync.so", "../lib/encsync/libstrongswan-encsync.so"})
        if (const auto path = (here / place).lexically_normal(); std::filesystem::exists(path))
            return path.string();
    return Error{"libstrongswan-encsync.so is neither in ../lib nor in ../lib/encsync of " +
                 here.string()};
}

std::string charon_user(const std::string& configured) {
    if (!configured.empty())
        return configured;
    return ::getpwnam("encsync") != nullptr ? "encsync" : "nobody";
}

} // namespace

// ---- opening -------------------------------------------------------------------------------

Result<std::unique_ptr<Node>> Node::open(asio::io_context& io, config::Config config,
                                         const std::string& config_file,
                                         const std::string& run_dir) {
    std::unique_ptr<Node> node(new Node(io, std::move(config), config_file, run_dir));
    for (const auto step : {&Node::launch_charon, &Node::open_control, &Node::choose_ipsec,
                            &Node::install_policy, &Node::open_table, &Node::open_queue,
                            &Node::open_link, &Node::make_engine, &Node::reload_keys})
        if (auto done = (node.get()->*step)(); !done)
            return done.error();
    node->offer_commands();
    return node;
}

Node::Node(asio::io_context& io, config::Config config, const std::string& config_file,
           const std::string& run_dir)
    : io_(io), config_(std::move(config)), config_file_(config_file), run_dir_(run_dir),
      lives_(config_.conns.size()), deadline_timer_(io), second_timer_(io) {
    for (const config::Conn& conn : config_.conns)
        selectors_.push_back(selectors(conn));
}

Node::~Node() = default;

// First of all: what is forked from here must not hold anything of ours.
Result<void> Node::launch_charon() {
    auto plugin = find_plugin();
    if (!plugin)
        return plugin.error();
    supervisor::Options options;
    options.charon.plugin = std::move(*plugin);
    options.charon.user = charon_user(config_.setup.charonuser);
    options.charon.debug = config_.setup.loglevel == log::Level::debug;
    options.charon.dpdtimeout = shortest_dpdtimeout(config_.conns);
    // A charon that is silent for so long loses its peers anyway.
    options.hang_timeout =
        std::clamp<std::chrono::milliseconds>(options.charon.dpdtimeout, 5s, 30s);
    charon_ = std::make_unique<supervisor::Supervisor>(io_, std::move(options), *this);
    return charon_->prepare();
}

Result<void> Node::open_control() {
    if (auto made = run_dir_.prepare(); !made)
        return made;
    auto server = control::Server::open(io_, run_dir_.path());
    if (!server)
        return server.error();
    control_ = std::move(*server);
    return {};
}

policy::RulesetOptions Node::ruleset_options(const std::vector<config::Conn>& conns) const {
    policy::RulesetOptions options{.syncdev = config_.setup.syncdev, .tunnels = {}};
    const std::vector<std::uint16_t> ports{config_.setup.ikeport, config_.setup.natport};
    options.own_ports = ports;
    options.track = table::capabilities_of(config_.setup.table).in_kernel;
    if (config_.setup.defer)
        options.defer_queue = config_.setup.deferqueue;
    for (const config::Conn& conn : conns)
        options.tunnels.push_back(
            {.interface = conn.left.scope,
             .left = conn.left.ip,
             .right = conn.right.ip,
             .left_ports = ports,
             .right_ports = ports,
             .reqid = ipsec_.kernel ? std::optional(link::xfrm_reqid(config_.setup.syncdev,
                                                                     outer(conn.right)))
                                    : std::nullopt});
    return options;
}

Result<void> Node::choose_ipsec() {
    auto choice = daemon::choose_ipsec(config_);
    if (!choice)
        return choice.error();
    ipsec_ = std::move(*choice);
    log::notice("ESP by {}: {}", ipsec_.kernel ? "the kernel" : "userspace", ipsec_.why);
    return {};
}

Result<void> Node::install_policy() {
    auto ruleset = policy::Ruleset::install(ruleset_options(config_.conns));
    if (!ruleset)
        return ruleset.error();
    ruleset_.emplace(std::move(*ruleset));
    policy_in_place_ = true;
    return {};
}

Result<void> Node::open_table() {
    table::TableOptions options;
    options.filter.sync_local = config_.setup.synclocal;
    options.filter.ignore = config_.setup.ignore;
    options.filter.nosync = state::NoSync(config_.setup.nosync);
    options.sweep = config_.setup.sweep;
    auto made = table::make_table(config_.setup.table, io_, std::move(options));
    if (!made)
        return made.error();
    table_ = std::move(*made);
    if (table_->capabilities().in_kernel)
        machine_.emplace(MachineOptions{});
    return {};
}

Result<void> Node::open_queue() {
    if (!config_.setup.defer)
        return {};
    auto queue = table::PacketQueue::open(io_, config_.setup.deferqueue);
    if (!queue)
        return Error{"defer=yes: " + queue.error().text};
    queue_ = std::move(*queue);
    return {};
}

Result<void> Node::open_link() {
    link::LinkHooks hooks;
    hooks.on_ike = [this](const link::Endpoint& from, const link::Endpoint& to, Bytes datagram) {
        charon_->ike_in(endpoint(from), endpoint(to), datagram);
    };
    hooks.on_stranger = [this](const link::Endpoint& from, const link::Endpoint& to, Bytes header) {
        on_stranger(from, to, header);
    };
    hooks.on_expire = [this](PeerId, std::uint32_t spi) { charon_->expire(spi); };
    if (auto opened = ipsec_.kernel ? open_kernel_link(std::move(hooks))
                                    : open_userspace_link(std::move(hooks));
        !opened)
        return opened;
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        if (auto added = add_to_link(peer, config_.conns[peer]); !added)
            return added;
    return {};
}

Result<void> Node::open_userspace_link(link::LinkHooks hooks) {
    link::UserspaceOptions options;
    options.ike.ikeport = config_.setup.ikeport;
    options.ike.natport = config_.setup.natport;
    auto opened = link::UserspaceLink::open(io_, *this, std::move(hooks), options);
    if (!opened)
        return opened.error();
    auto enc0 = link::Enc0::open(io_, config_.setup.syncdev, 1500);
    if (!enc0)
        return enc0.error();
    enc0_ = std::move(*enc0);
    (*opened)->show_on(enc0_.get());
    link_ = std::move(*opened);
    return {};
}

Result<void> Node::open_kernel_link(link::LinkHooks hooks) {
    link::KernelOptions options;
    options.interface = config_.setup.syncdev;
    options.ike.ikeport = config_.setup.ikeport;
    options.ike.natport = config_.setup.natport;
    auto opened = link::KernelLink::open(io_, *this, std::move(hooks), std::move(options));
    if (!opened)
        return opened.error();
    link_ = std::move(*opened);
    return {};
}

Result<void> Node::add_to_link(PeerId peer, const config::Conn& conn) {
    if (lacks_interface(conn.left))
        return Error{fmt::format("conn {}: left {}: this machine has no interface '{}'", conn.name,
                                 config::to_string(conn.left), conn.left.scope)};
    auto added = link_->add_peer({peer, conn.name, outer(conn.left), outer(conn.right), conn.mtu,
                                  conn.lifepackets, conn.type == config::Type::transport,
                                  peer_options(config_.setup, conn).extended});
    if (!added)
        return Error{fmt::format("conn {}: {}", conn.name, added.error().text)};
    return {};
}

Result<void> Node::make_engine() {
    auto store = keys::Store::open(config_.setup.keydir);
    if (!store)
        return store.error();
    store_ = std::move(*store);
    auto creatorid = store_->creatorid();
    if (!creatorid)
        return creatorid.error();
    auto secret = store_->derive("state ids");
    if (!secret)
        return secret.error();
    sync::Options options;
    options.creatorid = *creatorid;
    std::copy_n(secret->begin(), options.id_secret.size(), options.id_secret.begin());
    sodium_memzero(secret->data(), secret->size());
    randombytes_buf(options.index_seed.data(), options.index_seed.size());
    do
        randombytes_buf(&options.session, sizeof options.session);
    while (options.session == 0);
    options.role = first_role();
    options.table_kept = run_dir_.table_kept();
    options.join_wait = config_.setup.joinwait;
    options.delay = config_.setup.delay;
    options.release = [this](std::uint32_t id) { queue_->accept(id); };
    options.on_clash = [this](const state::Flow& ended, const state::Flow& other) {
        log_clash(ended, other);
    };
    for (const config::Conn& conn : config_.conns)
        options.peers.push_back(peer_options(config_.setup, conn));
    engine_ = std::make_unique<sync::Engine>(std::move(options), *table_, *link_);
    return {};
}

// ---- running -------------------------------------------------------------------------------

Result<void> Node::start() {
    engine_->advance(Clock::now().time_since_epoch());
    table_->start(*this);
    if (queue_)
        queue_->start([this](auto id, const auto* flow) { on_first_packet(id, flow); });
    if (auto started = charon_->start(); !started)
        return started;
    every_second();
    wait_for_deadline();
    log::notice("{}: encsyncd " ENCSYNC_VERSION " is up, role {}, {} peers", config_.setup.node,
                sync::to_string(engine_->role()), config_.conns.size());
    return {};
}

void Node::stop(std::function<void()> done) {
    if (stopping_)
        return;
    stopping_ = true;
    log::notice("{}: stopping", config_.setup.node);
    charon_->stop(std::move(done));
}

void Node::turn() {
    if (in_turn_)
        return;
    in_turn_ = true;
    engine_->advance(Clock::now().time_since_epoch());
    asio::post(io_, [this] { end_turn(); });
}

void Node::end_turn() {
    in_turn_ = false;
    engine_->advance(Clock::now().time_since_epoch());
    if (engine_->flush())
        turn();
    wait_for_deadline();
}

void Node::wait_for_deadline() {
    const Clock::time_point due{std::chrono::duration_cast<Clock::duration>(engine_->deadline())};
    if (deadline_timer_.expiry() == due)
        return;
    deadline_timer_.expires_at(due);
    deadline_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error) {
            turn();
            // A deadline that stays the same must be waited for again.
            deadline_timer_.expires_at(Clock::time_point::min());
        }
    });
}

void Node::every_second() {
    const auto in_place = ruleset_->verify();
    if (in_place && !*in_place) {
        policy_in_place_ = false;
        log::warning("the nftables ruleset is gone or changed; putting it back");
        if (auto again = ruleset_->reinstall(); again)
            policy_in_place_ = true;
        else
            log::error("the nftables ruleset cannot be put back: {}", again.error().text);
    } else {
        policy_in_place_ = static_cast<bool>(in_place);
        if (!in_place)
            log::error("the nftables ruleset cannot be verified: {}", in_place.error().text);
    }
    table_->advance(static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(Clock::now().time_since_epoch()).count()));
    if (!role_stored_)
        remember_role();
    follow_interfaces();
    look_at_machine();
    watch_peers();
    log_readiness();
    log_roles();
    clashes_logged_ = 0;
    log_refused_states();
    log_missing_edges();
    second_timer_.expires_after(1s);
    second_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            every_second();
    });
}

// An interface that has gone and come back has another number, and its sockets are dead.
void Node::follow_interfaces() {
    for (PeerId peer = 0; peer < config_.conns.size(); peer++) {
        const config::Conn& conn = config_.conns[peer];
        if (conn.left.scope.empty() || lacks_interface(conn.left))
            continue;
        if (auto moved = link_->move_peer(peer, outer(conn.left), outer(conn.right)); !moved)
            failed(peer, moved.error().text);
        else if (*moved)
            log::notice("peer {}: interface {} is back", conn.name, conn.left.scope);
    }
}

void Node::look_at_machine() {
    if (!machine_)
        return;
    Known known{.now = Clock::now(),
                .states = engine_->index().size(),
                .removed_by_others = table_->removed_by_others(),
                .peers = {}};
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        if (used(peer)) {
            const sync::Peer& s = engine_->session(peer);
            known.peers.push_back(
                {config_.conns[peer].name, s.reachable() ? s.peer_states : 0, s.tracking});
        }
    machine_->look(known);
    engine_->set_tracking(machine_->tracking());
    if (machine_->missed_events())
        table_->request_dump();
}

// `encsync status` counts those that are not logged.
void Node::log_clash(const state::Flow& ended, const state::Flow& other) {
    if (clashes_logged_++ < kClashesLogged)
        log::warning("{} has ended: another node gave its NAT port to {}", state::to_string(ended),
                     state::to_string(other));
}

// ---- from the packet queue -----------------------------------------------------------------

void Node::on_first_packet(std::uint32_t id, const state::Flow* flow) {
    turn();
    if (flow != nullptr && table_->reports(*flow)) {
        state::Flow begins = *flow;
        begins.timeout = table_->natural_timeout(begins);
        if (engine_->defer(begins, id))
            return;
    }
    queue_->accept(id);
}

// ---- from the table ------------------------------------------------------------------------

void Node::on_created(const state::Flow& flow) {
    turn();
    engine_->on_created(flow);
}

void Node::on_updated(const state::Flow& flow) {
    turn();
    engine_->on_updated(flow);
}

void Node::on_destroyed(const state::Flow& flow) {
    turn();
    engine_->on_destroyed(flow);
}

void Node::on_withdrawn(const state::Flow& flow) {
    turn();
    engine_->on_withdrawn(flow);
}

void Node::on_dump_begin() {
    turn();
    engine_->on_dump_begin();
}

void Node::on_dump_entry(const state::Flow& flow, bool untouched) {
    turn();
    engine_->on_dump_entry(flow, untouched);
}

void Node::on_dump_end() {
    turn();
    engine_->on_dump_end();
    if (auto kept = run_dir_.remember_table(); !kept)
        log::warning("{}", kept.error().text);
}

void Node::on_expected(const state::Expectation& expectation, bool fresh) {
    turn();
    engine_->on_expected(expectation, fresh);
}

void Node::on_unexpected(const state::Expectation& expectation) {
    turn();
    engine_->on_unexpected(expectation);
}

void Node::on_refused(const state::Key& key, table::Refusal refusal) {
    engine_->on_refused(key, refusal);
}

void Node::on_clash(const state::Key& key, const state::Flow& holder, bool untouched) {
    turn(); // which ends with another flush
    engine_->on_clash(key, holder, untouched);
}

void Node::on_addresses_changed() {
    turn();
    engine_->on_addresses_changed();
}

} // namespace encsync::daemon
