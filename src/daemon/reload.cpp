// SPDX-License-Identifier: ISC
// A newer configuration, taken up while the node runs. First everything that can go wrong is tried
// out, then the peers that differ are removed and added; those that do not differ are not touched.
#include "daemon/node.hpp"

#include "daemon/translate.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace encsync::daemon {

using config::Conn;
using config::Setup;

namespace {

template<auto kMember>
bool same(const Setup& a, const Setup& b) {
    return a.*kMember == b.*kMember;
}

struct Keyword {
    const char* name;
    bool (*same)(const Setup&, const Setup&);
};
template<auto kMember>
constexpr Keyword keyword(const char* name) {
    return {name, same<kMember>};
}

// What is built into the rooms when they are opened.
constexpr Keyword kNeedRestart[] = {
    keyword<&Setup::node>("node"),       keyword<&Setup::table>("table"),
    keyword<&Setup::syncdev>("syncdev"), keyword<&Setup::ipsec>("ipsec"),
    keyword<&Setup::keydir>("keydir"),   keyword<&Setup::ikeport>("ikeport"),
    keyword<&Setup::natport>("natport"), keyword<&Setup::joinwait>("joinwait"),
    keyword<&Setup::sweep>("sweep"),     keyword<&Setup::charonuser>("charonuser"),
    keyword<&Setup::sandbox>("sandbox"), keyword<&Setup::synclocal>("synclocal"),
    keyword<&Setup::ignore>("ignore"),   keyword<&Setup::nosync>("nosync"),
    keyword<&Setup::refuse>("refuse"),   keyword<&Setup::delay>("delay"),
    keyword<&Setup::defer>("defer"),     keyword<&Setup::deferqueue>("deferqueue"),
};

std::vector<std::string> names_of(const std::vector<Conn>& conns) {
    std::vector<std::string> names;
    std::ranges::transform(conns, std::back_inserter(names), &Conn::name);
    return names;
}

// Whether charon alone has to hear of what has changed in a conn, and its SAs may stay.
bool concerns_charon_only(const Conn& old, const Conn& fresh) {
    Conn with = old;
    static_cast<ike::Terms&>(with) = fresh;
    with.startup = fresh.startup;
    return with == fresh;
}

} // namespace

struct Node::Changes {
    Setup setup;
    std::vector<std::pair<PeerId, Conn>> added;  // changed ones, too: they get a new number
    std::vector<std::pair<PeerId, Conn>> retold; // of interest to charon only
    std::vector<PeerId> removed;                 // likewise with the old numbers of changed ones
    std::vector<Conn> result;                    // all that there are then
    Reloaded told;
};

Result<Reloaded> Node::reload() {
    config::Loaded loaded = config::load(config_file_);
    if (!loaded.config)
        return Error{"nothing was changed:\n" + config::render(loaded.diagnostics)};
    auto changes = find_changes(*loaded.config);
    if (!changes)
        return changes.error();
    auto keys = read_keys(loaded.config->conns);
    if (!keys)
        return Error{"nothing was changed: " + keys.error().text};
    auto told = prepare_charon(*keys, conns_after(*changes));
    if (!told)
        return Error{"nothing was changed: " + told.error().text};
    if (auto ready = prepare(*changes); !ready)
        return ready.error();
    // From here on nothing fails.
    const config::Role role = config_.setup.role;
    carry_out(*changes);
    changes->told.role = take_configured_role(role).value_or("");
    take_keys(std::move(*keys), std::move(*told));
    changes->told.warnings = config::render(loaded.diagnostics);
    log::notice("configuration reloaded: added {}, changed {}, removed {}", changes->told.added,
                changes->told.changed, changes->told.removed);
    return std::move(changes->told);
}

