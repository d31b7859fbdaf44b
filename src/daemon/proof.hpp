// SPDX-License-Identifier: ISC
// What a peer that is not encsync may prove itself with, and we to it: the files that its conn
// names. Empty where it names none.
//
//     auto proof = Proof::read(conn);     // the error names the file
#pragma once

#include "config/config.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace encsync::daemon {

struct Proof {
    using Digest = std::array<std::uint8_t, 32>;

    static Result<Proof> read(const config::Conn& conn);
    Proof() = default;
    Proof(Proof&&) = default;
    Proof& operator=(Proof&&) = default;
    ~Proof(); // wipes the preshared key

    // Tells one from another.
    Digest digest() const;

    std::string psk;
    std::vector<std::uint8_t> certificate, ca; // DER
};

} // namespace encsync::daemon
