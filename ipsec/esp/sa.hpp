// SPDX-License-Identifier: ISC
// An ESP security association (RFC 4303) with an AEAD: seals (encrypts) outgoing packets and opens
// (decrypts) incoming ones, in place, in a buffer of the caller. Nothing is allocated per packet.
// The "inner packet" is what is encrypted: in tunnel mode an IP packet, in transport mode only its
// payload.
//
//     auto out = OutboundSa::create(params);             // the key is taken over: wipe yours
//     Sealed s = out->seal(buffer, inner_size);          // buffer: kHeaderSize free bytes, the
//     send(buffer.first(s.size));                        // inner packet, tailroom
//
//     Opened o = in->open(packet);                       // packet: from its SPI on
//     if (o.verdict == Verdict::ok) use(o.inner);        // inside `packet`
//
// On the wire: SPI 4, sequence number 4, IV 8, ciphertext (inner packet, padding, pad length, next
// header; a multiple of 4), ICV 16. The IV is the 64-bit sequence number, so that a nonce cannot
// repeat under a key (RFC 4106 section 3.1, RFC 7634 section 2). With ESN the upper half of the
// number is authenticated but not sent.
#pragma once

#include "ipsec/esp/params.hpp"
#include "ipsec/esp/replay.hpp"
#include "net/protocol.hpp"
#include "util/bytes.hpp"
#include "util/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

typedef struct evp_cipher_ctx_st EVP_CIPHER_CTX;

namespace encsync::esp {

inline constexpr std::size_t kHeaderSize = 16; // SPI, sequence number, IV
inline constexpr std::size_t kIvOffset = 8;
inline constexpr std::size_t kIcvSize = 16;
inline constexpr std::size_t kMaxPadding = 255;
inline constexpr std::size_t kAlignment = 4;
inline constexpr std::uint8_t kNextIpv4 = 4, kNextIpv6 = 41, kNextNone = 59,
                              kNextPfsync = net::kPfsync;
inline constexpr std::uint32_t kMinSpi = 256; // below is reserved (RFC 4303 section 2.1)

// Bytes on the wire of an inner packet with minimum padding.
constexpr std::size_t sealed_size(std::size_t inner_size) {
    return kHeaderSize + (inner_size + 2 + kAlignment - 1) / kAlignment * kAlignment + kIcvSize;
}
// The largest inner packet that fits into so many bytes on the wire; 0 if none does.
constexpr std::size_t max_inner_size(std::size_t wire_size) {
    if (wire_size < sealed_size(0))
        return 0;
    return (wire_size - kHeaderSize - kIcvSize) / kAlignment * kAlignment - 2;
}
static_assert(sealed_size(max_inner_size(1472)) <= 1472);
static_assert(sealed_size(max_inner_size(1472) + 1) > 1472);

enum class SealVerdict : std::uint8_t {
    ok,
    sequence_exhausted, // all numbers are used: this SA sends no more
    no_room,            // the buffer is too small
    bad_size,           // padding cannot make it `wire_size` bytes long
    cipher_failed,      // OpenSSL failed; the number is used up
};
std::string_view to_string(SealVerdict verdict); // "sequence_exhausted"

struct Sealed {
    SealVerdict verdict;
    std::size_t size; // on the wire; 0 unless ok
};

enum class Verdict : std::uint8_t {
    ok,
    short_packet,    // smaller than any ESP packet
    bad_length,      // ciphertext not a multiple of 4 bytes
    replayed,        // seen before
    too_old,         // left of the replay window, or number 0
    bad_tag,         // not sealed with this key; with ESN also if left of the window, where the
                     // number is then read as one of the next 2^32
    bad_padding,     // authentic, but padding is not 1, 2, 3, ... or longer than the packet
    bad_next_header, // authentic, but not the IP version or the mode of this SA
    dummy,           // authentic, next header 59: dummy packet to be dropped (section 2.6)
};
inline constexpr int kVerdicts = 9;
std::string_view to_string(Verdict verdict); // "bad_tag"

struct Opened {
    Verdict verdict;
    MutableBytes inner; // for ok, and the content of a dummy; otherwise empty
};

// An AEAD with a fixed key, and its nonce: in locked memory, except the key schedule, which is in
// EVP's. Both are wiped on destruction.
class Aead {
  public:
    Aead(Aead&& other) noexcept;
    Aead& operator=(Aead&& other) noexcept;
    ~Aead();
    static Result<Aead> create(const SaParams& params);

