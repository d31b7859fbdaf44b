// SPDX-License-Identifier: ISC
// Pairing: two nodes that know nothing of each other exchange their public files over a connection
// that anybody may have in his hands, and two people compare a short code (docs/keys.md).
//
//     Pairing pairing(Pairing::Role::connector, *store.export_public(), "minnie", check);
//     send(pairing.take());
//     if (auto ok = pairing.receive(bytes); !ok)      // as they come, in pieces of any size
//         send(pairing.take()), give_up(ok.error());  // the peer is told
//     if (pairing.code()) ...                         // show it, ask
//     pairing.confirm(identity);                      // "yes"; else decline()
//     if (const PublicFile* file = pairing.agreed())
//         store.trust(*file);
//
// Does no I/O and reads no clock. Each message, in this order:
//     commit    BLAKE2b-256 over role, nonce (32 random bytes) and public file     both, at once
//     reveal    nonce and public file; first the connector's, then the listener's
//     confirm   a signature over all of that, by the key in the file, after the person's "yes"
//     refusal   instead of any of them: why this side goes no further
// The code is a hash over both files and both nonces. Whoever is in the middle has a pairing with
// each side, and needs one code in both. But each side's nonce is revealed only to somebody who is
// committed to another one and to a file, and cannot choose either any more. So one try succeeds
// once in 10^8 times, whatever can be computed. And no try is free: see opened().
#pragma once

#include "keys/format.hpp"
#include "util/bytes.hpp"
#include "util/result.hpp"

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace encsync::keys {

class Pairing {
  public:
    // In every hash and signature: nothing of one side is valid as if it were the other's.
    enum class Role : std::uint8_t { connector = 1, listener = 2 };
    // On the wire. The peer learns only this; what exactly was wrong is the error of receive().
    enum class Refusal : std::uint8_t {
        message = 1, // one that is malformed, out of turn, or does not match the earlier ones
        version,     // of the pairing
        name,        // another than the conn expects
        key,         // the key cannot be trusted here: another one is, for example
        declined,    // the person did not say "yes"
    };
    using Nonce = std::array<std::uint8_t, 32>;
    // Whether the keys could be trusted here, before anybody is asked.
    using Check = std::function<Result<void>(const PublicFile&)>;

    static constexpr std::uint8_t kVersion = 1;
    static constexpr std::size_t kHeader = 10; // bytes: magic (6), version, kind, size (2)
    static constexpr std::size_t kCommitment = 32, kSignature = 64;

    // own: this node's public file. peer: the name that its keys must have. A nonce is never used
    // twice; only tests choose one.
    Pairing(Role role, std::string own, std::string peer, Check check,
            const Nonce& nonce = fresh());

    // What is to be sent now; empties it.
    std::vector<std::uint8_t> take() { return std::exchange(out_, {}); }

    // With an error the pairing is over. The error begins with "it" (or, for what the peer has
    // refused, with its name): the other end.
    Result<void> receive(Bytes bytes);

    // Whether the other end has learned the code, or this one could. Before that a failed
    // connection is nothing, and another may follow. From here on it was a try, and whoever could
    // repeat it unseen would hit the code in time: it must end with a message to the person.
    bool opened() const { return revealed_ || peer_; }

    // "1234 5678", once both have revealed; then the peer's file is there, too.
    const std::optional<std::string>& code() const { return code_; }
    const PublicFile* peer() const { return peer_ ? &*peer_ : nullptr; }

    // The person's answer, once there is a code. The identity is the first one in the own file.
    void confirm(const Identity& identity);
    void decline();

    // The peer's file, once both people have said yes.
    const PublicFile* agreed() const { return said_yes_ && confirmed_ ? peer() : nullptr; }

  private:
    enum class Kind : std::uint8_t { commit = 1, reveal, confirm, refusal };

    static Nonce fresh();
    void send(Kind kind, Bytes body);
    void reveal();
    Error refuse(Refusal refusal, std::string text);
    static Result<void> check_size(Kind kind, std::size_t size);
    Result<void> take_message(Kind kind, Bytes body);
    Result<void> take_commit(Bytes body);
    Result<void> take_reveal(Bytes body);
    Result<void> take_confirm(Bytes body);
    Error take_refusal(std::uint8_t refusal) const;
    Role other() const;
    std::string consent(Role role) const; // what a confirmation signs

    Role role_;
    std::string own_, name_; // the own public file, the peer's name
    Check check_;
    Nonce nonce_;
    std::vector<std::uint8_t> in_, out_;
    std::optional<std::array<std::uint8_t, kCommitment>> committed_; // the peer
    std::array<std::uint8_t, 32> transcript_{};
    std::optional<PublicFile> peer_;
    std::optional<std::string> code_;
    bool revealed_ = false, confirmed_ = false, said_yes_ = false, over_ = false;
};

} // namespace encsync::keys
