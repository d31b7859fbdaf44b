// SPDX-License-Identifier: ISC
#include "daemon/node.hpp"

#include "config/options.hpp"
#include "daemon/translate.hpp"
#include "ipsec/link/kernel.hpp"
#include "ipsec/link/userspace.hpp"
#include "table/factory.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <sodium.h>

namespace encsync::daemon {

namespace asio = boost::asio;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::uint32_t kClashesLogged = 10; // a second
constexpr auto kSoon = std::chrono::milliseconds(20);

// Of an engine that is to say nothing.
class NoLink final : public sync::Link {
    MutableBytes acquire(PeerId) override { return {}; }
    void commit(PeerId, std::size_t) override {}
    void flush() override {}
};

std::uint64_t random_session() {
    std::uint64_t session = 0;
    while (session == 0)
        randombytes_buf(&session, sizeof session);
    return session;
}

// The plugin is next to the program, both in the build tree and in an installation.
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

} // namespace

// ---- opening -------------------------------------------------------------------------------

Result<std::unique_ptr<Node>> Node::open(asio::io_context& io, config::Config config,
                                         const std::string& config_file,
                                         const std::string& run_dir) {
    std::unique_ptr<Node> node(new Node(io, std::move(config), config_file, run_dir));
    for (const auto step :
         {&Node::launch_charon, &Node::open_key_writer, &Node::open_control, &Node::choose_ipsec,
          &Node::install_policy, &Node::open_table, &Node::open_queue, &Node::open_link,
          &Node::make_relay, &Node::make_engine, &Node::join})
        if (auto done = (node.get()->*step)(); !done)
            return done.error();
    return node;
}

Node::Node(asio::io_context& io, config::Config config, const std::string& config_file,
           const std::string& run_dir)
    : io_(io), setup_(std::move(config.setup)), directory_(std::move(config.conns)),
      config_file_(config_file), run_dir_(run_dir),
      unlock_(std::make_shared<keys::Unlock>(keys::unattended(setup_.keypassphrase))),
      second_timer_(io), key_timer_(io) {}

Node::~Node() = default;

// First of all: the processes forked here must not inherit any secret or socket.
Result<void> Node::launch_charon() {
    auto plugin = find_plugin();
    if (!plugin)
        return plugin.error();
    supervisor::Options options;
    options.charon.plugin = std::move(*plugin);
    options.charon.user = setup_.charonuser;
    options.charon.debug = setup_.loglevel == log::Level::debug;
    options.charon.dpdtimeout = shortest_dpdtimeout(directory_.conns());
    // A charon that is silent for so long loses its peers anyway.
    options.hang_timeout =
        std::clamp<std::chrono::milliseconds>(options.charon.dpdtimeout, 5s, 30s);
    charon_ = std::make_unique<supervisor::Supervisor>(io_, std::move(options), *this);
    return charon_->prepare();
}

Result<void> Node::open_key_writer() {
    if (!setup_.keysync)
        return {};
    if (auto store = keys::Store::open(setup_.keydir); !store)
        return store.error();
    auto writer = KeyWriter::open(io_, setup_.keydir, setup_.sandbox, unlock_);
    if (!writer)
        return writer.error();
    key_writer_ = std::move(*writer);
    return {};
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

Result<void> Node::choose_ipsec() {
    auto choice = daemon::choose_ipsec({setup_, directory_.conns()});
    if (!choice)
        return choice.error();
    ipsec_ = std::move(*choice);
    log::notice("ESP by {}: {}", ipsec_.kernel ? "the kernel" : "userspace", ipsec_.why);
    return {};
}

Result<void> Node::install_policy() {
    auto ruleset =
        policy::Ruleset::install(ruleset_options(setup_, directory_.conns(), ipsec_.kernel));
    if (!ruleset)
        return ruleset.error();
    ruleset_.emplace(std::move(*ruleset));
    auto watch = policy::Watch::open(policy::kTableName);
    if (!watch)
        return watch.error();
    policy_watch_.emplace(io_, std::move(*watch), [this] { readiness_->uphold_policy(); });
    return {};
}

Result<void> Node::open_table() {
    table::TableOptions options;
    options.filter.sync_local = setup_.synclocal;
    options.filter.ignore = setup_.ignore;
    options.filter.nosync = state::NoSync(setup_.nosync);
    options.sweep = setup_.sweep;
    auto made = table::make_table(setup_.table, io_, std::move(options));
    if (!made)
        return made.error();
    table_ = std::move(*made);
    if (table_->capabilities().in_kernel)
        machine_.emplace(MachineOptions{});
    return {};
}

Result<void> Node::open_queue() {
    if (!setup_.defer)
        return {};
    auto queue = table::PacketQueue::open(io_, setup_.deferqueue);
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
        peers_->on_stranger(from, to, header);
    };
    hooks.on_expire = [this](PeerId, std::uint32_t spi) { charon_->expire(spi); };
    if (auto opened = ipsec_.kernel ? open_kernel_link(std::move(hooks))
                                    : open_userspace_link(std::move(hooks));
        !opened)
        return opened;
    cables_ = std::make_unique<link::Cables>(io_, *this);
    link_.emplace(*tunnel_, *cables_);
    for (const PeerId peer : directory_.all())
        if (auto added = add_to_link(*link_, peer, setup_, directory_.conn(peer)); !added)
            return added;
    return {};
}

