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
constexpr std::uint32_t kResponderSpi = 8, kVersion = 17, kExchange = 18; // of an IKE header
constexpr std::uint32_t kMajorVersion = 2;
constexpr std::uint32_t kFirstExchange = 34, kLastExchange = 44; // IKE_SA_INIT, IKE_FOLLOWUP_KE
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

// At this offset from the UDP header on.
void ike(Program& p, std::uint32_t at, bool strict) {
    if (strict) {
        Label no_ike;
        p.fetch_length();
        p.need(BPF_JGE, at + static_cast<std::uint32_t>(kIkeHeaderSize), no_ike);
        p.fetch_at(BPF_B, at + kVersion);
        p.op(BPF_ALU | BPF_RSH | BPF_K, 4);
        p.need(BPF_JEQ, kMajorVersion, no_ike);
        p.fetch_at(BPF_B, at + kExchange);
        p.need(BPF_JGE, kFirstExchange, no_ike);
        p.refuse(BPF_JGT, kLastExchange, no_ike);
        p.ret(kPass);
        place(p, no_ike);
        return p.ret(kDrop);
    }
    at_least(p, at - kUdpHeader + kIkeHeaderSize);
}

// A is the SPI.
void esp_packet(Program& p, const FilterOptions& options) {
    for (const std::uint32_t spi : options.spis) {
        Label another;
        p.need(BPF_JEQ, spi, another);
        at_least(p, esp::sealed_size(0));
        place(p, another);
    }
    p.ret(kDrop);
}

void shape(Program& p, const FilterOptions& options) {
    if (!options.nat)
        return ike(p, kUdpHeader, options.strict);
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
    ike(p, kUdpHeader + kMarkerSize, options.strict);
    place(p, packet);
    if (options.strict)
        return esp_packet(p, options);
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

std::vector<sock_filter> filter_program(std::span<const Address> sources,
                                        const FilterOptions& options) {
    const bool ipv6 = options.ipv6;
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
    strangers(p, options.callers && !options.nat);
    place(p, known);
    shape(p, options);
    return p.code();
}

} // namespace encsync::link
