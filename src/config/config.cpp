// SPDX-License-Identifier: ISC
#include "config/config.hpp"

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

bool Conn::by_stored_psk() const {
    return !is_cable() && authby == Authby::psk && file(ike::CredentialKind::psk).empty();
}

} // namespace encsync::config