Result<void> Node::open_userspace_link(link::LinkHooks hooks) {
    link::UserspaceOptions options;
    options.ike.ikeport = setup_.ikeport;
    options.ike.natport = setup_.natport;
    auto opened = link::UserspaceLink::open(io_, *this, std::move(hooks), options);
    if (!opened)
        return opened.error();
    auto enc0 = link::Enc0::open(io_, setup_.syncdev, 1500);
    if (!enc0)
        return enc0.error();
    enc0_ = std::move(*enc0);
    (*opened)->show_on(enc0_.get());
    tunnel_ = std::move(*opened);
    return {};
}

Result<void> Node::open_kernel_link(link::LinkHooks hooks) {
    link::KernelOptions options;
    options.interface = setup_.syncdev;
    options.ike.ikeport = setup_.ikeport;
    options.ike.natport = setup_.natport;
    auto opened = link::KernelLink::open(io_, *this, std::move(hooks), std::move(options));
    if (!opened)
        return opened.error();
    tunnel_ = std::move(*opened);
    return {};
}

sync::Role Node::first_role() {
    requested_role_ = run_dir_.role();
    return requested_role_ ? requested_role_->role : role_of(setup_.role);
}

Result<void> Node::make_relay() {
    if (setup_.table != "relay")
        return {};
    relay::Options options;
    randombytes_buf(options.seed.data(), options.seed.size());
    options.session = random_session();
    auto store = keys::Store::open(setup_.keydir, unlock_);
    if (!store)
        return store.error();
    auto creatorid = store->creatorid();
    if (!creatorid)
        return creatorid.error();
    options.creatorid = *creatorid;
    options.ack_near = setup_.deferack == config::DeferAck::near;
    options.active = first_role() != sync::Role::standby;
    relay_.emplace(*link_, options);
    for (const PeerId peer : directory_.all())
        add_to_relay(*relay_, peer, directory_.conn(peer));
    return {};
}

bool Node::raw_sockets() const {
    return ipsec_.kernel || std::ranges::any_of(directory_.conns(), &config::Conn::is_cable);
}

Result<void> Node::make_engine() {
    auto store = keys::Store::open(setup_.keydir, unlock_);
    if (!store)
        return store.error();
    auto creatorid = store->creatorid();
    if (!creatorid)
        return creatorid.error();
    auto secret = store->derive("state ids");
    if (!secret)
        return secret.error();
    sync::Options options;
    options.creatorid = *creatorid;
    std::copy_n(secret->begin(), options.id_secret.size(), options.id_secret.begin());
    sodium_memzero(secret->data(), secret->size());
    randombytes_buf(options.index_seed.data(), options.index_seed.size());
    options.session = random_session();
    options.role = first_role();
    options.table_kept = run_dir_.table_kept();
    options.join_wait = setup_.joinwait;
    options.delay = setup_.delay;
    options.release = [this](std::uint32_t id) { queue_->accept(id); };
    options.on_clash = [this](const state::Flow& ended, const state::Flow& other) {
        log_clash(ended, other);
    };
    for (const PeerId peer : directory_.all())
        options.peers.push_back(peer_options(setup_, directory_.conn(peer)));
    static NoLink no_link;
    sync::Link& link = relay_ ? static_cast<sync::Link&>(no_link) : *link_;
    engine_ = std::make_unique<sync::Engine>(std::move(options), *table_, link);
    return {};
}

