// SPDX-License-Identifier: ISC
#include "ipsec/link/filter.hpp"
#include "ipsec/esp/sa.hpp"
#include "net/asio.hpp"
#include "net/bpf.hpp"
#include "util/bytes.hpp"

#include <cassert>

namespace encsync::link {
namespace {

using namespace net::bpf;

// The filter of a UDP socket sees a datagram from its UDP header on; the IP header is behind
// SKF_NET_OFF. With GRO it sees a series of datagrams as one, and only the headers of the first.
constexpr std::uint32_t kUdpHeader = 8;
constexpr std::uint32_t kResponderSpi = 8; // of an IKE header
constexpr std::uint32_t kIpv4Source = 12, kIpv6Source = 8;
constexpr auto kFromIpHeader = static_cast<std::uint32_t>(SKF_NET_OFF);

// All labels here are near, except the target of go(), which may be anywhere.
void place(Program& p, Label& label) {
    [[maybe_unused]] const bool reached = p.place(label);
    assert(reached);
}

// Drops what is shorter than a payload of `least` bytes, passes the rest.
void at_least(Program& p, std::size_t least) {
    Label shorter;
    p.fetch_length();
    p.need(BPF_JGE, kUdpHeader + static_cast<std::uint32_t>(least), shorter);
    p.ret(kPass);
    place(p, shorter);
    p.ret(kDrop);
}

void shape(Program& p, bool nat) {
    if (!nat)
        return at_least(p, kIkeHeaderSize);
    Label longer, other, packet;
    p.fetch_length();
    p.need(BPF_JEQ, kUdpHeader + 1, longer); // one byte: a keepalive or nothing
    p.fetch_at(BPF_B, kUdpHeader);
    p.need(BPF_JEQ, kNatKeepalive, other);
    p.ret(kPass);
    place(p, other);
    p.ret(kDrop);
    place(p, longer);
    p.fetch_at(BPF_W, kUdpHeader);
    p.need(BPF_JEQ, 0, packet);
    at_least(p, kMarkerSize + kIkeHeaderSize);
    place(p, packet);
    at_least(p, esp::sealed_size(0));
}

// For datagrams from unknown addresses.
void strangers(Program& p, bool callers) {
    if (callers) {
        Label others;
        p.fetch_length();
        p.need(BPF_JGE, kUdpHeader + kIkeHeaderSize, others);
        p.fetch_at(BPF_W, kUdpHeader + kResponderSpi);
        p.need(BPF_JEQ, 0, others);
        p.fetch_at(BPF_W, kUdpHeader + kResponderSpi + 4);
        p.need(BPF_JEQ, 0, others);
        p.ret(kUdpHeader + kIkeHeaderSize);
        place(p, others);
    }
    p.ret(kDrop);
}

} // namespace

std::vector<sock_filter> filter_program(std::span<const Address> sources, bool ipv6, bool nat,
                                        bool callers) {
    Program p;
    Label known;
    for (const Address& source : sources) {
        if (source.is_v6() != ipv6)
            continue;
        const net::Address address = net::from_asio(source);
        Label another;
        for (std::uint32_t i = 0; i < net::address_size(address.family); i += 4) {
            p.fetch_at(BPF_W, kFromIpHeader + (ipv6 ? kIpv6Source : kIpv4Source) + i);
            p.need(BPF_JEQ, load_be<std::uint32_t>(address.bytes.data() + i), another);
        }
        p.go(known);
        place(p, another);
    }
    strangers(p, callers && !nat);
    place(p, known);
    shape(p, nat);
    return p.code();
}

} // namespace encsync::link
