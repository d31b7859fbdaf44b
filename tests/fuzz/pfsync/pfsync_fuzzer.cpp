// Everything a packet can hold is read; what reads fine is written again and must read back the
// same.
#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace {

using namespace encsync;
using namespace encsync::pfsync;
using openbsd::Action;

void demand(bool truth) {
    if (!truth)
        std::abort();
}

void full_state(Bytes message) {
    FullState in;
    if (read(message, in) != Fault::none)
        return;
    (void)to_string(in.flow);
    std::array<std::uint8_t, openbsd::kStateSize + extension::tail::size> buffer{};
    const std::size_t size = in.has_tail ? buffer.size() : openbsd::kStateSize;
    write_state(buffer.data(), in.flow,
                {.tail = in.has_tail,
                 .live = in.live,
                 .wants_ack = in.wants_ack,
                 .src = in.src.bytes,
                 .dst = in.dst.bytes});
    FullState out;
    demand(read(Bytes(buffer).first(size), out) == Fault::none);
    in.flow.flags &= static_cast<std::uint8_t>(~state::kNoSync); // never sent on
    demand(out.flow == in.flow);
    demand(out.live == in.live && out.wants_ack == in.wants_ack && out.has_tail == in.has_tail);
    demand(std::equal(in.src.bytes.begin(), in.src.bytes.end(), out.src.bytes.begin()));
    demand(std::equal(in.dst.bytes.begin(), in.dst.bytes.end(), out.dst.bytes.begin()));
}

void compressed(Bytes message) {
    CompressedUpdate in, out;
    if (read(message, in) != Fault::none)
        return;
    state::Flow flow;
    flow.id = in.id;
    flow.src_state = in.src.state();
    flow.dst_state = in.dst.state();
    std::array<std::uint8_t, openbsd::kUpdCSize> buffer{};
    write_upd_c(buffer.data(), flow, in.src.bytes, in.dst.bytes);
    demand(read(buffer, out) == Fault::none && out.id == in.id);
    demand(std::equal(in.src.bytes.begin(), in.src.bytes.end(), out.src.bytes.begin()));
    demand(std::equal(in.dst.bytes.begin(), in.dst.bytes.end(), out.dst.bytes.begin()));
}

void small(std::uint8_t action, Bytes message) {
    std::array<std::uint8_t, openbsd::kTdbSize> buffer{};
    switch (static_cast<Action>(action)) {
    case Action::clr:
        if (Clear in, out; read(message, in) == Fault::none) {
            write_clr(buffer.data(), in.ifname, in.creatorid);
            demand(read(buffer, out) == Fault::none);
            demand(out.ifname == in.ifname && out.creatorid == in.creatorid);
        }
        break;
    case Action::bus:
        if (BulkStatus in, out; read(message, in) == Fault::none) {
            write_bus(buffer.data(), in.creatorid, in.endtime, in.end);
            demand(read(buffer, out) == Fault::none && out.end == in.end);
            demand(out.creatorid == in.creatorid && out.endtime == in.endtime);
        }
        break;
    case Action::tdb:
        if (Tdb in, out; read(message, in) == Fault::none) {
            write_tdb(buffer.data(), in);
            demand(read(buffer, out) == Fault::none && out == in);
        }
        break;
    default:
        write_id(buffer.data(), read_id(message));
        demand(read_id(buffer) == read_id(message));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes packet(data, size);
    const Fault whole = check(packet);
    std::array<std::uint8_t, 65535> buffer;
    Builder builder(buffer);
    Parser parser(packet);
    std::size_t messages = 0;
    while (const Section* s = parser.next()) {
        for (std::uint16_t n = 0; n < s->count; n++) {
            // By its action, and as if it were each of the others.
            const Bytes message = s->message(n);
            full_state(message);
            compressed(message);
            for (const Action action : {Action::clr, Action::bus, Action::tdb, Action::del_c})
                small(static_cast<std::uint8_t>(action), message);
            if (std::uint8_t* m = builder.add(s->action, s->stride))
                std::copy(message.begin(), message.end(), m);
            messages++;
        }
    }
    demand(parser.fault() == whole);
    demand(parser.offset() <= size);
    // The same messages in a packet of our own: as many, and no fault.
    const std::size_t length = builder.finish();
    demand(check(Bytes(buffer).first(length)) == Fault::none);
    Parser again(Bytes(buffer).first(length));
    std::size_t found = 0;
    while (const Section* s = again.next())
        found += s->count;
    demand(found <= messages && (whole != Fault::none || found == messages));
    return 0;
}
