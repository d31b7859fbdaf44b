// SPDX-License-Identifier: ISC
// Who we are and whom we believe: from the key store and the files of the configuration to charon.
#include "daemon/node.hpp"

#include "daemon/translate.hpp"
#include "keys/files.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sodium.h>

namespace encsync::daemon {

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
        auto proof = Proof::read(conn);
        if (!proof)
            return Error{fmt::format("conn {}: {}", conn.name, proof.error().text)};
        keys.proofs.emplace(conn.name, std::move(*proof));
    }
    return keys;
}

Node::Told::~Told() {
    for (channel::Message& message : messages)
        channel::wipe(message);
}

channel::Peer Node::charon_peer(PeerId id, const config::Conn& conn, const Keys& keys) const {
    const auto seconds = [](std::chrono::seconds span) {
        return static_cast<std::uint32_t>(span.count());
    };
    channel::Peer peer;
    peer.id = id;
    peer.name = conn.name;
    peer.left_id = conn.leftid;
    peer.right_id = conn.rightid;
    peer.left = {conn.left.ip, config_.setup.ikeport};
    peer.right = {conn.right.ip, config_.setup.ikeport};
    peer.natport = config_.setup.natport;
    peer.inner_left = conn.left.ip;
    peer.inner_right = conn.right.ip;
    peer.ike = conn.ike;
    peer.esp = conn.esp;
    peer.ikelifetime = seconds(conn.ikelifetime);
    peer.lifetime = seconds(conn.lifetime);
    peer.margintime = seconds(conn.margintime);
    peer.dpddelay = seconds(conn.dpddelay);
    peer.transport_mode = conn.type == config::Type::transport;
    peer.dpdtimeout = seconds(conn.dpdtimeout);
    peer.initiate = conn.startup == config::Auto::start;
    const Proof& proof = keys.proofs.at(conn.name);
    peer.psk = proof.psk;
    peer.certificate = proof.certificate;
    peer.ca = proof.ca;
    // One way to prove itself, not a choice of them.
    if (peer.psk.empty() && peer.ca.empty())
        for (const keys::TrustedKey& key : keys.trusted)
            if (key.name == conn.rightid)
                peer.trusted.push_back(key.key);
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
        const bool nobody = peer.trusted.empty() && peer.psk.empty() && peer.ca.empty();
        if (nobody) {
            life.last_error = fmt::format(
                "no key of '{}' is trusted; bring its public key and run encsync keys trust",
                peer.right_id);
            log::warning("peer {}: {}", peer.name, life.last_error);
        }
        const auto is_for = [&peer](const keys::Identity& mine) {
            return keys::certifies(peer.certificate, mine.key);
        };
        // A peer with a preshared key asks for no other; one that takes certificates takes the key
        // that ours is for.
        life.vouched.clear();
        for (const keys::Identity& mine : keys.identities)
            if (!peer.psk.empty() || (!peer.certificate.empty() && is_for(mine)))
                life.vouched.push_back(mine.key);
        std::vector<sync::KeyPrint> trusted;
        for (const auto& key : peer.trusted)
            trusted.push_back(keys::key_print(key));
        turn();
        engine_->set_trusted(id, std::move(trusted));
        if (!peer.certificate.empty() && life.vouched.empty()) {
            life.last_error = fmt::format("{} is not for this node's key; certify the one that "
                                          "encsync keys export --pem prints",
                                          config_.conns[id].leftcert);
            log::warning("peer {}: {}", peer.name, life.last_error);
        }
        const bool withdrawn =
            life.key && std::ranges::find(peer.trusted, *life.key) == peer.trusted.end();
        const Proof::Digest proof = keys.proofs.at(peer.name).digest();
        const bool replaced = life.proof && *life.proof != proof;
        life.proof = proof;
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
