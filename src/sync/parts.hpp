// SPDX-License-Identifier: ISC
// The parts of the engine that a conversation with a peer acts upon, as the engine wires them.
#pragma once

#include "sync/anti_entropy.hpp"
#include "sync/bulk.hpp"
#include "sync/deferral.hpp"
#include "sync/liberal.hpp"
#include "sync/pf_flows.hpp"
#include "sync/pf_keepalive.hpp"
#include "sync/sessions.hpp"

namespace encsync::sync {

struct Parts {
    Context& ctx;
    Peers& peers;
    Outbound& outbound;
    Lifecycle& lifecycle;
    Copies& copies;
    LiberalTcp& liberal;
    Ownership& ownership;
    Deferral& deferral;
    BulkUpdates& bulk;
    AntiEntropy& anti_entropy;
    PfFlows& pf_flows;
    PfKeepalive& pf_keepalive;
    Sessions& sessions;
};

} // namespace encsync::sync
