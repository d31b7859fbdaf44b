// SPDX-License-Identifier: ISC
// Our identities and the trusted keys: from the key store and the files of the configuration to
// charon, the engine and the tunnel.
//
//     auto update = keys.read(directory);     // the error says what is wrong; nothing has changed
//     keys.take(std::move(*update));
#pragma once

#include "daemon/credentials.hpp"
#include "daemon/next_key.hpp"
#include "daemon/peers.hpp"
#include "ipsec/plugin/supervisor.hpp"
#include "keys/store.hpp"
#include "keysync/key_sync.hpp"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace encsync::daemon {

class KeyRing {
  public:
    // All outlive it.
    struct Parts {
        const config::Setup& setup;
        const Directory& directory;
        sync::Engine& engine;
        link::Links& link;
        supervisor::Supervisor& charon;
        Peers& peers;
        Turns& turns;
        keysync::KeySync& key_sync;
        std::shared_ptr<keys::Unlock> unlock;
    };
    explicit KeyRing(const Parts& parts) : parts_(parts) {}

    // What was read for one peer.
    struct ForPeer {
        channel::Peer for_charon;
        std::vector<keys::RawKey> trusted;
        std::vector<keys::RawKey> vouched; // keys of ours that the peer need not trust
        std::optional<ike::Credential> older_certificate{}; // of ours in the store
        keysync::OwnPpks ppks{};
        bool in_step = false; // it is an encsync node, and its keys are in the store
    };
    struct Update {
        channel::Identity identity;
        keysync::Own own;
        std::vector<ForPeer> peers;
        std::string log_end; // the hash of the key log's last event; empty: there is none
        std::string suspect; // what is wrong with that log
        std::vector<Dated> certificates;
    };
    // Reads everything about these peers. An error if charon would refuse any of it.
    Result<Update> read(const Directory& directory) const;
    // For the current peers. A peer is cut off if what it has proved itself with is no longer
    // trusted.
    void take(Update update);
    Result<void> reload();

    void forget(PeerId peer);

    // From charon. True: it belongs to a try of the next key, and is no error of the peer.
    bool on_event(const channel::PeerEvent& event);
    // Tries the next key with peers that never say which they trust.
    void every_second();

    // Logs what begins to be too old.
    void look_at_ages(keys::UnixTime now);
    // A sentence for each certificate that expires soon or has expired, and for an identity that is
    // overdue.
    const std::vector<std::string>& ages() const { return ages_; }

    // Of the identity that signs first.
    keys::UnixTime created() const { return created_; }
    const std::vector<Dated>& certificates() const { return certificates_; }

    keysync::PpkPhase ppk_phase(PeerId peer) const { return parts_.key_sync.ppk_phase(peer); }
    // Whether charon refuses the peer without one.
    bool requires_ppk(PeerId peer) const { return states_[peer].requires_ppk; }
    // False: the peer takes no part in that, or is not up.
    bool rotate_ppk(PeerId peer) { return parts_.key_sync.rotate_ppk(peer); }

    bool accepts(PeerId peer, const keys::RawKey& own) const;
    // Fingerprints of this node's keys that the peer is known to accept.
    std::vector<std::string> accepted(PeerId peer) const;

  private:
    // A peer with which we authenticate by something new, of which only a try shows that the peer
    // accepts it.
    struct Trial {
        std::string_view what;      // "key", "preshared key", "certificate"
        ike::Shown shown;           // with the next one
        channel::Peer older, newer; // for charon
        // Until then a success is no proof, as the two certificates are for the same key: the peer
        // may have gone by the older one, which it still knows. So that one is kept.
        keys::UnixTime unsure_until = 0;
        bool operator==(const Trial& other) const {
            return what == other.what && shown == other.shown;
        }
    };
    struct State {
        std::vector<ike::Shown> psks, authorities; // that admit the peer
        std::optional<ike::Shown> shown;           // what last authenticated us
        // The one before that charon has or tries: of the store, or of the file as it was read
        // before.
        std::optional<ike::Credential> certificate, older_certificate;
        std::vector<keys::RawKey> vouched;
        bool requires_ppk = false;
        std::optional<Trial> trial;
        NextKey next;
    };

    channel::Peer for_charon(PeerId peer, const config::Conn& conn) const;
    static Result<void> add_ppks(const keys::Store& store, const config::Conn& conn, ForPeer& peer);
    void take(ForPeer peer);
    // Whether only a try shows that the peer accepts the next key.
    bool must_try(const ForPeer& peer) const;
    // Whether charon needs the next key for this peer.
    bool needs_next(const ForPeer& peer) const;
    // Whether it is for an identity that is gone.
    bool is_of_no_use(const ike::Credential& certificate) const;
    // Whether the key store has our certificates for the peer.
    bool is_stored(PeerId peer) const;
    std::string certificate_name(PeerId peer) const; // as of Dated
    std::optional<Trial> trial_with(const ForPeer& peer, State& state) const;
    // Whether what the peer has proved itself with is gone from its files.
    static bool is_replaced(const ike::Authentication& files, State& state);
    void use_chosen(State& state);

    const Parts parts_;
    std::vector<keys::RawKey> own_; // the one that signs first
    keys::UnixTime created_ = 0;    // that one
    std::vector<Dated> certificates_;
    std::vector<std::string> ages_;
    std::array<State, kMaxPeers> states_;
};

} // namespace encsync::daemon
