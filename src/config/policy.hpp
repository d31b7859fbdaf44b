// SPDX-License-Identifier: ISC
// What a conn says of its peer, as the policy takes it.
#pragma once

#include "config/config.hpp"
#include "policy/verdict.hpp"

namespace encsync::config {

policy::Rules rules_of(const Setup& setup, const Conn& conn);
policy::Selectors selectors_of(const Conn& conn);

// Whether HELLO is sent to the peer, and the dialect of messages to it; none: not known yet.
struct Speech {
    bool extended = false;
    std::optional<pfsync::Dialect> dialect{};
};
Speech speech_of(Wire wire);

} // namespace encsync::config