Result<Node::Changes> Node::find_changes(const config::Config& fresh) const {
    Changes changes;
    std::vector<std::string> fixed;
    Setup rest = config_.setup;
    for (const Keyword& keyword : kNeedRestart)
        if (!keyword.same(config_.setup, fresh.setup))
            fixed.emplace_back(keyword.name);
    rest.role = fresh.setup.role;
    rest.loglevel = fresh.setup.loglevel;
    if (fixed.empty() && rest != fresh.setup)
        fixed.emplace_back("another keyword of config setup");
    std::vector<Conn> old;
    std::ranges::copy_if(config_.conns, std::back_inserter(old),
                         [](const Conn& conn) { return !conn.name.empty(); });
    if (const auto now = shortest_dpdtimeout(old), then = shortest_dpdtimeout(fresh.conns);
        now != then && !old.empty())
        fixed.push_back(
            fmt::format("the shortest dpdtimeout ({}s, was {}s)", then.count(), now.count()));
    if (!fixed.empty())
        return Error{
            fmt::format("nothing was changed: a restart is needed for {}", fmt::join(fixed, ", "))};

    std::vector<PeerId> free;
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        if (!used(peer))
            free.push_back(peer);
    // Not the one that was left last, whose SAs charon may still be closing.
    std::ranges::rotate(free, std::ranges::upper_bound(free, last_freed_));
    std::size_t next = 0;
    for (const Conn& conn : fresh.conns) {
        const auto at = std::ranges::find(config_.conns, conn.name, &Conn::name);
        const auto id = static_cast<PeerId>(at - config_.conns.begin());
        if (at != config_.conns.end() && *at == conn)
            continue;
        if (at != config_.conns.end() && concerns_charon_only(*at, conn)) {
            changes.retold.emplace_back(id, conn);
            changes.told.changed.push_back(conn.name);
            continue;
        }
        if (next == free.size())
            return Error{fmt::format("nothing was changed: of {} places for peers {} are taken, "
                                     "too many for so many changes at once",
                                     kMaxPeers, old.size())};
        changes.added.emplace_back(free[next++], conn);
        if (at != config_.conns.end()) {
            changes.removed.push_back(id);
            changes.told.changed.push_back(conn.name);
        } else {
            changes.told.added.push_back(conn.name);
        }
    }
    const auto names = names_of(fresh.conns);
    for (PeerId peer = 0; peer < config_.conns.size(); peer++)
        if (used(peer) && std::ranges::find(names, config_.conns[peer].name) == names.end()) {
            changes.removed.push_back(peer);
            changes.told.removed.push_back(config_.conns[peer].name);
        }
    changes.setup = fresh.setup;
    changes.result = fresh.conns;
    return changes;
}

// By PeerId, as carry_out() leaves them.
std::vector<Conn> Node::conns_after(const Changes& changes) const {
    std::vector<Conn> conns = config_.conns;
    for (const PeerId peer : changes.removed)
        conns[peer] = {};
    for (const auto* some : {&changes.added, &changes.retold})
        for (const auto& [peer, conn] : *some) {
            if (conns.size() <= peer)
                conns.resize(peer + 1U);
            conns[peer] = conn;
        }
    return conns;
}

// Sockets and rules: what the system may refuse. If it does, it is as before.
Result<void> Node::prepare(const Changes& changes) {
    Result<void> done;
    std::size_t n = 0;
    for (; n < changes.added.size() && done; n++)
        done = add_to_link(changes.added[n].first, changes.added[n].second);
    if (done)
        done = ruleset_->change(ruleset_options(changes.result));
    if (done)
        return {};
    while (n-- > 0)
        link_->remove_peer(changes.added[n].first);
    return Error{"nothing was changed: " + done.error().text};
}

void Node::carry_out(const Changes& changes) {
    turn();
    config_.setup.loglevel = changes.setup.loglevel;
    config_.setup.role = changes.setup.role;
    log::set_level(config_.setup.loglevel);
    for (const PeerId peer : changes.removed) {
        charon_->remove_peer(peer);
        link_->remove_peer(peer);
        engine_->remove_peer(peer);
        lives_[peer] = {};
        last_freed_ = peer;
    }
    config_.conns = conns_after(changes);
    lives_.resize(config_.conns.size());
    selectors_.resize(config_.conns.size());
    for (const auto& [peer, conn] : changes.added) {
        lives_[peer] = {};
        selectors_[peer] = selectors(conn);
        engine_->add_peer(peer, peer_options(config_.setup, conn));
    }
}

} // namespace encsync::daemon
