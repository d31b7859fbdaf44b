// SPDX-License-Identifier: ISC
#include "daemon/key_ring.hpp"

#include "config/options.hpp"
#include "daemon/translate.hpp"
#include "keys/files.hpp"

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
    // Without the lock the log may be ahead of the keys; who holds it lets us read again.
    const auto lock = store->lock_unless_held();
    const auto log = store->log();
    if (!lock || *lock)
        update.suspect = lock ? suspect(*store, log) : lock.error().text;
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
        auto credentials = read_credentials(conn, *store);
        if (!credentials)
            return Error{fmt::format("conn {}: {}", conn.name, credentials.error().text)};
        std::ranges::move(credentials->certificates, std::back_inserter(update.certificates));
        ForPeer peer{for_charon(id, conn), trusted_for(conn, *trusted), {}};
        peer.in_step = config::is_told_of_keys(parts_.setup, conn);
        for (const keys::RawKey& mine : update.own.keys)
            if (vouches(credentials->auth, mine))
                peer.vouched.push_back(mine);
        peer.for_charon.auth = std::move(credentials->auth);
        peer.older_certificate = std::move(credentials->older);
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
    own_ = update.own.keys;
    created_ = update.own.created;
    certificates_ = std::move(update.certificates);
    look_at_ages(keys::unix_now());
    if (std::ranges::none_of(update.peers, [this](const ForPeer& p) { return needs_next(p); }))
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
    if (auto missing = what_is_missing(parts_.directory.conn(id), peer.for_charon.auth);
        !missing.empty())
        parts_.peers.set_error(id, std::move(missing));
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
                            certificate_name(id)));
    State& state = states_[id];
    state.requires_ppk = peer.for_charon.ppk == config::PpkUse::required;
    auto trial = trial_with(peer, state);
    if (trial != state.trial)
        state.next = {};
    state.trial = std::move(trial);
    state.vouched = std::move(peer.vouched);
    const auto& shown = parts_.peers.life(id).key;
    const bool withdrawn = shown && std::ranges::find(peer.trusted, *shown) == peer.trusted.end();
    const bool replaced = is_replaced(peer.for_charon.auth, state);
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
    if (!state.trial)
        return say(parts_.charon.set_peer(std::move(peer.for_charon)));
    state.next.hurry();
    use_chosen(state);
}

bool KeyRing::must_try(const ForPeer& peer) const {
    // A peer that knows us by a certificate needs one for the next key.
    return own_.size() == 2 && !peer.in_step && !peer.trusted.empty() &&
           peer.for_charon.auth.count(CredentialKind::certificate) == 0 &&
           std::ranges::find(peer.vouched, own_[1]) == peer.vouched.end();
}

bool KeyRing::needs_next(const ForPeer& peer) const {
    const ike::Credential* certificate = peer.for_charon.auth.find(CredentialKind::certificate);
    return must_try(peer) || (own_.size() == 2 && certificate != nullptr &&
                              keys::certifies(certificate->data, own_[1]));
}

bool KeyRing::is_of_no_use(const ike::Credential& certificate) const {
    return std::ranges::none_of(
        own_, [&](const keys::RawKey& own) { return keys::certifies(certificate.data, own); });
}

bool KeyRing::is_stored(PeerId peer) const {
    return parts_.directory.conn(peer).in_store(CredentialKind::certificate);
}

std::string KeyRing::certificate_name(PeerId peer) const {
    const config::Conn& conn = parts_.directory.conn(peer);
    return is_stored(peer) ? keys::name_in_store(keys::CertificateUse::own, conn.rightid)
                           : conn.file(CredentialKind::certificate);
}

std::optional<KeyRing::Trial> KeyRing::trial_with(const ForPeer& peer, State& state) const {
    Trial trial{"key", {}, peer.for_charon, peer.for_charon};
    if (must_try(peer)) {
        trial.newer.next_key = true;
        trial.shown = own_[1];
        return trial;
    }
    if (peer.for_charon.auth.count(CredentialKind::psk) == 2) {
        std::vector<ike::Credential>& all = trial.newer.auth.credentials;
        const auto first = std::ranges::find(all, CredentialKind::psk, &ike::Credential::kind);
        std::iter_swap(first, std::find_if(first + 1, all.end(), [](const ike::Credential& each) {
                           return each.kind == CredentialKind::psk;
                       }));
        trial.what = "preshared key";
        trial.shown = shown_by(*first);
        return trial;
    }
    const ike::Credential* certificate = peer.for_charon.auth.find(CredentialKind::certificate);
    if (certificate == nullptr) {
        state.certificate.reset();
        state.older_certificate.reset();
        return {};
    }
    if (is_stored(peer.for_charon.id))
        state.older_certificate = peer.older_certificate;
    else if (state.certificate && !state.certificate->is(certificate->kind, certificate->data) &&
             (!state.older_certificate || state.next.accepted()))
        state.older_certificate = std::move(state.certificate);
    state.certificate = *certificate;
    if (!state.older_certificate ||
        state.older_certificate->is(certificate->kind, certificate->data) ||
        is_of_no_use(*state.older_certificate)) {
        if (!is_stored(peer.for_charon.id))
            state.older_certificate.reset();
        return {};
    }
    trial.what = "certificate";
    trial.shown = shown_by(*certificate);
    if (std::ranges::any_of(own_, [&](const keys::RawKey& own) {
            return keys::certifies(state.older_certificate->data, own) &&
                   keys::certifies(certificate->data, own);
        }))
        if (const auto validity = keys::read_validity(state.older_certificate->data))
            trial.unsure_until = validity->until;
    trial.older.auth.remove(CredentialKind::certificate);
    trial.older.auth.add(CredentialKind::certificate, state.older_certificate->data);
    return trial;
}