Result<void> Node::join() {
    const Machine* machine = machine_ ? &*machine_ : nullptr;
    relay::Relay* relay = relay_ ? &*relay_ : nullptr;
    turns_.emplace(io_, *engine_, relay);
    make_key_sync();
    peers_.emplace(directory_, *engine_, relay, *key_sync_, *link_, *turns_);
    keys_.emplace(KeyRing::Parts{setup_, directory_, *engine_, *link_, *charon_, *peers_, *turns_,
                                 *key_sync_, unlock_});
    roles_.emplace(setup_, directory_, run_dir_, *engine_, relay, *turns_, requested_role_);
    readiness_.emplace(*ruleset_, *engine_, machine, relay, directory_);
    reload_.emplace(config_file_,
                    Reload::Parts{setup_, directory_, *engine_, relay, *link_, *ruleset_,
                                  ipsec_.kernel, raw_sockets() || !setup_.sandbox, *charon_,
                                  *peers_, *keys_, *roles_, *turns_});
    make_metrics_server();
    registry_.emplace(Registry::Parts{directory_, *engine_, *link_, *charon_, *control_, *peers_,
                                      *table_, queue_.get(), relay, metrics_server_.get()});
    views_.emplace(Views::Parts{setup_, directory_, *engine_, *link_, *ruleset_, *charon_, *peers_,
                                *keys_, *roles_, *registry_, *readiness_, ipsec_, machine, *table_,
                                queue_.get(), relay, metrics_server_.get()});
    metrics_.emplace(Metrics::Parts{setup_, directory_, *engine_, *link_, *charon_, *peers_, *keys_,
                                    *roles_, *registry_, *readiness_, ipsec_, machine, *table_,
                                    queue_.get(), relay});
    administration_.emplace(Administration::Parts{directory_, *engine_, *ruleset_, *charon_, *keys_,
                                                  *roles_, *reload_, *turns_},
                            *views_, *metrics_);
    administration_->offer(*control_);
    if (metrics_server_)
        metrics_server_->open();
    return keys_->reload();
}

void Node::make_metrics_server() {
    if (setup_.metricslisten.anywhere())
        metrics_server_ = std::make_unique<metrics::Server>(
            io_, setup_.metricslisten,
            [this](metrics::Format format) { return metrics_->text(format); });
}

void Node::make_key_sync() {
    keysync::Hooks hooks;
    hooks.accepts = [this](PeerId peer, const keys::RawKey& key) {
        return keys_->accepts(peer, key);
    };
    hooks.proved = [this](PeerId peer) { return peers_->life(peer).key; };
    hooks.ppk_in_use = [this](PeerId peer) { return peers_->life(peer).ppk; };
    hooks.authenticate = [this](PeerId peer) { charon_->rekey(peer, true); };
    hooks.changed = [this] {
        if (auto done = keys_->reload(); !done)
            log::error("keys: {}", done.error().text);
    };
    hooks.refused = [this](const std::string& why) {
        if (const auto line = refused_keys_.line(why, Clock::now()))
            log::warning("keys: {}", *line);
    };
    hooks.wake = [this] { wake_key_sync(); };
    key_sync_.emplace(*link_, key_writer_.get(), std::move(hooks), setup_.rotate);
}

// Once for all that comes within a moment: a peer decides how often it sends.
void Node::wake_key_sync() {
    if (std::exchange(key_sync_woken_, true))
        return;
    key_timer_.expires_after(kSoon);
    key_timer_.async_wait([this](const boost::system::error_code& error) {
        if (error)
            return;
        key_sync_woken_ = false;
        key_sync_->advance(Clock::now(), keys::unix_now());
    });
}

// ---- running -------------------------------------------------------------------------------

Result<void> Node::start() {
    engine_->advance(Clock::now());
    table_->start(*this);
    if (queue_)
        queue_->start([this](auto id, const auto* flow) { on_first_packet(id, flow); });
    if (auto started = charon_->start(); !started)
        return started;
    every_second();
    turns_->wait_for_deadline();
    log::notice("{}: encsyncd " ENCSYNC_VERSION " is up, role {}, {} peers", setup_.node,
                sync::to_string(engine_->role()), directory_.all().size());
    return {};
}

void Node::stop(std::function<void()> done) {
    if (stopping_)
        return;
    stopping_ = true;
    log::notice("{}: stopping", setup_.node);
    charon_->stop(std::move(done));
}

void Node::every_second() {
    readiness_->uphold_policy();
    table_->advance(
        static_cast<std::uint64_t>(Clock::now().time_since_epoch() / std::chrono::seconds(1)));
    roles_->store();
    look_at_machine();
    peers_->every_second();
    keys_->every_second();
    key_sync_->advance(Clock::now(), keys::unix_now());
    keys_->look_at_ages(keys::unix_now());
    readiness_->log_changes();
    roles_->log_odd();
    readiness_->log_missing_edges();
    clashes_logged_ = 0;
    second_timer_.expires_after(1s);
    second_timer_.async_wait([this](const boost::system::error_code& error) {
        if (!error)
            every_second();
    });
}

