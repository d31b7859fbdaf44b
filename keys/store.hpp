// SPDX-License-Identifier: ISC
// The keys of this node, and those it trusts.
//
//     auto store = keys::Store::open("/var/lib/encsync/keys");
//     auto identities = store->identities(); // [0] signs
//
// The store is a directory, mode 0700, with files of mode 0600 (keys/directory.hpp), all text
// (keys/format.hpp):
//     identity        the Ed25519 key with which this node authenticates
//     identity.next   the next one, while an identity is being rotated
//     node.secret     32 random bytes that stay when the identity changes
//     successions     what each older identity of this node has signed for the next (public)
//     trusted         the keys of others
//     revoked         keys that are never to be trusted again (keys/revocation.hpp)
//     ppk.NAME        the post-quantum preshared keys with that peer (keys/ppk.hpp)
//     psk.NAME        the preshared key of IKE with that peer (keys/psk.hpp)
//     x509.NAME       certificates with that peer (keys/x509.hpp)
//     log             what has been done with all of these (keys/log.hpp)
//     seal            if a passphrase protects the secret files, which are the first three and
//                     the preshared keys
// (keys/seal.hpp). An Unlock opens them; whatever needs no secret needs no passphrase.
// A Store caches nothing: every call reads the files, so a daemon calls again on reload. Each call
// that changes something is atomic and excludes those of other processes; it is in the log before
// it is done, and is not done if the log cannot be written.
//
// Rotating an identity, so that every peer can authenticate this node at every moment:
//     here    rotate_identity()   two keys; the old one still signs
//     there   trust(both)         the peer accepts either
//     here    retire()            the new key signs, the old one is gone
//     there   retire_peer(name)   the peer accepts the new key only
//
// IKEv2 carries and checks the raw public key (RFC 7670, RFC 8420).
#pragma once

#include "keys/backup.hpp"
#include "keys/directory.hpp"
#include "keys/format.hpp"
#include "keys/log.hpp"
#include "keys/peer_files.hpp"
#include "keys/ppk.hpp"
#include "keys/psk.hpp"
#include "keys/revocation.hpp"
#include "keys/secret_files.hpp"
#include "keys/x509.hpp"

#include <functional>
#include <span>

namespace encsync::keys {

class Store {
  public:
    // The directory must exist. It need not contain an identity yet: see init().
    static Result<Store> open(const std::string& directory,
                              std::shared_ptr<Unlock> unlock = nullptr);
    // Creates the directory if it does not exist.
    static Result<Store> create(const std::string& directory,
                                std::shared_ptr<Unlock> unlock = nullptr);

    const std::string& directory() const { return directory_.path(); }

    // Makes the first identity and the node's secret. Refuses if there is an identity.
    Result<void> init(const std::string& name, UnixTime now = unix_now());

    // One, or two while it is being rotated: the one that signs, then the next one. None is an
    // error.
    Result<std::vector<Identity>> identities() const;
    // Likewise, without their secrets.
    Result<std::vector<PublicKey>> own_keys() const;
    // The public file: a block for each identity, and the successions.
    Result<std::string> export_public() const;
    // Of that, the newest identity and its successions. Empty: it is the first one.
    Result<std::string> export_newest() const;

    // Adds a second identity. Refuses if there are two.
    Result<void> rotate_identity(UnixTime now = unix_now());
    // Drops the first of two identities. Refuses if there is only one.
    Result<void> retire(UnixTime now = unix_now());

    // In the order in which they were trusted.
    Result<std::vector<TrustedKey>> trusted() const;
    // Trusts all of the keys or, with an error, none. Keys that are already trusted do not change.
    // Refused: a key of this node, a key that is trusted under another name, this node's own name,
    // a third key for a name. Returns the number of new keys.
    // Whoever has made them: the caller answers for that. Post-quantum preshared keys with the
    // owner of a new key are erased.
    Result<std::size_t> trust(std::span<const PublicKey> keys, UnixTime now = unix_now());
    // Likewise, but if a key of that name is trusted already, new ones must be its successors.
    Result<std::size_t> trust(const PublicFile& file, UnixTime now = unix_now());
    // Whether trust() of the file, or with new_identity of its keys, would be refused now.
    Result<void> may_trust(const PublicFile& file, bool new_identity) const;
    // Drops all keys of that name, preshared ones and certificates, too. Refuses if there are none.
    // Returns how many were dropped, post-quantum ones not counted.
    Result<std::size_t> forget(const std::string& name, UnixTime now = unix_now());
    // Drops the older of a peer's two keys: the one that was trusted first. Refuses if there are
    // not two.
    Result<void> retire_peer(const std::string& name, UnixTime now = unix_now());

