// SPDX-License-Identifier: ISC
// Keeps the keys of nodes in step, inside the tunnel. No I/O and no clock.
//
//     KeySync keys(link, &writer, hooks, rotate);
//     keys.set(peer, {"minnie", trusted});    // and, at each change of the store,
//     keys.set_own(own);
//     keys.on_up(peer);
//     keys.on_packet(peer, payload);
//     keys.advance(now, wall);                // each second, and after Hooks::wake
//
// Each node tells its peers which keys it has, which of theirs it trusts, and which are revoked
// (KEYS), and sends what a peer lacks until that peer's KEYS show that it has it. So nothing needs
// an acknowledgement of its own, and a peer that was away catches up when it is back.
//
// Rotation of an identity. The store is the only memory, so a crash at any point loses nothing:
//     1. This node has a next identity beside the one that signs. It sends its newest one, signed
//        by both, to every peer that does not trust it yet.
//     2. The peer trusts it beside the older one, and says so.
//     3. When every peer trusts it, this node drops the older one, and authenticates anew.
//     4. A peer that has seen this node prove itself with the newer key, and that it has no other,
//        drops the older one.
// A peer that is away delays the third step until it is back.
//
// Revocation: who has a key revoked says so, and sends it; who receives it revokes the key, too,
// and passes it on. A peer is believed in this, but it cannot make a key trusted that the older one
// has not signed, and only one of its own name.
#pragma once

#include "keys/psk.hpp"
#include "keys/x509.hpp"
#include "keysync/messages.hpp"
#include "keysync/ppk_sync.hpp"
#include "keysync/writer.hpp"
#include "sync/link.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <optional>

namespace encsync::keysync {

struct Own {
    std::string name;
    std::vector<keys::RawKey> keys; // the one that signs, then the next one
    std::string newest; // the last one of these and its succession, as text; empty: the first one
    keys::UnixTime created = 0; // of the one that signs
    std::vector<keys::Revocation> revoked;
};

struct Other {
    std::string name;                  // its IKE id
    std::vector<keys::RawKey> trusted; // the older one first; none: it takes no part
    OwnPpks ppks{};                    // with it
};

// What KeySync asks of the daemon.
struct Hooks {
    // The peer is known to accept this key of ours, by whatever way.
    std::function<bool(PeerId, const keys::RawKey&)> accepts;
    // The key with which the peer has authenticated itself last.
    std::function<std::optional<keys::RawKey>(PeerId)> proved;
    // The store has changed: it is to be read, and set() and set_own() to be called.
    std::function<void()> changed;
    // Something was refused.
    std::function<void(const std::string&)> refused;
    // Of preshared keys: which one the peer's IKE_SA uses, and to authenticate anew.
    std::function<std::optional<keys::PpkId>(PeerId)> ppk_in_use{};
    std::function<void(PeerId)> authenticate{};
    // There may be something to do at once: advance() is to be called soon, but not from within
    // this call. Without it, the next second is soon enough.
    std::function<void()> wake{};
};

class KeySync {
  public:
    // Without a writer nothing is sent, taken or retired. `rotate`: the age at which the next
    // identity is made; 0: never.
    KeySync(sync::Link& link, Writer* writer, Hooks hooks, std::chrono::seconds rotate);

    void set_own(Own own);
    // A peer that is known, or whose keys have changed.
    void set(PeerId peer, Other other);
    void forget(PeerId peer);

    void on_up(PeerId peer);
    void on_down(PeerId peer);
    void on_packet(PeerId peer, Bytes payload);
    void advance(Instant now, keys::UnixTime wall);

    // The peer has said that it trusts this key of ours.
    bool trusts(PeerId peer, const keys::RawKey& own) const;

    // The peer has shown its next preshared key of IKE, or accepted our next certificate: the store
    // drops the older one.
    void retire_psk(PeerId peer, const keys::PskId& shown);
    void retire_certificate(PeerId peer, const keys::CertificateId& shown);

    // Makes the next post-quantum preshared key with a peer. False: it takes no part, or is not up.
    bool rotate_ppk(PeerId peer);
    PpkPhase ppk_phase(PeerId peer) const { return ppks_.phase(peer); }

  private:
    // Of two; the hash is that of the newer one.
    void retire_older(Request::Kind kind, PeerId peer, const std::array<std::uint8_t, 32>& shown);

    struct Peer {
        bool known = false, up = false;
        Other other;
        std::optional<KeyState> heard;
        // What has changed is said at once, and again after twice as long each time.
        Instant state_due{}, text_due{};
        std::chrono::seconds state_pause{1}, text_pause{1};
        // Texts that were read since then: checking a signature takes its time.
        Instant counted_since{};
        unsigned texts = 0;
    };

    bool reads_one_more(Peer& peer) const;
    void take(PeerId peer, const std::string& text);
    void take_public(PeerId peer, const std::string& text);
    void take_revocations(PeerId peer, const std::string& text);
    void send_state(Peer& peer, PeerId id);
    void send_texts(Peer& peer, PeerId id);
    void send_ppk(PeerId id);
    void say_at_once(Peer& peer) const;
    void wake() const;
    bool all_accept_next() const;
    void decide(keys::UnixTime wall);
    // done: may be null; called with whether it was done.
    void ask(Request request, std::function<void(bool)> done = nullptr);
    void ask_next();
    void refuse(PeerId peer, const std::string& why);

    sync::Link& link_;
    Writer* writer_;
    const Hooks hooks_;
    const std::chrono::seconds rotate_;
    Own own_;
    keys::RevokedDigest revoked_ = keys::digest({});
    std::array<Peer, kMaxPeers> peers_;
    struct Waiting {
        Request request;
        std::function<void(bool)> done;
    };
    PpkSync ppks_;
    std::deque<Waiting> requests_;            // that wait, behind
    std::vector<keys::Revocation> to_revoke_; // these, which are one request
    bool under_way_ = false;                  // a request is
    Instant now_{};
    Instant not_before_{}; // the next attempt at what has failed here
};

} // namespace encsync::keysync
