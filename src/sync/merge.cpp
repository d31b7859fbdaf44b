// SPDX-License-Identifier: ISC
#include "sync/merge.hpp"

#include "sync/pf_states.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::sync {

namespace {

constexpr std::uint8_t kProxySrc = 11; // tcp_fsm.h's after TIME_WAIT: synproxy is at work

bool behind(const Side& ours, const Side& theirs) {
    return ours.seqlo && theirs.seqlo && seq_after(*ours.seqlo, *theirs.seqlo);
}

} // namespace

bool src_stale(const Side& ours, const Side& theirs) {
    // A handshake that synproxy has carried out starts over with the server.
    if (ours.state > theirs.state)
        return ours.state < kProxySrc || theirs.state >= kProxySrc;
    return ours.state == theirs.state && behind(ours, theirs);
}

bool dst_stale(pfsync::Dialect rule, const Side& ours, const Side& theirs) {
    if (ours.state > theirs.state)
        return true;
    switch (traits(rule).dst_stale) {
    case pfsync::DstStale::equal_states:
        return ours.state == theirs.state && behind(ours, theirs);
    case pfsync::DstStale::since_syn_sent:
        return ours.state >= state::tcp::kSynSent && behind(ours, theirs);
    }
    return false;
}

Merge merge(state::Progress& ours, std::uint8_t their_src, std::uint8_t their_dst) {
    Merge result{ours.src_state > their_src, ours.dst_state > their_dst};
    if (!result.src_stale)
        ours.src_state = their_src;
    if (!result.dst_stale)
        ours.dst_state = their_dst;
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

bool is_closed(std::uint8_t proto, const state::Progress& progress) {
    return (proto == IPPROTO_TCP || proto == IPPROTO_SCTP || proto == IPPROTO_DCCP) &&
           std::min(progress.src_state, progress.dst_state) >= state::tcp::kFinWait2 &&
           std::max(progress.src_state, progress.dst_state) <= state::tcp::kTimeWait;
}

} // namespace encsync::sync
