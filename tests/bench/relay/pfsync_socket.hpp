// SPDX-License-Identifier: ISC
// pfsync in clear on a cable, as a firewall and a gateway send it: many packets a system call.
#pragma once

#include "util/bytes.hpp"
#include "util/fd.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>

namespace encsync::bench {

// pfsync's own part of a packet. Not more, so that a datagram of the bare relay need not be
// fragmented.
inline constexpr std::size_t kPayload = 1400;
inline constexpr std::size_t kBatch = 64;
inline constexpr std::size_t kIpHeader = 20; // nobody here sends options

[[noreturn]] void fail(const std::string& why);

struct Cable {
    std::string interface, other; // the address at its other end
};

sockaddr_in address(const std::string& text, std::uint16_t port);
// Receives from the other end, headers included, and sends to it with TTL 255 and DF.
Fd open_pfsync(const Cable& cable, int buffer_size);
void set_buffers(int fd, int size);

struct Batch {
    Batch();
    // How many packets there are; 0: none for now.
    std::size_t receive(int fd, int flags);
    Bytes packet(std::size_t i) const { return {buffers[i].data(), headers[i].msg_len}; }
    // Makes `size` bytes from `offset` on of this buffer what is sent.
    void put(std::size_t i, std::size_t offset, std::size_t size);
    void send(int fd, std::size_t count);

    std::array<std::array<std::uint8_t, 2048>, kBatch> buffers{};
    std::array<iovec, kBatch> vectors{};
    std::array<mmsghdr, kBatch> headers{};
};

} // namespace encsync::bench
