// SPDX-License-Identifier: ISC
// Writing requests to conntrack: create, update, re-arm, query and delete entries.
//
//     std::size_t n = build(buffer, Request::create, flow, 600, seq);   // 0: buffer too small
//
// NAT. The kernel does not accept a translated reply direction; it computes it. So a flow with NAT
// is created with its reply untranslated (the original reversed) and the translation as
// CTA_NAT_SRC and CTA_NAT_DST, each a range of one address and one port. Both are given even if
// only one translates: for a missing one the kernel would choose a binding. NAT of an existing
// entry cannot be changed.
//
// Labels replace existing ones; without labels they stay. The kernel refuses labels for an entry
// that was created without any, so most requests should omit them.
//
// TCP. Sequence windows are not known, so both directions get the liberal-window flag: at creation,
// with each update and whenever the timer is set. An entry that was made by traffic would keep the
// windows of the packets that it has seen, and refuse those that come back after others passed
// elsewhere.
#pragma once

#include "state/nosync.hpp"
#include "util/bytes.hpp"

#include <cstdint>
#include <optional>

namespace encsync::table::ctnetlink {

enum class Request : std::uint8_t {
    create,          // with NAT and helper; EEXIST if its original or reply tuple is taken
    update,          // timeout, status, progress, mark, labels
    update_progress, // the same without status, some bits of which can only be set
    rearm,           // timeout, and the liberal-window flags of TCP
    relax,           // those flags only
    remove,
    get,          // the answer is a message for parse()
    get_by_reply, // likewise: whichever entry has the flow's reply tuple, in either direction
};

inline constexpr std::size_t kMaxRequest = 512;

// Writes one request; returns its size. `timeout` in seconds; not used by relax, remove and get.
std::size_t build(MutableBytes buffer, Request request, const state::Flow& flow,
                  std::uint32_t timeout, std::uint32_t seq);

// Requests the whole table, or only the entries with such marks.
std::size_t build_dump(MutableBytes buffer, std::uint32_t seq,
                       const std::optional<state::MarkMatch>& marks = {});

} // namespace encsync::table::ctnetlink
