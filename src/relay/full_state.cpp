// SPDX-License-Identifier: ISC
#include "relay/full_state.hpp"

#include "pfsync/common.hpp"
#include "pfsync/progress.hpp"
#include "state/mix.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace encsync::relay::full_state {

using pfsync::Layout;
using state::fold;
using state::kMix;
namespace common = pfsync::common;

namespace {

const Layout& layout_of(pfsync::Dialect dialect) {
    return pfsync::traits(dialect).state;
}

std::uint64_t hash_of(Bytes bytes, std::uint64_t sum) {
    for (; bytes.size() >= 8; bytes = bytes.subspan(8))
        sum = fold(sum ^ load_be<std::uint64_t>(bytes.data()), kMix[2]);
    for (const std::uint8_t byte : bytes)
        sum = fold(sum ^ byte, kMix[3]);
    return sum;
}

// Protocols that dialects number differently only have their sequence numbers compared, which are
// the same everywhere.
std::uint64_t check_of_side(Bytes peer, bool same_numbers, std::uint64_t sum) {
    sum = fold(sum ^ load_be<std::uint64_t>(&peer[common::peer::seqlo]), kMix[1]);
    const std::uint64_t state = same_numbers ? peer[common::peer::state] : 0;
    return fold(sum ^ load_be<std::uint32_t>(&peer[common::peer::seqdiff]), state ^ kMix[2]);
}

bool numbered_alike(std::uint8_t proto) {
    return std::ranges::none_of(pfsync::kAllDialects, [proto](pfsync::Dialect dialect) {
        return pfsync::renumbers(layout_of(dialect), proto);
    });
}

} // namespace

bool valid(pfsync::Dialect dialect, Bytes message) {
    const Layout& layout = layout_of(dialect);
    return message.size() >= layout.size && id(dialect, message).creatorid != 0;
}

state::StateId id(pfsync::Dialect dialect, Bytes message) {
    const Layout& layout = layout_of(dialect);
    return {load_be<std::uint64_t>(&message[layout.id]),
            load_be<std::uint32_t>(&message[layout.creatorid])};
}

std::uint8_t proto(pfsync::Dialect dialect, Bytes message) {
    return message[layout_of(dialect).wire_proto];
}

std::string_view ifname(pfsync::Dialect dialect, Bytes message) {
    const auto* name = reinterpret_cast<const char*>(&message[layout_of(dialect).ifname]);
    return {name, strnlen(name, common::kIfnameSize)};
}

bool wants_ack(pfsync::Dialect dialect, Bytes message) {
    const Layout& layout = layout_of(dialect);
    const std::uint16_t flags = layout.wide_flags
                                    ? load_be<std::uint16_t>(&message[layout.state_flags])
                                    : message[layout.state_flags];
    return (flags & common::kFlagAck) != 0;
}

std::uint32_t expires_in(pfsync::Dialect dialect, Bytes message) {
    return load_be<std::uint32_t>(&message[layout_of(dialect).expire]);
}

std::uint64_t flow_hash(pfsync::Dialect dialect, Bytes message) {
    const Layout& layout = layout_of(dialect);
    const std::size_t key = layout.port1 + 2;
    std::uint64_t sum = message[layout.direction];
    for (const std::size_t at : {layout.wire, layout.stack})
        sum = hash_of(message.subspan(at, key), sum);
    return hash_of(message.subspan(layout.ifname, common::kIfnameSize), sum);
}

std::uint64_t check(pfsync::Dialect dialect, Bytes message) {
    const Layout& layout = layout_of(dialect);
    const state::StateId name = id(dialect, message);
    const bool same_numbers = numbered_alike(proto(dialect, message));
    std::uint64_t sum = fold(name.id ^ kMix[0], name.creatorid ^ kMix[1]);
    for (const std::size_t side : {layout.src, layout.dst})
        sum = check_of_side(message.subspan(side, common::peer::size), same_numbers, sum);
    return sum;
}

void apply(pfsync::Dialect of_message, MutableBytes message, pfsync::Dialect of_update,
           Bytes update_c) {
    const Layout& layout = layout_of(of_message);
    const std::uint8_t protocol = proto(of_message, message);
    for (const auto& [from, to] :
         {std::pair(common::upd_c::src, layout.src), std::pair(common::upd_c::dst, layout.dst)}) {
        std::copy_n(&update_c[from], common::peer::size, &message[to]);
        if (of_message != of_update && pfsync::renumbers(layout_of(of_update), protocol) !=
                                           pfsync::renumbers(layout, protocol)) {
            std::uint8_t& state = message[to + common::peer::state];
            state = pfsync::wire_state(layout, protocol,
                                       pfsync::flow_state(of_update, protocol, state));
        }
    }
    message[layout.timeout] = update_c[common::upd_c::timeout];
}

void set_times(pfsync::Dialect dialect, MutableBytes message, std::uint32_t seconds,
               std::uint32_t left) {
    const Layout& layout = layout_of(dialect);
    store_be(&message[layout.creation],
             load_be<std::uint32_t>(&message[layout.creation]) + seconds);
    store_be(&message[layout.expire], left);
}

} // namespace encsync::relay::full_state