bool KeyRing::is_replaced(const ike::Authentication& files, State& state) {
    std::vector<ike::Shown> psks, authorities;
    for (const ike::Credential& each : files.credentials)
        if (each.kind == CredentialKind::psk)
            psks.push_back(shown_by(each));
        else if (each.kind == CredentialKind::ca)
            authorities.push_back(shown_by(each));
    const auto has = [](const std::vector<ike::Shown>& all, const ike::Shown& one) {
        return std::ranges::find(all, one) != all.end();
    };
    // Nobody has noted which authority the peer's certificate was of.
    const bool other = std::ranges::any_of(
        state.authorities, [&](const ike::Shown& one) { return !has(authorities, one); });
    // Of two preshared keys, the one that is not in use may go.
    const bool gone = state.shown && has(state.psks, *state.shown)
                          ? !has(psks, *state.shown)
                          : !state.psks.empty() && psks != state.psks;
    state.psks = std::move(psks);
    state.authorities = std::move(authorities);
    return other || gone;
}

void KeyRing::use_chosen(State& state) {
    say(parts_.charon.set_peer(state.next.in_use() ? state.trial->newer : state.trial->older));
}

bool KeyRing::on_event(const channel::PeerEvent& event) {
    using Kind = channel::PeerEventKind;
    if (event.peer >= kMaxPeers)
        return false;
    State& state = states_[event.peer];
    const bool authenticated =
        (event.kind == Kind::up || event.kind == Kind::rekeyed) && !event.shown.empty();
    if (authenticated)
        state.shown = event.shown.front();
    if (!state.trial)
        return false;
    const auto now = NextKey::Clock::now();
    if (event.kind == Kind::auth_failed) {
        const bool up = parts_.engine.session(event.peer).link_up;
        const bool tried = up && state.next.in_use() && !state.next.accepted();
        if (tried)
            log::info("peer {}: does not accept this node's next {} yet: {}",
                      parts_.directory.name(event.peer), state.trial->what, event.text);
        if (state.next.failed(now, up))
            use_chosen(state);
        return tried;
    }
    if (authenticated) {
        const bool before = state.next.accepted();
        if (state.next.succeeded(now, *state.shown == state.trial->shown))
            use_chosen(state);
        const bool sure = state.trial->unsure_until <= keys::unix_now();
        if (state.next.accepted() && !before)
            log::notice(
                "peer {}: accepts this node's next {}{}", parts_.directory.name(event.peer),
                state.trial->what,
                sure ? ""
                     : ", or still knows the one before, which is for the same key and stays "
                       "until it expires");
        if (state.next.accepted() && state.older_certificate && sure && !is_stored(event.peer)) {
            // charon has the newer one only
            state.older_certificate.reset();
            state.trial.reset();
            state.next = {};
        }
    }
    return false;
}

void KeyRing::every_second() {
    for (PeerId id = 0; id < kMaxPeers; id++) {
        State& state = states_[id];
        if (state.trial &&
            state.next.advance(NextKey::Clock::now(), parts_.engine.session(id).link_up))
            use_chosen(state);
        const bool sure =
            state.trial && state.next.accepted() && state.trial->unsure_until <= keys::unix_now();
        if (sure && state.psks.size() == 2)
            parts_.key_sync.retire_psk(id, state.trial->shown);
        if (state.older_certificate && is_stored(id) &&
            (sure || is_of_no_use(*state.older_certificate)))
            parts_.key_sync.retire_certificate(id, shown_by(*state.certificate));
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
    if (state.trial && state.next.accepted() && own == state.trial->shown)
        return true;
    if (std::ranges::find(state.vouched, own) != state.vouched.end())
        // Of a certificate for the next key, only its use shows that the peer accepts it.
        return !state.certificate || own == own_[0] || state.shown == shown_by(*state.certificate);
    return parts_.key_sync.trusts(peer, own) ||
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
