// SPDX-License-Identifier: ISC
// The content of a dummy packet that is a path probe (path_mtu.hpp) or the answer to one. Every
// other receiver drops dummies unread (RFC 4303 section 2.6), older versions of encsync too.
//
//     "EMTQ" (request) or "EMTA" (reply), the number of the request in 32 bits, then zeros
#pragma once

#include "util/bytes.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace encsync::link {

struct PathProbe {
    bool answer = false;
    std::uint32_t id = 0;
    bool operator==(const PathProbe&) const = default;
};

inline constexpr std::size_t kProbeSize = 8;
inline constexpr std::uint32_t kProbeQuestion = 0x454d5451, kProbeAnswer = 0x454d5441;

inline std::array<std::uint8_t, kProbeSize> write_probe(const PathProbe& probe) {
    std::array<std::uint8_t, kProbeSize> out;
    store_be(out.data(), probe.answer ? kProbeAnswer : kProbeQuestion);
    store_be(out.data() + 4, probe.id);
    return out;
}

// Parses the content of a dummy; nothing: not a probe.
inline std::optional<PathProbe> read_probe(Bytes dummy) {
    if (dummy.size() < kProbeSize)
        return {};
    const auto kind = load_be<std::uint32_t>(dummy.data());
    if (kind != kProbeQuestion && kind != kProbeAnswer)
        return {};
    return PathProbe{kind == kProbeAnswer, load_be<std::uint32_t>(dummy.data() + 4)};
}

} // namespace encsync::link
