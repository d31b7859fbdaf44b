// SPDX-License-Identifier: ISC
#include "daemon/key_ring.hpp"

#include "config/options.hpp"
#include "daemon/translate.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::daemon {

using ike::CredentialKind;

namespace {

// The keys that a peer may authenticate with.
std::vector<keys::RawKey> trusted_for(const config::Conn& conn,
                                      const std::vector<keys::TrustedKey>& all) {
    std::vector<keys::RawKey> out;
    if (conn.by_trusted_key())
        for (const keys::TrustedKey& key : all)
            if (key.name == conn.rightid)
                out.push_back(key.key);
    return out;
}

WipedBytes as_credential(const keys::Ppk& ppk) {
    const auto id = keys::id_of(ppk);
    WipedBytes data;
    data.reserve(id.size() + ppk.secret.bytes().size());
    data.insert(data.end(), id.begin(), id.end());
    data.insert(data.end(), ppk.secret.bytes().begin(), ppk.secret.bytes().end());
    return data;
}

Result<void> charon_takes(const channel::Message& message, const std::string& what) {
    auto encoded = channel::encode(message);
    if (!encoded)
        return Error{fmt::format("{}: {}", what, encoded.error().text)};
    return {};
}

void say(const Result<void>& done) {
    if (!done)
        log::error("charon was not updated: {}", done.error().text);
}

// The daemon goes on all the same: it would be as easy to make a log that is whole.
std::string suspect(const keys::Store& store, const Result<keys::KeyLog>& log) {
    if (!log)
        return log.error().text;
    const auto differences = store.differences(*log);
    if (!differences)
        return differences.error().text;
    return differences->empty()
               ? ""
               : fmt::format("{}: {}", store.directory(), fmt::join(*differences, "; "));
}

} // namespace

Result<KeyRing::Update> KeyRing::read(const Directory& directory) const {
    // By its path: the directory may have been replaced by a restored one.
    auto store = keys::Store::open(parts_.setup.keydir, parts_.unlock);
    if (!store)
        return store.error();
    auto identities = store->identities();
    if (!identities)
        return identities.error();
    if (identities->front().name != parts_.setup.node)
        return Error{fmt::format("the identity in {} is that of '{}', but this node is '{}'",
                                 store->directory(), identities->front().name, parts_.setup.node)};
    auto trusted = store->trusted();
    if (!trusted)
        return trusted.error();

    Update update;
    const auto log = store->log();
    update.suspect = suspect(*store, log);
    if (log && !log->entries.empty())
        update.log_end = keys::last_hash(*log);
    update.identity.name = parts_.setup.node;
    for (const keys::Identity& mine : *identities) {
        channel::Ed25519Seed& seed = update.identity.seeds.emplace_back();
        std::ranges::copy(mine.seed.bytes(), seed.begin());
        update.own.keys.push_back(mine.key);
    }
    update.own.name = identities->front().name;
    update.own.created = identities->front().created;
    auto newest = store->export_newest();
    if (!newest)
        return newest.error();
    update.own.newest = std::move(*newest);
    auto revoked = store->revoked();
    if (!revoked)
        return revoked.error();
    update.own.revoked = std::move(*revoked);
    if (auto good = charon_takes(update.identity, "identity"); !good)
        return good.error();
    for (const PeerId id : directory.all()) {
        const config::Conn& conn = directory.conn(id);
        if (conn.is_cable())
            continue;
        auto files = read_files(conn, *store);
        if (!files)
            return Error{fmt::format("conn {}: {}", conn.name, files.error().text)};
        auto certificates = dates(conn, *files);
        if (!certificates)
            return Error{fmt::format("conn {}: {}", conn.name, certificates.error().text)};
        std::ranges::move(*certificates, std::back_inserter(update.certificates));
        ForPeer peer{for_charon(id, conn), trusted_for(conn, *trusted), {}, digest(*files)};
        peer.in_step = config::is_told_of_keys(parts_.setup, conn);
        for (const keys::RawKey& mine : update.own.keys)
            if (vouches(*files, mine))
                peer.vouched.push_back(mine);
        peer.for_charon.auth = std::move(*files);
        for (const keys::RawKey& key : peer.trusted)
            peer.for_charon.auth.add(CredentialKind::trusted, key);
        if (peer.in_step && !peer.trusted.empty() && conn.ppk != config::PpkUse::no)
            if (auto added = add_ppks(*store, conn, peer); !added)
                return added.error();
        if (auto good = charon_takes(peer.for_charon, "conn " + conn.name); !good)
            return good.error();
        update.peers.push_back(std::move(peer));
    }
    return update;
}

