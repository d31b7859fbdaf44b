// SPDX-License-Identifier: ISC
// Keys: who this node is, and whom it trusts.
//
//     auto store = keys::Store::open("/var/lib/encsync/keys");
//     auto identities = store->identities(); // [0] signs
//
// The store is a directory, mode 0700, with files of mode 0600 (keys/directory.hpp), all text
// (keys/format.hpp):
//     identity        the Ed25519 key that this node proves itself with
//     identity.next   the coming one, while an identity is being rotated
//     node.secret     32 random bytes that outlive every identity
//     trusted         the keys of others
// A Store keeps nothing of them in memory: every call reads what is on disk now, so a daemon
// that is told to reload calls again. Calls that change something are atomic, one by one, and
// exclude those of other processes.
//
// Rotating an identity, so that every peer can prove whom it talks to at every moment:
//     here    rotate_identity()   two keys; the old one goes on signing
//     there   trust(both)         the peer accepts either
//     here    retire()            the new key signs, the old one is gone
//     there   retire_peer(name)   the peer accepts the new key only
//
// The raw public key is what IKEv2 carries and checks (RFC 7670, RFC 8420).
#pragma once

#include "keys/directory.hpp"
#include "keys/format.hpp"

#include <span>

namespace encsync::keys {

class Store {
  public:
    // The directory must be there. It may still be without an identity: see init().
    static Result<Store> open(const std::string& directory);
    // Makes the directory if need be.
    static Result<Store> create(const std::string& directory);

    const std::string& directory() const { return directory_.path(); }

    // Makes the first identity and the node's secret. Refuses if there is an identity.
    Result<void> init(const std::string& name, UnixTime now = unix_now());

    // One, or two while it is being rotated: the one that signs, then the coming one. None is an
    // error.
    Result<std::vector<Identity>> identities() const;
    // The public file: a block for each identity.
    Result<std::string> export_public() const;

    // Adds a second identity. Refuses if there are two.
    Result<void> rotate_identity(UnixTime now = unix_now());
    // Drops the first of two identities. Refuses if there is but one.
    Result<void> retire();

    // In the order in which they were trusted.
    Result<std::vector<TrustedKey>> trusted() const;
    // Trusts all of the keys or, with an error, none. Keys that are trusted already stay as they
    // are. Refused: a key of this node or one that is trusted under another name, this node's
    // own name, a third key for a name. Returns how many are new.
    Result<std::size_t> trust(std::span<const PublicKey> keys, UnixTime now = unix_now());
    // Drops all keys of that name. Refuses if there are none. Returns how many there were.
    Result<std::size_t> forget(const std::string& name);
    // Drops the older of a peer's two keys: the one that was trusted first. Refuses if there are
    // not two.
    Result<void> retire_peer(const std::string& name);

    // 32 bytes for one purpose, from the node's secret: the same for ever on this node, also
    // when its identity changes. Keyed BLAKE2b, as in libsodium's crypto_kdf, but the purpose
    // may have any length.
    Result<std::array<std::uint8_t, 32>> derive(std::string_view purpose) const;
    // This node's creatorid of pfsync(4): derived, so equally stable. Never 0.
    Result<std::uint32_t> creatorid() const;

  private:
    explicit Store(Directory directory) : directory_(std::move(directory)) {}
    Result<std::optional<Identity>> read_identity(const char* name) const;
    Result<SecretSeed> node_secret() const;
    Result<void> save_trusted(const std::vector<TrustedKey>& keys) const;

    Directory directory_;
};

} // namespace encsync::keys
