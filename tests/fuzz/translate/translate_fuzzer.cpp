// SPDX-License-Identifier: ISC
// All messages of a packet, as any dialect, translated into every dialect: what comes out is a
// packet that its receiver reads, and coming and going once more changes nothing further.
#include "net/protocol.hpp"
#include "pfsync/build.hpp"
#include "relay/translate.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

namespace {

using namespace encsync;
using namespace encsync::pfsync;
using relay::InterfaceMap;
using relay::LossCounters;
using relay::Translator;

void demand(bool truth, int line = __builtin_LINE()) {
    if (truth)
        return;
    std::fprintf(stderr, "line %d does not hold\n", line);
    std::abort();
}

std::uint64_t refused(const LossCounters& losses) {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : losses.refused)
        sum += count;
    return sum;
}

// A message in a packet of its own; demands that it can be read.
struct Packet {
    Packet(Dialect dialect, const Translator::Out& out) {
        Builder packet(buffer, dialect);
        std::uint8_t* m = packet.add(out.action, out.message.size());
        demand(m != nullptr);
        std::ranges::copy(out.message, m);
        const Bytes bytes = Bytes(buffer).first(packet.finish());
        demand(check(bytes, dialect) == Fault::none);
        Parser parser(bytes, dialect);
        section = *parser.next();
    }
    Bytes message() const { return section.message(0); }

    std::array<std::uint8_t, 2048> buffer{};
    Section section;
};

bool is_state(const Section& s) {
    return s.kind == Kind::insert || s.kind == Kind::update;
}

void demand_readable(Dialect dialect, const Packet& packet) {
    demand(packet.section.layout == dialect);
    const Bytes message = packet.message();
    FullState state;
    CompressedUpdate update;
    Clear clear;
    BulkStatus status;
    if (is_state(packet.section))
        demand(read(dialect, message, state) == Fault::none);
    else if (packet.section.kind == Kind::update_c)
        demand(read(dialect, message, update) == Fault::none);
    else if (packet.section.kind == Kind::clear)
        demand(read(message, clear) == Fault::none);
    else if (packet.section.kind == Kind::bulk)
        demand(read(message, status) == Fault::none);
    else
        demand(message.size() == common::kIdSize);
}

// Its type may be lost on the way back, and then it is another.
bool loses_type(Dialect dialect, const Packet& packet) {
    FullState state;
    return is_state(packet.section) && read(dialect, packet.message(), state) == Fault::none &&
           net::is_icmp(state.flow.key.proto);
}

const InterfaceMap& names() {
    static const InterfaceMap map = [] {
        InterfaceMap m;
        m.add("em0", "wan");
        m.add("em1", "em0");
        return m;
    }();
    return map;
}

void translate(Dialect from, Dialect to, const Section& s, Bytes message, bool mapped) {
    Translator there(from, to, mapped ? names() : InterfaceMap{});
    LossCounters losses, others;
    const auto out = there.translate(s, message, losses);
    demand(out.has_value() || s.kind == Kind::eof || refused(losses) == 1);
    if (!out || from == to) {
        demand(!out || (out->action == s.action && out->message.size() == message.size()));
        return;
    }
    const Packet first(to, *out);
    demand_readable(to, first);
    const Dialect origin = s.layout; // in version 5, perhaps not `from`
    if (origin == to)
        return;
    Translator back(to, origin), once_more(origin, to);
    const auto again = back.translate(first.section, first.message(), others);
    demand(again.has_value());
    const Packet second(origin, *again);
    demand_readable(origin, second);
    const auto third = once_more.translate(second.section, second.message(), others);
    demand(third.has_value() && refused(others) == 0);
    demand(loses_type(to, first) || std::ranges::equal(third->message, first.message()));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (const Dialect from : kAllDialects) {
        Parser parser(Bytes(data, size), from);
        while (const Section* s = parser.next())
            for (std::uint16_t n = 0; n < s->count && n < 100; n++)
                for (const Dialect to : kAllDialects)
                    for (const bool mapped : {false, true})
                        translate(from, to, *s, s->message(n), mapped);
    }
    return 0;
}
