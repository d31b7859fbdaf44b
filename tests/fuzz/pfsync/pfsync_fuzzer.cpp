// SPDX-License-Identifier: ISC
// Reads all messages of a packet, as any dialect; what is valid is written again, in every dialect,
// and must read back the same.
#include "net/protocol.hpp"
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "tests/unit/pfsync/write_clr.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <netinet/in.h>

namespace {

using namespace encsync;
using namespace encsync::pfsync;

// Room for a state of any dialect, with everything that may follow it.
constexpr std::size_t kRoom = 1024;

void demand(bool truth, int line = __builtin_LINE()) {
    if (truth)
        return;
    std::fprintf(stderr, "line %d does not hold\n", line);
    std::abort();
}

bool is_icmp(const state::Flow& flow) {
    return net::is_icmp(flow.key.proto);
}

bool loses_icmp_type(Dialect d) {
    return traits(d).state.icmp == Layout::Icmp::id_twice;
}

bool same(Bytes a, Bytes b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

void same_message(Dialect d, const FullState& in) {
    std::array<std::uint8_t, kRoom> buffer{};
    const bool more = in.has_tail && (in.expectations != 0 || !in.flow.extras.empty());
    const std::size_t size = state_size(d) + (in.has_tail ? extension::tail::size : 0) +
                             (more ? extension::more::size : 0);
    write_state(d, buffer.data(), in.flow,
                {.tail = in.has_tail,
                 .live = in.live,
                 .term = in.term,
                 .more = more,
                 .expectations = in.expectations,
                 .wants_ack = in.wants_ack,
                 .src = in.src.bytes,
                 .dst = in.dst.bytes});
    FullState out;
    demand(read(d, Bytes(buffer).first(size), out) == Fault::none);
    demand(out.live == in.live && out.wants_ack == in.wants_ack && out.has_tail == in.has_tail);
    state::Flow expected = in.flow;
    expected.flags &= static_cast<std::uint8_t>(~state::kNoSync); // never sent on
    if (!is_icmp(in.flow) || !loses_icmp_type(d))
        demand(out.flow == expected);
    // Only blocks that SCTP requires may have been added.
    if (in.flow.key.proto != IPPROTO_SCTP && in.flow.key.proto != IPPROTO_DCCP)
        demand(same(in.src.bytes, out.src.bytes) && same(in.dst.bytes, out.dst.bytes));
}

// In another dialect: id, addresses and progress must be preserved.
void other_dialect(Dialect to, const FullState& in) {
    std::array<std::uint8_t, kRoom> buffer{};
    write_state(to, buffer.data(), in.flow, {.src = in.src.bytes, .dst = in.dst.bytes});
    FullState out;
    demand(read(to, Bytes(buffer).first(state_size(to)), out) == Fault::none);
    demand(out.flow.id == in.flow.id && out.flow.timeout == in.flow.timeout);
    demand(out.flow.key.proto == in.flow.key.proto && out.flow.key.family == in.flow.key.family);
    demand(out.flow.key.orig.src == in.flow.key.orig.src);
    demand(out.flow.key.orig.dst == in.flow.key.orig.dst);
    demand(out.flow.key.orig.sport == in.flow.key.orig.sport);
    demand(is_icmp(in.flow) ||
           (out.flow.key.orig == in.flow.key.orig && out.flow.reply == in.flow.reply));
}

void full_state(Dialect d, Bytes message) {
    FullState in;
    if (read(d, message, in) != Fault::none)
        return;
    (void)to_string(in.flow);
    same_message(d, in);
    for (const Dialect to : kAllDialects)
        other_dialect(to, in);
}

void compressed(Dialect d, Bytes message) {
    CompressedUpdate in, out;
    if (read(d, message, in) != Fault::none)
        return;
    state::Flow flow;
    flow.id = in.id;
    flow.key.proto = IPPROTO_TCP;
    flow.src_state = in.src.state();
    flow.dst_state = in.dst.state();
    std::array<std::uint8_t, common::kUpdCSize> buffer{};
    write_upd_c(d, buffer.data(), flow, in.src.bytes, in.dst.bytes);
    demand(read(d, buffer, out) == Fault::none && out.id == in.id);
    demand(same(in.src.bytes, out.src.bytes) && same(in.dst.bytes, out.dst.bytes));
}

void small(Dialect d, Bytes message) {
    std::array<std::uint8_t, openbsd::kTdbSize> buffer{};
    if (Clear in, out; read(message, in) == Fault::none) {
        write_clr(buffer.data(), in.ifname, in.creatorid);
        demand(read(buffer, out) == Fault::none);
        demand(out.ifname == in.ifname && out.creatorid == in.creatorid);
    }
    buffer = {};
    if (BulkStatus in, out; read(message, in) == Fault::none) {
        write_bus(buffer.data(), in.creatorid, in.endtime, in.end);
        demand(read(buffer, out) == Fault::none && out.end == in.end);
        demand(out.creatorid == in.creatorid && out.endtime == in.endtime);
    }
    buffer = {};
    if (Tdb in, out; read(d, message, in) == Fault::none) {
        write_tdb(d, buffer.data(), in);
        demand(read(d, buffer, out) == Fault::none && out == in);
    }
    buffer = {};
    write_id(buffer.data(), read_id(message));
    demand(read_id(buffer) == read_id(message));
}

// Reads the packet as `expected` and writes the same messages again.
void packet(Bytes payload, Expected expected) {
    const Fault whole = check(payload, expected);
    Parser parser(payload, expected);
    const Dialect d = parser.dialect();
    const bool by_length = traits(d).message_lengths;
    std::array<std::uint8_t, 65535> buffer;
    Builder builder(buffer, d);
    std::size_t messages = 0;
    while (const Section* s = parser.next()) {
        for (std::uint16_t n = 0; n < s->count; n++) {
            const Bytes message = s->message(n);
            if (s->kind == Kind::eof)
                break;
            // By its action, and as each of the others.
            full_state(s->layout, message);
            for (const Dialect layout : kAllDialects)
                full_state(layout, message);
            compressed(d, message);
            small(d, message);
            if (std::uint8_t* m = builder.add(s->action, s->stride))
                std::copy(message.begin(), message.end(), m);
            messages++;
        }
    }
    const Fault fault = parser.fault();
    demand(fault == whole || (fault == Fault::bad_action && !by_length && whole == Fault::none));
    demand(parser.offset() <= payload.size());
    // The same messages in a packet of our own: the same number, and no fault.
    const std::size_t length = builder.finish();
    Parser again(Bytes(buffer).first(length), by_length ? Expected(d) : Expected());
    std::size_t found = 0;
    while (const Section* s = again.next())
        found += s->kind == Kind::eof ? 0 : s->count;
    demand(again.fault() == Fault::none);
    demand(found <= messages &&
           (fault != Fault::none || found == messages || length + kRoom > buffer.size()));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes payload(data, size);
    packet(payload, std::nullopt);
    for (const Dialect d : kAllDialects)
        packet(payload, d);
    if (const auto d = detect(payload))
        demand(check(payload, *d) == Fault::none);
    return 0;
}