    // `text` is changed in place.
    bool seal(std::uint64_t iv, Bytes aad, MutableBytes text, std::uint8_t* icv);
    bool open(const std::uint8_t* iv, Bytes aad, MutableBytes text, std::uint8_t* icv);

  private:
    Aead() = default;
    bool begin(Bytes aad);

    EVP_CIPHER_CTX* context_ = nullptr;
    std::uint8_t* nonce_ = nullptr; // sodium_malloc: salt, then IV
};

// After so many packets a new outbound SA should be negotiated: three quarters of all numbers, but
// at most 2^34 packets under one key.
std::uint64_t default_soft_limit(bool esn);

class OutboundSa {
  public:
    // Refuses a wrong direction, unknown cipher, wrong key size, or reserved SPI. `number` is the
    // first sequence number; it may differ from 1 only if the key was never used with it or later
    // ones.
    static Result<OutboundSa> create(const SaParams& params, std::uint64_t number = 1);

    // `buffer`: kHeaderSize bytes of headroom, `inner_size` bytes, and tailroom up to
    // sealed_size(). With `wire_size` the packet is padded to exactly this size, which must be
    // possible: see can_pad().
    Sealed seal(MutableBytes buffer, std::size_t inner_size, std::size_t wire_size = 0);
    // A dummy packet (RFC 4303 section 2.6) of exactly `wire_size` bytes, which must be the
    // sealed_size() of some packet. The receiver drops it. It begins with `content`.
    Sealed seal_dummy(MutableBytes buffer, std::size_t wire_size, Bytes content = {});
    static constexpr bool can_pad(std::size_t inner_size, std::size_t wire_size) {
        const std::size_t least = kHeaderSize + inner_size + 2 + kIcvSize;
        return wire_size >= least && wire_size - least <= kMaxPadding &&
               wire_size % kAlignment == 0;
    }

    std::uint32_t spi() const { return spi_; }
    bool esn() const { return esn_; }
    bool exhausted() const { return exhausted_; }
    std::uint64_t next_number() const { return number_; }
    // True once a new SA should be negotiated: see default_soft_limit().
    bool soft_limit_reached() const { return number_ > soft_limit_; }
    void set_soft_limit(std::uint64_t number) { soft_limit_ = number; }
    // Sets a lower limit than the sequence numbers have, with its soft limit at three quarters.
    void end_after(std::uint64_t packets);

  private:
    OutboundSa(const SaParams& params, Aead aead, std::uint64_t number);
    Sealed seal(MutableBytes buffer, std::size_t inner_size, std::size_t wire_size,
                std::uint8_t next_header);

    Aead aead_;
    std::uint64_t number_; // the next one
    std::uint64_t last_;   // the last one that may be used
    std::uint64_t soft_limit_;
    std::uint32_t spi_;
    std::uint8_t next_header_;
    bool esn_;
    bool exhausted_ = false;
};

class InboundSa {
  public:
    // Refuses the same as OutboundSa::create, and a replay window of size 0.
    static Result<InboundSa> create(const SaParams& params);

    // Takes exactly one ESP packet. After a refusal, the content of `packet` must not be used.
    Opened open(MutableBytes packet);

    std::uint32_t spi() const { return spi_; }
    const ReplayWindow& window() const { return window_; }

  private:
    InboundSa(const SaParams& params, Aead aead);

    Aead aead_;
    ReplayWindow window_;
    std::uint32_t spi_;
    std::uint8_t next_header_;
    bool esn_;
};

} // namespace encsync::esp
