// SPDX-License-Identifier: ISC
#include "decode/frame.hpp"

#include "net/address.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <array>

namespace encsync::decode {
namespace {

// As numbers, because the constants of <pcap/dlt.h> depend on the system.
constexpr int kNull = 0, kEthernet = 1, kRaw = 12, kRawOpenbsd = 14, kPfsyncBsd = 18,
              kRawFile = 101, kLoop = 108, kEnc = 109, kLinuxSll = 113, kPfsyncFreebsd = 121,
              kIpv4 = 228, kIpv6 = 229, kPfsync = 246, kLinuxSll2 = 276;

constexpr std::uint16_t kEtherIpv4 = 0x0800, kEtherIpv6 = 0x86dd, kEtherVlan = 0x8100,
                        kEtherQinq = 0x88a8, kEtherOldQinq = 0x9100;
// EtherType of enc0 (ipsec/link/enc0.hpp): IP under an unassigned number.
constexpr std::uint16_t kEtherEnc0 = 0x88b5;

std::uint16_t be16(Bytes bytes, std::size_t at) {
    return load_be<std::uint16_t>(&bytes[at]);
}

std::string address(net::Family family, const std::uint8_t* bytes) {
    return to_string(net::Address::read(bytes, family));
}

// RFC 791.
Frame ipv4(Bytes packet) {
    Frame out;
    if (packet.size() < 20 || packet[9] != net::kPfsync)
        return out;
    out.packet = packet;
    out.ip = {address(net::Family::inet, &packet[12]), address(net::Family::inet, &packet[16]),
              packet[8]};
    const std::size_t header = (packet[0] & 0x0fU) * 4U;
    const std::size_t total = std::min<std::size_t>(be16(packet, 2), packet.size());
    out.verdict = Frame::Verdict::bad;
    if (header < 20 || header > total) {
        out.error = "bad_ip_length";
    } else if ((be16(packet, 6) & 0x3fff) != 0) { // fragment offset, or more fragments
        out.error = "fragment";
    } else {
        out.verdict = Frame::Verdict::pfsync;
        out.payload = packet.subspan(header, total - header);
    }
    return out;
}

// RFC 8200. pf accepts pfsync directly after the fixed header only; a packet with extension headers
// is still shown.
Frame ipv6(Bytes packet) {
    constexpr std::uint8_t kHopByHop = 0, kRouting = 43, kFragment = 44, kDestination = 60;
    Frame out;
    if (packet.size() < 40)
        return out;
    const std::size_t total = std::min<std::size_t>(40U + be16(packet, 4), packet.size());
    std::uint8_t next = packet[6];
    std::size_t at = 40;
    bool fragment = false;
    while (next == kHopByHop || next == kRouting || next == kDestination || next == kFragment) {
        if (at + 8 > total)
            return out;
        fragment = fragment || next == kFragment;
        const std::size_t length = next == kFragment ? 8 : 8U + packet[at + 1] * 8U;
        next = packet[at];
        at += length;
        // Only the first fragment has the next header after the fragment header.
        if (fragment || at > total)
            break;
    }
    if (next != net::kPfsync)
        return out;
    out.packet = packet;
    out.ip = {address(net::Family::inet6, &packet[8]), address(net::Family::inet6, &packet[24]),
              packet[7]};
    out.verdict = Frame::Verdict::bad;
    if (fragment) {
        out.error = "fragment";
    } else if (at > total) {
        out.error = "bad_ip_length";
    } else {
        out.verdict = Frame::Verdict::pfsync;
        out.payload = packet.subspan(at, total - at);
    }
    return out;
}

Frame ip(Bytes packet) {
    if (packet.empty())
        return {};
    if (packet[0] >> 4 == 4)
        return ipv4(packet);
    if (packet[0] >> 4 == 6)
        return ipv6(packet);
    return {};
}

// Starts with an EtherType; `at` is where its payload begins.
Frame ethernet(std::uint16_t type, Bytes frame, std::size_t at) {
    while (type == kEtherVlan || type == kEtherQinq || type == kEtherOldQinq) {
        if (frame.size() < at + 4)
            return {};
        type = be16(frame, at + 2);
        at += 4;
    }
    if (frame.size() < at || (type != kEtherIpv4 && type != kEtherIpv6 && type != kEtherEnc0))
        return {};
    return ip(frame.subspan(at));
}

Frame behind(std::size_t header, Bytes frame) {
    return frame.size() < header ? Frame{} : ip(frame.subspan(header));
}

} // namespace

bool knows_link_type(int link_type) {
    constexpr std::array<int, 14> kKnown{
        kNull, kEthernet, kRaw,  kRawOpenbsd,    kPfsyncBsd, kRawFile, kLoop,
        kEnc,  kLinuxSll, kIpv4, kPfsyncFreebsd, kIpv6,      kPfsync,  kLinuxSll2};
    return std::ranges::find(kKnown, link_type) != kKnown.end();
}

Frame find_pfsync(int link_type, Bytes frame) {
    switch (link_type) {
    case kEthernet:
        return frame.size() < 14 ? Frame{} : ethernet(be16(frame, 12), frame, 14);
    case kLinuxSll:
        return frame.size() < 16 ? Frame{} : ethernet(be16(frame, 14), frame, 16);
    case kLinuxSll2:
        return frame.size() < 20 ? Frame{} : ethernet(be16(frame, 0), frame, 20);
    case kRaw:
    case kRawOpenbsd:
    case kRawFile:
    case kIpv4:
    case kIpv6:
        return ip(frame);
    case kNull: // the family, in the byte order of an unknown host
    case kLoop:
        return behind(4, frame);
    case kEnc: // family, SPI, flags
        return behind(12, frame);
    case kPfsync:
    case kPfsyncBsd:
    case kPfsyncFreebsd: {
        // Newer releases of OpenBSD have the IP header in front here, too: 4 or 6 in the upper half
        // of the first byte, where pfsync has 0.
        if (!frame.empty() && frame[0] >> 4 != 0)
            return ip(frame);
        Frame out;
        out.verdict = Frame::Verdict::pfsync;
        out.payload = frame;
        return out;
    }
    default:
        return {};
    }
}

} // namespace encsync::decode
