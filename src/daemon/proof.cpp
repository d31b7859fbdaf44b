// SPDX-License-Identifier: ISC
#include "daemon/proof.hpp"

#include "keys/files.hpp"

#include <sodium.h>

namespace encsync::daemon {

Result<Proof> Proof::read(const config::Conn& conn) {
    Proof proof;
    if (conn.authby == config::Authby::psk) {
        auto psk = keys::read_preshared(conn.secretfile);
        if (!psk)
            return psk.error();
        proof.psk = std::move(*psk);
    }
    const std::pair<const std::string&, std::vector<std::uint8_t>&> files[] = {
        {conn.leftcert, proof.certificate}, {conn.rightca, proof.ca}};
    for (const auto& [path, der] : files) {
        if (path.empty())
            continue;
        auto certificate = keys::read_certificate(path);
        if (!certificate)
            return certificate.error();
        der = std::move(*certificate);
    }
    return proof;
}

Proof::~Proof() {
    sodium_memzero(psk.data(), psk.size());
}

Proof::Digest Proof::digest() const {
    Digest digest{};
    crypto_generichash_state state;
    crypto_generichash_init(&state, nullptr, 0, digest.size());
    const auto add = [&state](const auto& part) {
        const std::uint64_t size = part.size();
        crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(&size),
                                  sizeof size);
        crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(part.data()),
                                  part.size());
    };
    add(psk);
    add(certificate);
    add(ca);
    crypto_generichash_final(&state, digest.data(), digest.size());
    sodium_memzero(&state, sizeof state);
    return digest;
}

} // namespace encsync::daemon
