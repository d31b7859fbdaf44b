// SPDX-License-Identifier: ISC
// Finds the pfsync payload in a captured frame: link layer, VLAN tags, IP.
//
//     Frame f = find_pfsync(DLT_EN10MB, bytes);
//     if (f.verdict == Frame::Verdict::pfsync) ... f.payload ...
//
// Link types (www.tcpdump.org/linktypes.html): Ethernet, raw IP, Linux cooked (both), BSD null and
// loop, OpenBSD's and FreeBSD's enc, and PFSYNC with its three numbers. A payload is a view into
// the frame, and never extends beyond the length in the IP header.
#pragma once

#include "util/bytes.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace encsync::decode {

struct Ip {
    std::string src, dst;
    std::uint8_t ttl = 0;
};

struct Frame {
    enum class Verdict { pfsync, other, bad };
    Verdict verdict = Verdict::other;
    Bytes payload;
    Bytes packet;           // from the IP header on; empty where there is none
    std::optional<Ip> ip;   // none where the link carries pfsync without IP
    std::string_view error; // of a bad one: "fragment"
};

bool knows_link_type(int link_type);
Frame find_pfsync(int link_type, Bytes frame);

} // namespace encsync::decode
