// SPDX-License-Identifier: ISC
#include "daemon/reload.hpp"

#include "config/options.hpp"
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

// Options that the parts read only when they are created.
constexpr Keyword kNeedRestart[] = {
    keyword<&Setup::node>("node"),
    keyword<&Setup::table>("table"),
    keyword<&Setup::syncdev>("syncdev"),
    keyword<&Setup::ipsec>("ipsec"),
    keyword<&Setup::keydir>("keydir"),
    keyword<&Setup::ikeport>("ikeport"),
    keyword<&Setup::natport>("natport"),
    keyword<&Setup::joinwait>("joinwait"),
    keyword<&Setup::sweep>("sweep"),
    keyword<&Setup::charonuser>("charonuser"),
    keyword<&Setup::sandbox>("sandbox"),
    keyword<&Setup::synclocal>("synclocal"),
    keyword<&Setup::ignore>("ignore"),
    keyword<&Setup::nosync>("nosync"),
    keyword<&Setup::refuse>("refuse"),
    keyword<&Setup::delay>("delay"),
    keyword<&Setup::defer>("defer"),
    keyword<&Setup::deferqueue>("deferqueue"),
    keyword<&Setup::deferack>("deferack"),
    keyword<&Setup::keysync>("keysync"),
    keyword<&Setup::rotate>("rotate"),
    keyword<&Setup::keypassphrase>("keypassphrase"),
    keyword<&Setup::metricslisten>("metricslisten"),
};

// Whether only charon needs the changes of a conn, so that its SAs may stay.
bool concerns_charon_only(const Conn& old, const Conn& fresh) {
    Conn with = old;
    static_cast<ike::Terms&>(with) = fresh;
    with.startup = fresh.startup;
    with.ppkrotate = fresh.ppkrotate;
    return with == fresh;
}

} // namespace

struct Reload::Changes {
    explicit Changes(const Directory& now) : after(now) {}

    Setup setup;
    std::vector<PeerId> removed; // includes the old numbers of changed ones
    std::vector<PeerId> added;   // includes changed ones: they get a new number
    Directory after;             // includes the changes that only charon needs
    Reloaded outcome;
};

Result<Reloaded> Reload::run() {
    config::Loaded loaded = config::load(config_file_);
    if (!loaded.config)
        return Error{"nothing was changed:\n" + config::render(loaded.diagnostics)};
    auto changes = find_changes(*loaded.config);
    if (!changes)
        return Error{"nothing was changed: " + changes.error().text};
    auto keys = parts_.keys.read(changes->after);
    if (!keys)
        return Error{"nothing was changed: " + keys.error().text};
    if (auto ready = prepare(*changes); !ready)
        return Error{"nothing was changed: " + ready.error().text};
    // From here on nothing fails.
    const bool other_role = parts_.setup.role != changes->setup.role;
    carry_out(*changes);
    if (other_role)
        changes->outcome.role = parts_.roles.take_configured();
    parts_.keys.take(std::move(*keys));
    changes->outcome.warnings = config::render(loaded.diagnostics);
    log::notice("configuration reloaded: added {}, changed {}, removed {}", changes->outcome.added,
                changes->outcome.changed, changes->outcome.removed);
    return std::move(changes->outcome);
}

// The options whose change needs a restart.
std::vector<std::string> Reload::fixed(const config::Config& fresh) const {
    std::vector<std::string> fixed;
    for (const Keyword& keyword : kNeedRestart)
        if (!keyword.same(parts_.setup, fresh.setup))
            fixed.emplace_back(keyword.name);
    Setup rest = parts_.setup;
    rest.role = fresh.setup.role;
    rest.loglevel = fresh.setup.loglevel;
    rest.reserve = fresh.setup.reserve;
    if (fixed.empty() && rest != fresh.setup)
        fixed.emplace_back("another keyword of config setup");
    if (!parts_.raw_sockets && std::ranges::any_of(fresh.conns, &Conn::is_cable))
        fixed.emplace_back("the first type=cable");
    const std::vector<Conn> old = parts_.directory.conns();
    if (const auto now = shortest_dpdtimeout(old), then = shortest_dpdtimeout(fresh.conns);
        now != then && !old.empty())
        fixed.push_back(
            fmt::format("the shortest dpdtimeout ({}s, was {}s)", then.count(), now.count()));
    return fixed;
}

Result<Reload::Changes> Reload::find_changes(const config::Config& fresh) const {
    if (const auto names = fixed(fresh); !names.empty())
        return Error{fmt::format("a restart is needed for {}", fmt::join(names, ", "))};
    const Directory& directory = parts_.directory;
    Changes changes(directory);
    std::vector<std::pair<PeerId, const Conn*>> put;
    const std::vector<PeerId> free = directory.free_places();
    for (const Conn& conn : fresh.conns) {
        const auto known = directory.find(conn.name);
        if (known && directory.conn(*known) == conn)
            continue;
        (known ? changes.outcome.changed : changes.outcome.added).push_back(conn.name);
        if (known && concerns_charon_only(directory.conn(*known), conn)) {
            put.emplace_back(*known, &conn);
            continue;
        }
        if (changes.added.size() == free.size())
            return Error{fmt::format("of {} places for peers {} are taken, too many for so many "
                                     "changes at once",
                                     kMaxPeers, directory.all().size())};
        changes.added.push_back(free[changes.added.size()]);
        put.emplace_back(changes.added.back(), &conn);
        if (known)
            changes.removed.push_back(*known);
    }
    for (const PeerId peer : directory.all())
        if (std::ranges::find(fresh.conns, directory.name(peer), &Conn::name) ==
            fresh.conns.end()) {
            changes.removed.push_back(peer);
            changes.outcome.removed.push_back(directory.name(peer));
        }
    for (const PeerId peer : changes.removed)
        changes.after.remove(peer);
    for (const auto& [peer, conn] : put)
        changes.after.put(peer, *conn);
    changes.setup = fresh.setup;
    return changes;
}

// Sockets and rules, which the system may refuse. If it does, the former ones are restored.
Result<void> Reload::prepare(const Changes& changes) {
    Result<void> done;
    std::size_t n = 0;
    for (; n < changes.added.size() && done; n++)
        done = add_to_link(parts_.link, changes.added[n], parts_.setup,
                           changes.after.conn(changes.added[n]));
    if (done)
        done = parts_.ruleset.change(
            ruleset_options(parts_.setup, changes.after.conns(), parts_.kernel_ipsec));
    if (done)
        return {};
    while (n-- > 0)
        parts_.link.remove_peer(changes.added[n]);
    return done;
}

void Reload::carry_out(const Changes& changes) {
    parts_.turns.begin();
    parts_.setup.loglevel = changes.setup.loglevel;
    parts_.setup.role = changes.setup.role;
    parts_.setup.reserve = changes.setup.reserve;
    log::set_level(parts_.setup.loglevel);
    const auto forget = [this](PeerId peer) {
        parts_.peers.forget(peer);
        parts_.keys.forget(peer);
    };
    for (const PeerId peer : changes.removed) {
        parts_.charon.remove_peer(peer);
        parts_.link.remove_peer(peer);
        parts_.engine.remove_peer(peer);
        if (parts_.relay != nullptr)
            parts_.relay->remove(peer);
        forget(peer);
    }
    parts_.directory = changes.after;
    for (const PeerId peer : changes.added) {
        forget(peer);
        parts_.engine.add_peer(peer, peer_options(parts_.setup, parts_.directory.conn(peer)));
        if (parts_.relay != nullptr)
            add_to_relay(*parts_.relay, peer, parts_.directory.conn(peer));
    }
}

} // namespace encsync::daemon
