// SPDX-License-Identifier: ISC
// One direction of a flow, as attributes of conntrack's netlink messages.
#pragma once

#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/conntrack/netlink.hpp"

namespace encsync::table::ctnetlink {

// `zone`: set to the zone that is for this direction only, if there is one.
Fault parse_tuple(Bytes nest, state::Family family, std::uint8_t& proto, state::Tuple& out,
                  std::uint16_t* zone = nullptr);
// Family and protocol are those of `key`. `zone`: one for this direction only; 0: none.
void put_tuple(netlink::Writer& w, int type, const state::Tuple& tuple, const state::Key& key,
               std::uint16_t zone = 0);

} // namespace encsync::table::ctnetlink