Result<void> KeyRing::add_ppks(const keys::Store& store, const config::Conn& conn, ForPeer& peer) {
    auto ring = store.ppks(conn.rightid);
    if (!ring)
        return ring.error();
    peer.ppks.used = true;
    peer.ppks.rotate = conn.ppkrotate;
    peer.ppks.offer = ring->offer;
    peer.ppks.confirmed = ring->confirmed;
    if (conn.ppk == config::PpkUse::automatic && ring->confirmed)
        peer.for_charon.ppk = config::PpkUse::required;
    const auto add = [&](const keys::Ppk& ppk) {
        peer.for_charon.auth.add(CredentialKind::ppk, as_credential(ppk));
    };
    if (const keys::Ppk* first = ring->offered())
        add(*first);
    for (const keys::Ppk& ppk : ring->keys) {
        peer.ppks.held.push_back({{keys::id_of(ppk), ppk.epoch}, ppk.created, ppk.origin});
        if (&ppk != ring->offered())
            add(ppk);
    }
    return {};
}

// Without its credentials.
channel::Peer KeyRing::for_charon(PeerId id, const config::Conn& conn) const {
    channel::Peer peer;
    static_cast<ike::Peer&>(peer) = conn;
    peer.id = id;
    peer.left = {conn.left.ip, parts_.setup.ikeport};
    peer.right = {conn.right.ip, parts_.setup.ikeport};
    peer.natport = parts_.setup.natport;
    peer.inner_left = conn.left.ip;
    peer.inner_right = conn.right.ip;
    peer.transport_mode = conn.type == config::Type::transport;
    peer.initiate = conn.startup == config::Auto::start;
    return peer;
}

// read() has already checked everything that is sent to charon.
void KeyRing::take(Update update) {
    if (!update.suspect.empty())
        log::warning("keys: {}", update.suspect);
    // Kept elsewhere by whoever collects logs, it shows a key log that was written anew.
    if (!update.log_end.empty())
        log::info("keys: the last event of their log has the hash {}", update.log_end);
    if (own_ != update.own.keys)
        for (State& state : states_)
            state.next = {};
    own_ = update.own.keys;
    created_ = update.own.created;
    certificates_ = std::move(update.certificates);
    look_at_ages(keys::unix_now());
    // Charon needs the next one only to try it.
    if (std::ranges::none_of(update.peers, [this](const ForPeer& p) { return must_try(p); }))
        update.identity.seeds.resize(1);
    say(parts_.charon.set_identity(std::move(update.identity)));
    parts_.key_sync.set_own(std::move(update.own));
    for (ForPeer& peer : update.peers)
        take(std::move(peer));
}

void KeyRing::take(ForPeer peer) {
    const PeerId id = peer.for_charon.id;
    const std::string& name = parts_.directory.name(id);
    const bool nobody = !peer.for_charon.auth.admits();
    if (nobody)
        parts_.peers.set_error(id, what_is_missing(parts_.directory.conn(id)));
    parts_.key_sync.set(id, {peer.for_charon.rightid,
                             peer.in_step ? peer.trusted : std::vector<keys::RawKey>(),
                             std::move(peer.ppks)});
    std::vector<sync::KeyPrint> trusted;
    std::ranges::transform(peer.trusted, std::back_inserter(trusted), keys::key_print);
    parts_.turns.begin();
    parts_.engine.set_trusted(id, std::move(trusted));
    if (peer.for_charon.auth.count(CredentialKind::certificate) != 0 && peer.vouched.empty())
        parts_.peers.set_error(
            id, fmt::format("{} is not for this node's key; certify the one that encsync keys "
                            "export --pem prints",
                            parts_.directory.conn(id).file(CredentialKind::certificate)));
    State& state = states_[id];
    state.requires_ppk = peer.for_charon.ppk == config::PpkUse::required;
    state.tried.reset();
    if (must_try(peer)) {
        state.next.hurry();
        peer.for_charon.next_key = state.next.in_use();
        state.tried = peer.for_charon;
    }
    state.vouched = std::move(peer.vouched);
    const auto& shown = parts_.peers.life(id).key;
    const bool withdrawn = shown && std::ranges::find(peer.trusted, *shown) == peer.trusted.end();
    const bool replaced = state.files && *state.files != peer.files;
    state.files = peer.files;
    if ((withdrawn || replaced) && parts_.engine.session(id).link_up)
        log::notice("peer {}: cut off, as {} is no longer trusted; it may come back with another",
                    name,
                    withdrawn ? "the key it proved itself with, " + keys::fingerprint(*shown) + ","
                              : "what it proved itself with");
    // Drops the SAs at once, because charon closes them later.
    if (withdrawn || replaced || nobody)
        parts_.link.tunnel.drop_sas(id);
    if (replaced)
        parts_.charon.remove_peer(id);
    say(parts_.charon.set_peer(std::move(peer.for_charon)));
}