void Node::look_at_machine() {
    if (!machine_)
        return;
    Known known{.now = Clock::now(),
                .states = engine_->index().size(),
                .removed_by_others = table_->removed_by_others(),
                .peers = {}};
    for (const PeerId peer : directory_.all()) {
        const sync::Peer& s = engine_->session(peer);
        known.peers.push_back(
            {directory_.name(peer), s.reachable() ? s.peer_states : 0, s.tracking});
    }
    machine_->look(known);
    engine_->set_tracking(machine_->tracking());
    table_->flush(); // or the kernel's count lacks what this turn has asked for
    engine_->set_room(machine_->room(setup_.reserve).value_or(INT64_MAX));
    if (machine_->missed_events())
        table_->request_dump();
}

// `encsync status` also counts those that are not logged.
void Node::log_clash(const state::Flow& ended, const state::Flow& other) {
    if (clashes_logged_++ < kClashesLogged)
        log::warning("{} has ended: another node gave its NAT port to {}", state::to_string(ended),
                     state::to_string(other));
}

// ---- from the packet queue -----------------------------------------------------------------

void Node::on_first_packet(std::uint32_t id, const state::Flow* flow) {
    turns_->begin();
    if (flow != nullptr && table_->reports(*flow)) {
        state::Flow begins = *flow;
        begins.timeout = table_->natural_timeout(begins);
        if (engine_->defer(begins, id))
            return;
    }
    queue_->accept(id);
}

// ---- from the tunnel -----------------------------------------------------------------------

void Node::on_packet(PeerId peer, std::uint32_t spi, Bytes inner) {
    peers_->on_packet(peer, spi, inner);
}

void Node::on_up(PeerId peer) {
    peers_->on_up(peer);
}

void Node::on_down(PeerId peer) {
    peers_->on_down(peer);
}

void Node::on_writable(PeerId) {
    turns_->begin();
}

// ---- from charon ---------------------------------------------------------------------------

void Node::on_ike_out(const channel::IkeOut& datagram) {
    peers_->on_ike_out(datagram);
}

void Node::on_add_sa(const channel::AddSa& sa) {
    if (auto added = tunnel_->add_sa(sa); !added)
        log::error("SA {:08x} cannot be used: {}", sa.spi, added.error().text);
}

void Node::on_delete_sa(const channel::DeleteSa& sa) {
    tunnel_->delete_sa(sa.peer, sa.spi, sa.direction);
}

void Node::on_peer_event(const channel::PeerEvent& event) {
    if (!keys_->on_event(event))
        peers_->on_event(event);
    wake_key_sync(); // what the peer proved itself with, and which PPK is in use, may be new
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
    peers_->on_charon_lost(reason);
}

void Node::on_charon_impossible(const std::string& reason) {
    log::error("charon cannot be started any more: {}; encsyncd ends, to be started again by the "
               "service manager; states stay in the kernel",
               reason);
    failed_ = true;
    io_.stop();
}

// ---- from the table ------------------------------------------------------------------------

void Node::on_created(const state::Flow& flow) {
    turns_->begin();
    engine_->on_created(flow);
}

void Node::on_updated(const state::Flow& flow) {
    turns_->begin();
    engine_->on_updated(flow);
}

void Node::on_destroyed(const state::Flow& flow) {
    turns_->begin();
    engine_->on_destroyed(flow);
}

void Node::on_withdrawn(const state::Flow& flow) {
    turns_->begin();
    engine_->on_withdrawn(flow);
}

void Node::on_dump_begin() {
    turns_->begin();
    engine_->on_dump_begin();
}

void Node::on_dump_entry(const state::Flow& flow, bool untouched) {
    turns_->begin();
    engine_->on_dump_entry(flow, untouched);
}

void Node::on_dump_end() {
    turns_->begin();
    engine_->on_dump_end();
    if (auto kept = run_dir_.remember_table(); !kept)
        log::warning("{}", kept.error().text);
}

void Node::on_expected(const state::Expectation& expectation, bool fresh) {
    turns_->begin();
    engine_->on_expected(expectation, fresh);
}

void Node::on_unexpected(const state::Expectation& expectation) {
    turns_->begin();
    engine_->on_unexpected(expectation);
}

void Node::on_refused(const state::Key& key, table::Refusal refusal) {
    engine_->on_refused(key, refusal);
}

void Node::on_clash(const state::Key& key, const state::Flow& holder, bool untouched) {
    turns_->begin(); // which ends with another flush
    engine_->on_clash(key, holder, untouched);
}

void Node::on_addresses_changed() {
    turns_->begin();
    engine_->on_addresses_changed();
}

} // namespace encsync::daemon
