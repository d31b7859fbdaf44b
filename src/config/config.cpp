// SPDX-License-Identifier: ISC
#include "config/config.hpp"

#include <algorithm>

namespace encsync::config {

std::vector<Address> Conn::senders() const {
    return is_group() ? speakers : std::vector{right};
}

bool Conn::by_trusted_key() const {
    return !is_cable() &&
           std::ranges::none_of(ike::kCredentials, [this](const ike::CredentialTraits& kind) {
               return kind.admits && !file(kind.kind).empty();
           });
}

} // namespace encsync::config
