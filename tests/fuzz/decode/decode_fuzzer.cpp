// SPDX-License-Identifier: ISC
// Any input as a packet, as a frame of every link type, and as a line of digits. The output is
// valid JSON, and text without control characters; and the verdict is that of the daemon's parser,
// which shares no code with the decoder.
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
    using namespace pfsync::extension;
    if (!traits(s.layout).message_lengths)
        return false; // the size belongs to the action
    switch (s.action) {
    case kHello:
        return s.stride < hello::size;
    case kSeq:
        return s.stride < seq::size;
    case kAck:
        return s.stride < ack::bitmap + 4;
    default:
        return s.stride < pfsync::message_size(s.action);
    }
}

bool refused(const pfsync::Section& s, Bytes message) {
    using pfsync::Fault, pfsync::Kind;
    switch (s.kind) {
    case Kind::insert:
    case Kind::update:
    case Kind::remove: {
        pfsync::FullState out;
        return read(s.layout, message, out) != Fault::none;
    }
    case Kind::update_c: {
        pfsync::CompressedUpdate out;
        return read(s.layout, message, out) != Fault::none;
    }
    case Kind::clear: {
        pfsync::Clear out;
        return read(message, out) != Fault::none;
    }
    case Kind::tdb: {
        pfsync::Tdb out;
        return read(s.layout, message, out) != Fault::none;
    }
    case Kind::bulk: {
        pfsync::BulkStatus out;
        return read(message, out) != Fault::none;
    }
    default:
        return false;
    }
}

// af-to: valid, but not for a daemon whose flows have one family and one protocol.
bool translates_family(const pfsync::Section& s, Bytes message) {
    const pfsync::Layout& at = traits(s.layout).state;
    return (s.kind == pfsync::Kind::insert || s.kind == pfsync::Kind::update) &&
           message.size() >= at.size &&
           (message[at.wire_af] != message[at.stack_af] ||
            message[at.wire_proto] != message[at.stack_proto]);
}

enum class Verdict { good, bad, unsure };

Verdict daemon_says(Bytes packet) {
    // For FreeBSD, the newest dialect: an older one may have fewer timeouts.
    pfsync::Parser parser(packet, std::nullopt);
    bool bad = false, unsure = false;
    while (const pfsync::Section* s = parser.next()) {
        bad = bad || too_short(*s);
        for (std::uint16_t n = 0; s->stride > 0 && n < s->count; n++) {
            if (translates_family(*s, s->message(n)))
                unsure = true;
            else
                bad = bad || refused(*s, s->message(n));
        }
    }
    if (bad || parser.fault() != pfsync::Fault::none)
        return Verdict::bad;
    return unsure ? Verdict::unsure : Verdict::good;
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
    if (const Verdict verdict = daemon_says(bytes); verdict != Verdict::unsure)
        demand(decoded.bad == (verdict == Verdict::bad));
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
