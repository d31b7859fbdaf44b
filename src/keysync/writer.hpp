// SPDX-License-Identifier: ISC
// What peers and the schedule may change in the key store, as requests. The store checks each of
// them again: it trusts nobody's word for a signature.
#pragma once

#include <functional>
#include <string>

namespace encsync::keysync {

struct Request {
    enum class Kind : char {
        trust = 't',       // a public file with successions; refused without one that leads to it
        revoke = 'v',      // a text of keys/revocation.hpp
        rotate = 'n',      // make the next identity
        retire = 'r',      // drop the older identity
        retire_peer = 'p', // drop the older of the two keys of a name
        // Of preshared keys: ppk_request.hpp, and of settle_ppk the peer's name.
        mix_ppk = 'x',    // make the next one
        offer_ppk = 'o',  // offer that one in IKE
        settle_ppk = 's', // erase all but that
        // Of IKE's preshared keys, or of our certificates for a peer: drop the older one. Peer,
        // blank, SHA-256 of the next one in hex.
        retire_psk = 'k',
        retire_certificate = 'c',
    };
    Kind kind{};
    std::string text;
    bool operator==(const Request&) const = default;
};

class Writer {
  public:
    virtual ~Writer() = default;
    // Calls back once, not from within this call, with what went wrong; empty: nothing. One at a
    // time.
    virtual void ask(const Request& request, std::function<void(const std::string&)> done) = 0;
};

} // namespace encsync::keysync
