// SPDX-License-Identifier: ISC
#include "ipsec/link/filter.hpp"
#include "ipsec/esp/sa.hpp"
#include "util/bytes.hpp"

namespace encsync::link {
namespace {

// The filter of a UDP socket sees a datagram from its UDP header on; the IP header is behind
// SKF_NET_OFF. With GRO it sees a train of datagrams as one, and the first stands for all.
constexpr std::uint32_t kUdpHeader = 8;
constexpr std::uint32_t kResponderSpi = 8; // of an IKE header
constexpr std::uint32_t kIpv4Source = 12, kIpv6Source = 8;
constexpr auto kFromIpHeader = static_cast<std::uint32_t>(SKF_NET_OFF);
constexpr std::uint32_t kWhole = 0xffffffff, kNothing = 0;

using Program = std::vector<sock_filter>;

void load_word(Program& program, std::uint32_t at) {
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at));
}
void load_length(Program& program) {
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0));
}
void give(Program& program, std::uint32_t bytes) {
    program.push_back(BPF_STMT(BPF_RET | BPF_K, bytes));
}
// Skips `yes` instructions if it holds for what was loaded, else `no`.
void if_equal(Program& program, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no));
}
void if_least(Program& program, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, value, yes, no));
}

// Drops what is shorter than a payload of `least` bytes, passes the rest.
Program at_least(std::size_t least) {
    Program program;
    load_length(program);
    if_least(program, kUdpHeader + static_cast<std::uint32_t>(least), 0, 1);
    give(program, kWhole);
    give(program, kNothing);
    return program;
}

Program shape(bool nat) {
    if (!nat)
        return at_least(kIkeHeaderSize);
    const Program ike = at_least(kMarkerSize + kIkeHeaderSize), esp = at_least(esp::sealed_size(0));
    Program program;
    load_length(program);
    if_equal(program, kUdpHeader + 1, 0, 4); // one byte: a keepalive or nothing
    program.push_back(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kUdpHeader));
    if_equal(program, kNatKeepalive, 0, 1);
    give(program, kWhole);
    give(program, kNothing);
    load_word(program, kUdpHeader); // reading beyond the end drops
    if_equal(program, 0, 0, static_cast<std::uint8_t>(ike.size()));
    program.insert(program.end(), ike.begin(), ike.end());
    program.insert(program.end(), esp.begin(), esp.end());
    return program;
}

// For what comes from no peer.
Program strangers(bool callers) {
    Program program;
    if (callers) {
        load_length(program);
        if_least(program, kUdpHeader + kIkeHeaderSize, 0, 5);
        load_word(program, kUdpHeader + kResponderSpi);
        if_equal(program, 0, 0, 3);
        load_word(program, kUdpHeader + kResponderSpi + 4);
        if_equal(program, 0, 0, 1);
        give(program, kUdpHeader + kIkeHeaderSize);
    }
    give(program, kNothing);
    return program;
}

} // namespace

std::vector<sock_filter> filter_program(std::span<const Address> sources, bool ipv6, bool nat,
                                        bool callers) {
    // One block an address: compare, and go on with the shape if it is that one.
    std::vector<Program> blocks;
    for (const Address& source : sources) {
        if (source.is_v6() != ipv6)
            continue;
        Program block;
        if (ipv6) {
            const auto bytes = source.to_v6().to_bytes();
            for (std::uint32_t i = 0; i < 16; i += 4) {
                load_word(block, kFromIpHeader + kIpv6Source + i);
                // Another address: past the words that are left and past the jump.
                if_equal(block, load_be<std::uint32_t>(bytes.data() + i), 0,
                         static_cast<std::uint8_t>((12 - i) / 4 * 2 + 1));
            }
        } else {
            load_word(block, kFromIpHeader + kIpv4Source);
            if_equal(block, source.to_v4().to_uint(), 0, 1);
        }
        blocks.push_back(std::move(block));
    }
    Program program;
    const Program others = strangers(callers && !nat);
    std::size_t left = others.size(); // instructions from the end of a block to the shape
    for (const Program& block : blocks)
        left += block.size() + 1;
    for (const Program& block : blocks) {
        left -= block.size() + 1;
        program.insert(program.end(), block.begin(), block.end());
        // The only jump that may be far: a conditional one reaches 255 instructions.
        program.push_back(BPF_STMT(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(left)));
    }
    program.insert(program.end(), others.begin(), others.end());
    const Program end = shape(nat);
    program.insert(program.end(), end.begin(), end.end());
    return program;
}

} // namespace encsync::link
