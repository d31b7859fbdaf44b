// SPDX-License-Identifier: ISC
// PPK: what a node has of the preshared keys with the receiver, and its part in making the next
// one, as it stands on the wire (pfsync/extension.hpp has the offsets). Each message is all there
// is to say, so the last one replaces those before.
#pragma once

#include "keys/ppk.hpp"
#include "pfsync/build.hpp"
#include "util/result.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace encsync::keysync {

// A key, without its secret.
struct PpkName {
    keys::PpkId id{};
    std::uint32_t epoch = 0;
    bool operator==(const PpkName&) const = default;
};

// The next key is made of `base`, and gets that epoch.
struct PpkStep {
    std::uint32_t epoch = 0;
    std::optional<keys::PpkId> base; // none: the two have none in common
    keys::PpkRandom random{};        // the sender's
    // An answer: to which random of the receiver's; the sender has the next key. Else an offer.
    std::optional<keys::PpkRandom> answers;
    bool operator==(const PpkStep&) const = default;
};

struct PpkState {
    std::vector<PpkName> held; // at most two, the older one first
    std::size_t offer = 0;     // which of them IKE offers
    bool wants = false;        // to have the next one made
    bool carried = false;      // the last one was carried here, and waits for the receiver
    std::optional<PpkStep> step;
    bool operator==(const PpkState&) const = default;

    bool holds(const keys::PpkId& id) const;
    const PpkName* offered() const { return held.empty() ? nullptr : &held[offer]; }
};

struct PpkMessage {
    std::uint64_t session = 0, number = 0; // numbers ascend within a session of the sender
    PpkState state;
    bool operator==(const PpkMessage&) const = default;
};

// m is all of the message; the error says what is malformed.
Result<PpkMessage> read_ppk(Bytes m);
// False: the packet is full.
bool write(pfsync::Builder& packet, const PpkMessage& message);

} // namespace encsync::keysync
