// SPDX-License-Identifier: ISC
#include "config/config.hpp"

#include "config/options.hpp"

#include <algorithm>

namespace encsync::config {

std::vector<Address> Conn::senders() const {
    return is_group() ? speakers : std::vector{right};
}

bool Conn::by_trusted_key() const {
    return !is_cable() && authby == Authby::pubkey &&
           std::ranges::none_of(ike::kCredentials, [this](const ike::CredentialTraits& kind) {
               return kind.admits && !file(kind.kind).empty();
           });
}

bool is_told_of_keys(const Setup& setup, const Conn& conn) {
    const bool files =
        std::ranges::any_of(conn.files, [](const auto& path) { return !path.empty(); });
    // Behind a relay's conn that is no cable is another gateway, whatever it passes on.
    return conn.by_trusted_key() && !files && (setup.table == "relay" || !dialect_of(conn.wire));
}

bool Conn::in_store(ike::CredentialKind kind) const {
    if (kind == ike::CredentialKind::psk)
        return !is_cable() && authby == Authby::psk && file(kind).empty();
    return file(kind) == kStored;
}

} // namespace encsync::config
