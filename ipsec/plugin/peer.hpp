// SPDX-License-Identifier: ISC
// A peer as IKE needs to know it: declared once for the configuration, the channel to charon and
// the plugin. config::Conn and channel::Peer both derive from ike::Peer and have the same members.
//
//     channel::Peer peer;
//     static_cast<ike::Peer&>(peer) = conn;
//     peer.auth.add(ike::CredentialKind::trusted, key);
//
// A new way to authenticate is one more kind of credential here. It also needs the option in
// config/options.cpp, its use by charon in strongswan/encsync_auth.c (its number is in core.h),
// and, if the form of its file is new, its reader in daemon/credentials.cpp. The channel carries
// every kind.
#pragma once

#include "util/bytes.hpp"
#include "util/wiped.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace encsync::ike {

using Ed25519Public = std::array<std::uint8_t, 32>;
// What a node authenticates itself with, as it is told to this node only: its raw public key, or
// the SHA-256 of its certificate (DER) or of the preshared key.
using Shown = std::array<std::uint8_t, 32>;

// Of post-quantum preshared keys (RFC 8784). charon knows whether they are required, and no more.
enum class PpkUse { automatic, optional, required, no };

// Used by charon only: existing SAs may stay when one of these changes. Members are options of the
// same name.
struct Terms {
    std::string ike, esp; // proposals, strongSwan's notation
    std::chrono::seconds ikelifetime{}, lifetime{}, margintime{};
    std::chrono::seconds dpddelay{}, dpdtimeout{};
    PpkUse ppk = PpkUse::no;
    bool operator==(const Terms&) const = default;
};

struct Peer : Terms {
    std::string name;            // of the conn
    std::string leftid, rightid; // IKE ids of the type FQDN: ours towards the peer, the peer's
    bool operator==(const Peer&) const = default;
};

enum class CredentialKind : std::uint8_t { trusted = 1, psk, certificate, ca, ppk };

// The format of a credential in a file (keys/files.hpp).
enum class FileForm { none, preshared, certificate };

struct CredentialTraits {
    CredentialKind kind;
    std::string_view field; // its name in the channel's errors
    std::string_view title; // for messages to the user
    std::size_t min, max;   // bytes of one
    std::size_t most;       // for one peer
    bool admits;            // authenticates the peer; else only this node
    bool secret;            // destroyed as soon as it is not needed
    FileForm form;
};
inline constexpr std::array kCredentials = {
    CredentialTraits{CredentialKind::trusted, "peer.trusted", "trusted raw public key", 32, 32, 8,
                     true, false, FileForm::none},
    // The first one authenticates us where we begin, any of them the peer.
    CredentialTraits{CredentialKind::psk, "peer.psk", "preshared key", 1, 1024, 2, true, true,
                     FileForm::preshared},
    // X.509, DER: our certificate towards the peer, and the authorities of which one issues the
    // peer's.
    CredentialTraits{CredentialKind::certificate, "peer.certificate", "certificate", 1, 16384, 1,
                     false, false, FileForm::certificate},
    CredentialTraits{CredentialKind::ca, "peer.ca", "authority's certificate", 1, 16384, 2, true,
                     false, FileForm::certificate},
    // Its id (16 bytes) and the secret (32). We offer the first one, and accept all.
    CredentialTraits{CredentialKind::ppk, "peer.ppk", "post-quantum preshared key", 48, 48, 2,
                     false, true, FileForm::none},
};
inline constexpr std::size_t kPpkId = 16; // bytes of an id
inline constexpr CredentialKind kLastCredential = kCredentials.back().kind;

constexpr std::size_t index_of(CredentialKind kind) {
    return static_cast<std::size_t>(kind) - 1;
}
constexpr const CredentialTraits& traits(CredentialKind kind) {
    return kCredentials[index_of(kind)];
}
static_assert([] {
    for (std::size_t n = 0; n < kCredentials.size(); n++)
        if (index_of(kCredentials[n].kind) != n)
            return false;
    return true;
}());

struct Credential {
    CredentialKind kind = CredentialKind::trusted;
    WipedBytes data;

    Credential() = default;
    Credential(CredentialKind of, Bytes bytes) : kind(of), data(bytes.begin(), bytes.end()) {}
    bool is(CredentialKind of, Bytes bytes) const {
        return kind == of && std::ranges::equal(data, bytes);
    }
};

// All credentials with which a peer and this node may authenticate to each other. A peer without
// one that admits it is refused.
struct Authentication {
    std::vector<Credential> credentials;

    void add(CredentialKind kind, Bytes data) { credentials.emplace_back(kind, data); }
    void remove(CredentialKind kind) {
        std::erase_if(credentials, [kind](const Credential& c) { return c.kind == kind; });
    }
    void remove_secrets() {
        std::erase_if(credentials, [](const Credential& c) { return traits(c.kind).secret; });
    }
    const Credential* find(CredentialKind kind) const {
        const auto found = std::ranges::find(credentials, kind, &Credential::kind);
        return found == credentials.end() ? nullptr : &*found;
    }
    std::size_t count(CredentialKind kind) const {
        return static_cast<std::size_t>(std::ranges::count(credentials, kind, &Credential::kind));
    }
    bool has(CredentialKind kind, Bytes data) const {
        return std::ranges::any_of(credentials, [&](const auto& c) { return c.is(kind, data); });
    }
    bool admits() const {
        return std::ranges::any_of(credentials,
                                   [](const Credential& c) { return traits(c.kind).admits; });
    }
};

} // namespace encsync::ike
