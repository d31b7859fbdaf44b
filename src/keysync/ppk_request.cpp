// SPDX-License-Identifier: ISC
#include "keysync/ppk_request.hpp"

#include "keys/base64.hpp"
#include "keys/lines.hpp"

#include <charconv>
#include <fmt/format.h>

namespace encsync::keysync {

namespace {

Error malformed() {
    return Error{"a request about preshared keys is malformed"};
}

} // namespace

std::string write_mix(const PpkMixRequest& request) {
    const auto& [one, two] = request.mix.shares;
    return fmt::format("{} {} {} {} {} {} {}", request.peer,
                       request.base ? keys::base64(*request.base) : "-", request.mix.epoch,
                       one.name, keys::base64(one.random), two.name, keys::base64(two.random));
}

Result<PpkMixRequest> read_mix(std::string_view text) {
    const auto words = keys::split<7>(text);
    if (!words)
        return malformed();
    PpkMixRequest request;
    request.peer = (*words)[0];
    if ((*words)[1] != "-" && !keys::unbase64((*words)[1], request.base.emplace()))
        return malformed();
    const std::string_view number = (*words)[2];
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), request.mix.epoch);
    if (error != std::errc() || end != number.data() + number.size())
        return malformed();
    for (std::size_t n = 0; n < 2; n++) {
        request.mix.shares[n].name = (*words)[3 + 2 * n];
        if (!keys::unbase64((*words)[4 + 2 * n], request.mix.shares[n].random))
            return malformed();
    }
    return request;
}

std::string write_offer(const PpkOfferRequest& request) {
    return fmt::format("{} {}", request.peer, keys::base64(request.id));
}

Result<PpkOfferRequest> read_offer(std::string_view text) {
    const auto words = keys::split<2>(text);
    PpkOfferRequest request;
    if (!words || !keys::unbase64((*words)[1], request.id))
        return malformed();
    request.peer = (*words)[0];
    return request;
}

} // namespace encsync::keysync