bool KeyRing::must_try(const ForPeer& peer) const {
    return own_.size() == 2 && !peer.in_step && !peer.trusted.empty() &&
           std::ranges::find(peer.vouched, own_[1]) == peer.vouched.end();
}

void KeyRing::sign_anew(State& state) {
    state.tried->next_key = state.next.in_use();
    say(parts_.charon.set_peer(*state.tried));
}

bool KeyRing::on_event(const channel::PeerEvent& event) {
    using Kind = channel::PeerEventKind;
    if (event.peer >= kMaxPeers || !states_[event.peer].tried)
        return false;
    State& state = states_[event.peer];
    const auto now = NextKey::Clock::now();
    if (event.kind == Kind::auth_failed) {
        const bool up = parts_.engine.session(event.peer).link_up;
        const bool tried = up && state.next.in_use() && !state.next.accepted();
        if (tried)
            log::info("peer {}: does not accept this node's next key yet: {}",
                      parts_.directory.name(event.peer), event.text);
        if (state.next.failed(now, up))
            sign_anew(state);
        return tried;
    }
    if ((event.kind == Kind::up || event.kind == Kind::rekeyed) && !event.own_key.empty()) {
        const bool before = state.next.accepted();
        if (state.next.succeeded(now, event.own_key.front() == own_[1]))
            sign_anew(state);
        if (state.next.accepted() && !before)
            log::notice("peer {}: accepts this node's next key", parts_.directory.name(event.peer));
    }
    return false;
}

void KeyRing::every_second() {
    for (PeerId id = 0; id < kMaxPeers; id++) {
        State& state = states_[id];
        if (state.tried &&
            state.next.advance(NextKey::Clock::now(), parts_.engine.session(id).link_up))
            sign_anew(state);
    }
}

Result<void> KeyRing::reload() {
    auto update = read(parts_.directory);
    if (!update)
        return update.error();
    take(std::move(*update));
    return {};
}

void KeyRing::look_at_ages(keys::UnixTime now) {
    std::vector<std::string> all;
    const auto add = [&](std::string text) {
        if (!text.empty() && std::ranges::find(all, text) == all.end()) // a file of several conns
            all.push_back(std::move(text));
    };
    for (const Dated& each : certificates_)
        add(keys::complaint(each.file, each.validity, now));
    add(keys::overdue(created_, parts_.setup.rotate, now));
    // The texts count the days, so this is once a day.
    for (const std::string& text : all)
        if (std::ranges::find(ages_, text) == ages_.end())
            log::warning("keys: {}", text);
    ages_ = std::move(all);
}

void KeyRing::forget(PeerId peer) {
    states_[peer] = {};
    parts_.key_sync.forget(peer);
}

bool KeyRing::accepts(PeerId peer, const keys::RawKey& own) const {
    const auto& trusted = parts_.engine.session(peer).hello_tail.trusted;
    const State& state = states_[peer];
    if (state.tried && state.next.accepted() && own == own_[1])
        return true;
    return parts_.key_sync.trusts(peer, own) ||
           std::ranges::find(state.vouched, own) != state.vouched.end() ||
           std::ranges::find(trusted, keys::key_print(own)) != trusted.end();
}

std::vector<std::string> KeyRing::accepted(PeerId peer) const {
    std::vector<std::string> out;
    for (const keys::RawKey& key : own_)
        if (accepts(peer, key))
            out.push_back(keys::fingerprint(key));
    return out;
}

} // namespace encsync::daemon