    // ---- keys that were stolen -------------------------------------------------------------
    Result<std::vector<Revocation>> revoked() const;
    // Like forget(), but for good: no later call trusts these keys. For a preshared one, nothing
    // prevents that it is imported again.
    Result<std::size_t> revoke(const std::string& name, UnixTime now = unix_now());
    // Likewise one key, which need not be trusted here, as a peer says. False: that was so before.
    // Refuses a key of this node, and one more than kMaxRevoked.
    Result<bool> revoke(const Revocation& revocation, UnixTime now = unix_now());

    // ---- post-quantum preshared keys -------------------------------------------------------
    // An empty ring if there is none.
    Result<PpkRing> ppks(const std::string& peer) const;
    // Of all peers, sorted by name.
    Result<std::vector<PpkRing>> ppks() const;
    // Adds the one that both nodes make in the tunnel, beside the one that it is made of (`base`,
    // none: of nothing); any third one is erased. Not offered, if there was one before. Refused: a
    // peer that is not trusted, a base that is not there, an epoch that is not later, and to take
    // the place of one that was carried and has not been used yet. Without effect if it is there.
    Result<void> mix_ppk(const std::string& peer, const std::optional<PpkId>& base,
                         const PpkMix& mix, UnixTime now = unix_now());
    // Offers that one: the peer has it.
    Result<void> offer_ppk(const std::string& peer, const PpkId& id);
    // Erases all but the one that is offered, which IKE has used with the peer.
    Result<void> settle_ppk(const std::string& peer, UnixTime now = unix_now());
    // Likewise, without a word on whether it was used.
    Result<void> drop_unoffered_ppk(const std::string& peer, UnixTime now = unix_now());
    // Erases all with a peer. Returns how many; refuses if there are none.
    Result<std::size_t> forget_ppk(const std::string& peer, UnixTime now = unix_now());
    // Makes one and returns it as the text to be carried, or takes that text. It is offered if it
    // is the first. Refused if there are two, and a text that is not for this node and a peer that
    // is trusted.
    Result<SecretText> make_carried(const std::string& peer, UnixTime now = unix_now());
    Result<std::string> take_carried(std::string_view text, UnixTime now = unix_now()); // the peer

    // ---- preshared keys of IKE ---------------------------------------------------------------
    Result<std::optional<PskPair>> psks(const std::string& peer) const;
    // Of all peers, sorted by name.
    Result<std::vector<PskPair>> psks() const;
    Result<bool> has_psk(const std::string& peer) const; // needs no secret
    // The first one with the peer, or the next one, in the place of a next one; with `replace`, the
    // only one. Without effect if it is there. Returns how many there are. Refused: what
    // check_preshared() refuses, and one for more than kMaxPsks peers. The peer need not be
    // trusted.
    Result<std::size_t> put_psk(const std::string& peer, Bytes key, bool replace = false,
                                UnixTime now = unix_now());
    // Drops the older one of two. Refuses if there are not two, or if `shown` is not null and not
    // the next one's.
    Result<void> retire_psk(const std::string& peer, const PskId* shown = nullptr,
                            UnixTime now = unix_now());
    // Refuses if there is none. Needs no secret.
    Result<void> forget_psk(const std::string& peer, UnixTime now = unix_now());

    // Empty in a store of an older version, until something changes.
    Result<KeyLog> log() const;
    // In which keys and certificates the store and its log differ, a line for each. Something has
    // written to one of them by another way, or a command was interrupted after it had written the
    // log. Or it is just at it: hold the lock while log and keys are read.
    Result<std::vector<std::string>> differences(const KeyLog& log) const;
    // Until it is destroyed, nobody else changes the store. The first waits for who does just now,
    // the second is empty then.
    Result<Fd> lock() const { return directory_.lock(); }
    Result<Fd> lock_unless_held() const { return directory_.lock_unless_held(); }

    // ---- certificates (X.509) ----------------------------------------------------------------
    Result<std::optional<PeerCertificates>> certificates(const std::string& peer) const;
    // Of all peers, sorted by name.
    Result<std::vector<PeerCertificates>> certificates() const;
    // The first one of that use, or the next one; with `replace`, the only one. Without effect if
    // it is there. Returns how many there are. Refused: what check_certificate() refuses, a third
    // one, and one for more than kMaxCertified peers.
    Result<std::size_t> put_certificate(const std::string& peer, CertificateUse use, Bytes der,
                                        bool replace = false, UnixTime now = unix_now());
    // Drops the older one of two, or the next one. Refuses if there are not two, or if `shown` is
    // not null and not the next one's.
    Result<void> retire_certificate(const std::string& peer, CertificateUse use, bool next = false,
                                    const CertificateId* shown = nullptr,
                                    UnixTime now = unix_now());
    // All of that use. Refuses if there is none.
    Result<void> forget_certificates(const std::string& peer, CertificateUse use,
                                     UnixTime now = unix_now());

