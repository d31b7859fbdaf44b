// SPDX-License-Identifier: ISC
// Reading and writing conntrack's expectations (linux/netfilter/nfnetlink_conntrack.h,
// NFNL_SUBSYS_CTNETLINK_EXP): events, dumps, and requests to make one or to remove it.
//
//     ExpectEntry entry;
//     if (Fault f = parse(message, entry); f != Fault::none) ... count it by to_string(f) ...
//     std::size_t n = build(buffer, ExpectRequest::create, expectation, seq);
//
// The kernel does not report the zone of an expectation or of its master: both read as 0.
#pragma once

#include "state/expectation.hpp"
#include "table/conntrack/ctnetlink_parse.hpp"
#include "util/bytes.hpp"

namespace encsync::table::ctnetlink {

struct ExpectEntry {
    bool gone = false; // used up, timed out or removed
    state::Expectation expectation;
};
Fault parse(Bytes message, ExpectEntry& out);

enum class ExpectRequest : std::uint8_t {
    create, // or change the timeout of an existing one
    change, // of an existing one; ENOENT if there is none
    remove,
    get, // ENOENT if there is none
};
inline constexpr std::size_t kMaxExpectRequest = 640;

// Returns the size. The helper is named only where it needs the connection's class: otherwise the
// kernel would attach it to the new flow, too.
std::size_t build(MutableBytes buffer, ExpectRequest request, const state::Expectation& expectation,
                  const state::Name& helper, std::uint32_t seq);
std::size_t build_expect_dump(MutableBytes buffer, std::uint32_t seq);

} // namespace encsync::table::ctnetlink
