// SPDX-License-Identifier: ISC
// One flow as an item of the `states` stream, in the JSON that scripts rely on.
//
//     {"id":"00f1...","creatorid":"8a01b2c3","proto":"tcp","src":"10.0.0.2","sport":40000,
//      "dst":"192.0.2.1","dport":443,"reply":{"src":...,"dst":...,"sport":...,"dport":...},
//      "state":"established:established","zone":0,"mark":0,"owner":"mickey","age":5,
//      "expires":3600}
// Ids are hex texts, times in seconds. ICMP has "icmp_id", "icmp_type" and "icmp_code" where
// others have ports.
#pragma once

#include "state/flow.hpp"

#include <boost/json.hpp>
#include <string_view>

namespace encsync::control {

// `owner`: the node on which the flow is live.
boost::json::object describe(const state::Flow& flow, std::string_view owner);

} // namespace encsync::control
