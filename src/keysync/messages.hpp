// SPDX-License-Identifier: ISC
// What two nodes tell each other of their keys, as it stands on the wire (pfsync/extension.hpp has
// the offsets). Reading and writing only; key_sync.hpp acts on it.
//
//     if (is_about_keys(payload))
//         if (auto messages = read(payload)) ...         // the error says what is malformed
#pragma once

#include "keys/revocation.hpp"
#include "keysync/ppk_message.hpp"
#include "pfsync/build.hpp"
#include "util/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keysync {

// KEYS. A key is its print (keys::key_print()).
struct KeyState {
    std::vector<std::uint64_t> own;     // one or two: the one that signs, then the next one
    std::vector<std::uint64_t> trusted; // of the receiver's: none, one or two
    keys::RevokedDigest revoked{};
    bool reads_ppk = false; // and makes preshared keys with the receiver
    bool operator==(const KeyState&) const = default;
};

struct Messages {
    std::optional<KeyState> state; // the last one
    std::optional<PpkMessage> ppk; // likewise
    std::vector<std::string> texts;
};

// A packet whose first message is one of these holds no others, and is not for the engine.
bool is_about_keys(Bytes payload);
Result<Messages> read(Bytes payload);

// False: the packet is full.
bool write(pfsync::Builder& packet, const KeyState& state);
bool write(pfsync::Builder& packet, std::string_view text);

} // namespace encsync::keysync
