// SPDX-License-Identifier: ISC
// What is asked of the process that writes keys about preshared keys, as the text of a Request.
#pragma once

#include "keys/ppk.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace encsync::keysync {

struct PpkMixRequest { // Request::Kind::mix_ppk
    std::string peer;
    std::optional<keys::PpkId> base;
    keys::PpkMix mix;
};
std::string write_mix(const PpkMixRequest& request);
Result<PpkMixRequest> read_mix(std::string_view text);

struct PpkOfferRequest { // Request::Kind::offer_ppk
    std::string peer;
    keys::PpkId id{};
};
std::string write_offer(const PpkOfferRequest& request);
Result<PpkOfferRequest> read_offer(std::string_view text);

} // namespace encsync::keysync
