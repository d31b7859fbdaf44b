// SPDX-License-Identifier: ISC
#include "ipsec/link/inner.hpp"

#include "net/protocol.hpp"

#include <cstring>

namespace encsync::link {
namespace {

constexpr std::uint8_t kHopLimit = 255, kLowDelay = 0x10;

std::uint16_t checksum(const std::uint8_t* header) { // RFC 791, over 20 bytes
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < 20; i += 2)
        sum += load_be<std::uint16_t>(header + i);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

} // namespace

void write_inner_header(std::uint8_t* at, const net::Address& src, const net::Address& dst,
                        std::size_t payload_size) {
    if (src.is_v6()) {
        store_be(at, std::uint32_t{6} << 28 | std::uint32_t{kLowDelay} << 20);
        store_be(at + 4, static_cast<std::uint16_t>(payload_size));
        at[6] = net::kPfsync;
        at[7] = kHopLimit;
        std::memcpy(at + 8, src.bytes.data(), 16);
        std::memcpy(at + 24, dst.bytes.data(), 16);
        return;
    }
    at[0] = 0x45;
    at[1] = kLowDelay;
    store_be(at + 2, static_cast<std::uint16_t>(20 + payload_size));
    store_be(at + 4, std::uint16_t{0});
    store_be(at + 6, std::uint16_t{0x4000}); // DF
    at[8] = kHopLimit;
    at[9] = net::kPfsync;
    store_be(at + 10, std::uint16_t{0});
    std::memcpy(at + 12, src.bytes.data(), 4);
    std::memcpy(at + 16, dst.bytes.data(), 4);
    store_be(at + 10, checksum(at));
}

Bytes without_padding(Bytes inner) {
    std::size_t size = inner.size();
    if (size >= 20 && inner[0] >> 4 == 4)
        size = load_be<std::uint16_t>(inner.data() + 2);
    else if (size >= 40 && inner[0] >> 4 == 6)
        size = std::size_t{40} + load_be<std::uint16_t>(inner.data() + 4);
    return size >= 20 && size < inner.size() ? inner.first(size) : inner;
}

} // namespace encsync::link
