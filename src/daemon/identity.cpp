// SPDX-License-Identifier: ISC
// Who we are and whom we believe: from the key store and the files of the configuration to charon.
#include "daemon/node.hpp"

#include "daemon/translate.hpp"
#include "keys/files.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sodium.h>

namespace encsync::daemon {

namespace {

// The keys that a peer may prove itself with.
std::vector<keys::RawKey> trusted_for(const config::Conn& conn,
                                      const std::vector<keys::TrustedKey>& all) {
    std::vector<keys::RawKey> out;
    if (conn.by_trusted_key())
        for (const keys::TrustedKey& key : all)
            if (key.name == conn.rightid)
                out.push_back(key.key);
    return out;
}

} // namespace

Result<Node::Keys> Node::read_keys(const std::vector<config::Conn>& conns) const {
    // By its path: the directory may have been replaced by a restored one.
    auto store = keys::Store::open(config_.setup.keydir);
    if (!store)
        return store.error();
    auto identities = store->identities();
    if (!identities)
        return identities.error();
    if (identities->front().name != config_.setup.node)
        return Error{fmt::format("the identity in {} is that of '{}', but this node is '{}'",
                                 store->directory(), identities->front().name, config_.setup.node)};
    auto trusted = store->trusted();
    if (!trusted)
        return trusted.error();
    Keys keys{std::move(*store), std::move(*identities), std::move(*trusted), {}};
    for (const config::Conn& conn : conns) {
        if (conn.name.empty())
            continue;
        auto files = read_files(conn);
        if (!files)
            return Error{fmt::format("conn {}: {}", conn.name, files.error().text)};
        keys.files.emplace(conn.name, std::move(*files));
    }
    return keys;
}

Node::Told::~Told() {
    for (channel::Message& message : messages)
        channel::wipe(message);
}

channel::Peer Node::charon_peer(PeerId id, const config::Conn& conn, const Keys& keys) const {
    channel::Peer peer;
    static_cast<ike::Peer&>(peer) = conn;
    peer.id = id;
    peer.left = {conn.left.ip, config_.setup.ikeport};
    peer.right = {conn.right.ip, config_.setup.ikeport};
    peer.natport = config_.setup.natport;
    peer.inner_left = conn.left.ip;
    peer.inner_right = conn.right.ip;
    peer.transport_mode = conn.type == config::Type::transport;
    peer.initiate = conn.startup == config::Auto::start;
    peer.auth = keys.files.at(conn.name);
    for (const keys::RawKey& key : trusted_for(conn, keys.trusted))
        peer.auth.add(ike::CredentialKind::trusted, key);
    return peer;
}

Result<Node::Told> Node::prepare_charon(const Keys& keys,
                                        const std::vector<config::Conn>& conns) const {
    Told told;
    told.messages.reserve(1 + conns.size()); // no copy of a secret is left behind
    channel::Identity identity{config_.setup.node, {}};
    identity.seeds.reserve(keys.identities.size());
    for (const keys::Identity& mine : keys.identities) {
        channel::Ed25519Seed& seed = identity.seeds.emplace_back();
        std::ranges::copy(mine.seed.bytes(), seed.begin());
    }
    told.messages.emplace_back(std::move(identity));
    for (PeerId id = 0; id < conns.size(); id++)
        if (!conns[id].name.empty())
            told.messages.emplace_back(charon_peer(id, conns[id], keys));
    for (const channel::Message& message : told.messages) {
        auto encoded = channel::encode(message);
        if (!encoded) {
            const auto* peer = std::get_if<channel::Peer>(&message);
            return Error{fmt::format("{}: {}", peer ? "conn " + peer->name : "identity",
                                     encoded.error().text)};
        }
        channel::wipe(*encoded);
    }
    return told;
}

// What charon is told has been found good before.
void Node::take_keys(Keys keys, Told told) {
    store_ = std::move(keys.store);
    own_keys_.clear();
    for (const keys::Identity& mine : keys.identities)
        own_keys_.push_back(mine.key);
    const auto say = [](const Result<void>& done) {
        if (!done)
            log::error("charon was not told: {}", done.error().text);
    };
    for (channel::Message& message : told.messages) {
        if (auto* identity = std::get_if<channel::Identity>(&message)) {
            say(charon_->set_identity(std::move(*identity)));
            continue;
        }
        auto& peer = std::get<channel::Peer>(message);
        const PeerId id = peer.id;
        PeerLife& life = lives_[id];
        const ike::Authentication& files = keys.files.at(peer.name);
        const bool nobody = !peer.auth.admits();
        if (nobody) {
            life.last_error = fmt::format(
                "no key of '{}' is trusted; bring its public key and run encsync keys trust",
                peer.rightid);
            log::warning("peer {}: {}", peer.name, life.last_error);
        }
        life.vouched.clear();
        for (const keys::Identity& mine : keys.identities)
            if (vouches(files, mine.key))
                life.vouched.push_back(mine.key);
        std::vector<sync::KeyPrint> trusted;
        std::ranges::transform(trusted_for(config_.conns[id], keys.trusted),
                               std::back_inserter(trusted), keys::key_print);
        turn();
        engine_->set_trusted(id, std::move(trusted));
        if (files.count(ike::CredentialKind::certificate) != 0 && life.vouched.empty()) {
            life.last_error = fmt::format("{} is not for this node's key; certify the one that "
                                          "encsync keys export --pem prints",
                                          config_.conns[id].file(ike::CredentialKind::certificate));
            log::warning("peer {}: {}", peer.name, life.last_error);
        }
        const bool withdrawn = life.key && !peer.auth.has(ike::CredentialKind::trusted, *life.key);
        const FilesDigest now = digest(files);
        const bool replaced = life.files && *life.files != now;
        life.files = now;
        if ((withdrawn || replaced) && engine_->session(id).link_up)
            log::notice("peer {}: cut off, as {} is no longer trusted; it may come back with "
                        "another",
                        peer.name,
                        withdrawn
                            ? "the key it proved itself with, " + keys::fingerprint(*life.key) + ","
                            : "what it proved itself with");
        // Whom nobody vouches for is cut off here and now; charon may take its time to hear of it.
        if (withdrawn || replaced || nobody)
            link_->drop_sas(id);
        if (replaced)
            charon_->remove_peer(id);
        say(charon_->set_peer(std::move(peer)));
    }
}

Result<void> Node::reload_keys() {
    auto keys = read_keys(config_.conns);
    if (!keys)
        return keys.error();
    auto told = prepare_charon(*keys, config_.conns);
    if (!told)
        return told.error();
    take_keys(std::move(*keys), std::move(*told));
    return {};
}

} // namespace encsync::daemon