    // Whether a passphrase protects the secrets.
    Result<Sealing> sealing() const { return secrets_.sealing(directory_); }
    // Seals the secrets, or finishes that after an interruption, if this is the passphrase that it
    // was begun with. Refuses if all are sealed.
    Result<void> seal(const Passphrase& passphrase, KdfCost cost = kKdfCost,
                      UnixTime now = unix_now());
    // Back to plain files. Refuses if the store is not sealed.
    Result<void> unseal(UnixTime now = unix_now());
    Result<void> change_passphrase(const Passphrase& fresh, KdfCost cost = kKdfCost);

    // All of the store. It needs the secrets.
    Result<Backup> backup(const Passphrase& passphrase, KdfCost cost = kKdfCost,
                          UnixTime now = unix_now()) const;
    // Refuses if there is anything in the directory. With an error or after a crash there is
    // nothing. seal: if not null, the passphrase that protects the secrets from the beginning;
    // else they are plain.
    static Result<Store> restore(const std::string& directory, const Backup& backup,
                                 const Passphrase& passphrase, const Passphrase* seal,
                                 KdfCost cost = kKdfCost, UnixTime now = unix_now());

    // 32 bytes for one purpose, derived from the node's secret. They stay the same on this node,
    // even when its identity changes. Keyed BLAKE2b, as in libsodium's crypto_kdf, but the purpose
    // may have any length.
    Result<std::array<std::uint8_t, 32>> derive(std::string_view purpose) const;
    // This node's creatorid of pfsync(4): derived from the secret, so it never changes. Never 0.
    Result<std::uint32_t> creatorid() const;

  private:
    Store(Directory directory, std::shared_ptr<Unlock> unlock)
        : directory_(std::move(directory)), secrets_(std::move(unlock)) {}
    Result<std::optional<Identity>> read_identity(const char* name) const;
    Result<SecretSeed> node_secret() const;
    Result<std::vector<Succession>> successions() const;
    // The trusted keys with others added, and which of these are new.
    struct Trust {
        std::vector<TrustedKey> all;
        std::vector<PublicKey> fresh;
    };
    Result<Trust> plan_trust(std::span<const PublicKey> keys, UnixTime now) const;
    Result<void> check_successors(const PublicFile& file) const;
    // The caller holds the lock.
    Result<std::size_t> add_trusted(std::span<const PublicKey> keys, bool anew, UnixTime now) const;
    Result<void> save_trusted(const std::vector<TrustedKey>& keys) const;
    Result<std::size_t> drop(const std::string& name, UnixTime now) const;
    Result<std::size_t> add_revoked(const std::vector<Revocation>& fresh, UnixTime now) const;
    Result<LoggedKeys> keys() const;
    // An empty directory, with the content of a backup.
    Result<void> fill(const std::vector<Part>& parts, const Passphrase* seal, KdfCost cost,
                      UnixTime now) const;
    struct Event {
        KeyEvent event{};
        std::string name, fingerprint;
    };
    static std::vector<Event> events_of(KeyEvent event, const std::vector<PublicKey>& keys);
    // That all certificates of that use go.
    static std::vector<Event> gone_of(const PeerCertificates& held, CertificateUse use);
    // Writes the events, then makes the change. The caller holds the lock.
    Result<void> log_and(UnixTime now, const std::vector<Event>& events,
                         const std::function<Result<void>()>& change) const;
    Result<void> log_and(UnixTime now, KeyEvent event, const std::vector<PublicKey>& keys,
                         const std::function<Result<void>()>& change) const;
    // The caller holds the lock.
    Result<void> put_ppks(const PpkRing& before, const PpkRing& ring, UnixTime now) const;
    Result<void> keep_offered(const std::string& peer, bool confirm, UnixTime now) const;
    Result<void> add_carried(const std::string& peer, Ppk ppk, UnixTime now) const;
    Result<void> check_trusted(const std::string& peer) const;
    PeerFiles ppk_files() const;
    PeerFiles psk_files() const;
    PeerFiles certificate_files() const;
    // Writes them, or erases the file if there is none; first, the events. The caller holds the
    // lock.
    Result<void> put_certificates(const PeerCertificates& held, const std::vector<Event>& events,
                                  UnixTime now) const;
    // Each preshared key and certificate. Secrets need not be opened for this. Without effect if
    // there are none.
    Result<void> erase_files_of(const std::string& peer) const;
    // The keys that go, as events; those preshared keys and certificates of the peers' that go with
    // them.
    Result<std::vector<Event>> gone_events(KeyEvent event, const std::vector<PublicKey>& gone,
                                           const std::set<std::string>& peers) const;

    Directory directory_;
    SecretFiles secrets_;
};

} // namespace encsync::keys
