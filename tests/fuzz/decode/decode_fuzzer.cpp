// SPDX-License-Identifier: ISC
// Any bytes as a packet, as a frame of every link type, and as a line of digits. What comes out is
// JSON that a parser takes, and text that no terminal obeys; and the verdict on a packet of version
// 6 is the one of the parser that the daemon has, which knows nothing of this one.
#include "decode/decode.hpp"
#include "decode/frame.hpp"
#include "decode/hex.hpp"
#include "pfsync/extension.hpp"
#include "pfsync/parse.hpp"

#include <boost/json.hpp>
#include <cstdlib>

namespace {

using namespace encsync;

void demand(bool truth) {
    if (!truth)
        std::abort();
}

bool too_short(const pfsync::Section& s) {
    switch (s.action) {
    case pfsync::extension::kHello:
        return s.stride < pfsync::extension::hello::size;
    case pfsync::extension::kSeq:
        return s.stride < pfsync::extension::seq::size;
    case pfsync::extension::kAck:
        return s.stride < pfsync::extension::ack::bitmap + 4;
    default:
        return s.stride < pfsync::message_size(s.action);
    }
}

bool refused(std::uint8_t action, Bytes message) {
    using pfsync::Fault;
    using pfsync::openbsd::Action;
    switch (static_cast<Action>(action)) {
    case Action::ins:
    case Action::upd:
    case Action::del: {
        pfsync::FullState out;
        return read(message, out) != Fault::none;
    }
    case Action::upd_c: {
        pfsync::CompressedUpdate out;
        return read(message, out) != Fault::none;
    }
    case Action::clr: {
        pfsync::Clear out;
        return read(message, out) != Fault::none;
    }
    case Action::tdb: {
        pfsync::Tdb out;
        return read(message, out) != Fault::none;
    }
    case Action::bus: {
        pfsync::BulkStatus out;
        return read(message, out) != Fault::none;
    }
    default:
        return false;
    }
}

bool daemon_refuses(Bytes packet) {
    pfsync::Parser parser(packet);
    bool out = false;
    while (const pfsync::Section* s = parser.next()) {
        out = out || too_short(*s);
        for (std::uint16_t n = 0; n < s->count; n++)
            out = out || refused(s->action, s->message(n));
    }
    return out || parser.fault() != pfsync::Fault::none;
}

void check_output(const decode::Decoded& decoded) {
    boost::system::error_code error;
    const std::string line = boost::json::serialize(decoded.packet);
    boost::json::parse(line, error);
    demand(!error && line.find('\n') == line.npos);
    for (const char c : decode::to_text(decoded.packet))
        demand((c >= ' ' && c < 127) || c == '\n');
    demand(decoded.bad == decoded.packet.contains("error"));
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes bytes(data, size);
    const decode::Decoded decoded = decode::decode(bytes);
    check_output(decoded);
    if (size > 0 && data[0] == pfsync::openbsd::kVersion)
        demand(decoded.bad == daemon_refuses(bytes));
    if (decoded.bad)
        demand(decoded.packet.at("offset").to_number<std::size_t>() <= size);

    for (const int type : {0, 1, 12, 14, 18, 101, 108, 109, 113, 121, 228, 229, 246, 276}) {
        const decode::Frame frame = decode::find_pfsync(type, bytes);
        demand((frame.verdict == decode::Frame::Verdict::bad) == !frame.error.empty());
        demand(frame.payload.empty() ||
               (frame.payload.data() >= data &&
                frame.payload.data() + frame.payload.size() <= data + size));
    }

    const std::string_view line(reinterpret_cast<const char*>(data), size);
    const decode::Hex hex = decode::parse_hex(line);
    demand(hex.bytes.size() <= size / 2 && hex.column <= size);
    return 0;
}
