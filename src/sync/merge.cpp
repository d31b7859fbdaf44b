// SPDX-License-Identifier: ISC
#include "sync/merge.hpp"

#include <netinet/in.h>

namespace encsync::sync {

Merge merge(state::Record& record, std::uint8_t their_src, std::uint8_t their_dst) {
    Merge result{record.src_state > their_src, record.dst_state > their_dst};
    if (!result.src_stale)
        record.src_state = their_src;
    if (!result.dst_stale)
        record.dst_state = their_dst;
    return result;
}

std::uint8_t progress_flags(std::uint8_t proto, std::uint8_t src_state, std::uint8_t dst_state) {
    const bool tcp = proto == IPPROTO_TCP;
    const bool replied =
        tcp ? dst_state >= state::tcp::kSynSent : dst_state >= state::datagram::kSingle;
    const bool assured =
        tcp ? src_state >= state::tcp::kEstablished && dst_state >= state::tcp::kEstablished
            : dst_state >= state::datagram::kMultiple;
    return static_cast<std::uint8_t>((replied ? state::kSeenReply : 0) |
                                     (assured ? state::kAssured : 0));
}

} // namespace encsync::sync
