// SPDX-License-Identifier: ISC
#include "ipsec/esp/sa.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/core.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <utility>

namespace encsync::esp {
namespace {

constexpr std::size_t kNonceSize = kSaltSize + 8;
constexpr std::uint64_t kMaxPerKey = std::uint64_t{1} << 34;

constexpr std::uint64_t last_number(bool esn) {
    return esn ? UINT64_MAX - 1 : UINT32_MAX;
}

const char* evp_name(Cipher cipher) {
    switch (cipher) {
    case Cipher::aes128gcm16:
        return "AES-128-GCM";
    case Cipher::aes256gcm16:
        return "AES-256-GCM";
    case Cipher::chacha20poly1305:
        return "ChaCha20-Poly1305";
    }
    return nullptr;
}

Result<void> check(const SaParams& params, Direction direction) {
    if (params.direction != direction)
        return Error{fmt::format("SA {:08x}: wrong direction", params.spi)};
    if (params.spi < kMinSpi)
        return Error{fmt::format("SA {:08x}: reserved SPI", params.spi)};
    if (params.inner_src.family != params.inner_dst.family)
        return Error{fmt::format("SA {:08x}: selectors of two address families", params.spi)};
    return {};
}

std::uint8_t next_header(const SaParams& params) {
    if (params.transport)
        return kNextPfsync;
    return params.inner_src.is_v6() ? kNextIpv6 : kNextIpv4;
}

// The additional authenticated data: SPI and sequence number, all 64 bits of it with ESN (RFC 4106
// section 5).
struct Aad {
    Aad(const std::uint8_t* packet, std::uint64_t number, bool esn) : size(esn ? 12 : 8) {
        std::memcpy(data, packet, 4);
        if (esn)
            store_be(data + 4, number);
        else
            std::memcpy(data + 4, packet + 4, 4);
    }
    operator Bytes() const { return {data, size}; }

    std::uint8_t data[12];
    std::size_t size;
};

} // namespace

std::string_view to_string(SealVerdict verdict) {
    switch (verdict) {
    case SealVerdict::ok:
        return "ok";
    case SealVerdict::sequence_exhausted:
        return "sequence_exhausted";
    case SealVerdict::no_room:
        return "no_room";
    case SealVerdict::bad_size:
        return "bad_size";
    case SealVerdict::cipher_failed:
        return "cipher_failed";
    }
    return "?";
}

std::string_view to_string(Verdict verdict) {
    switch (verdict) {
    case Verdict::ok:
        return "ok";
    case Verdict::short_packet:
        return "short_packet";
    case Verdict::bad_length:
        return "bad_length";
    case Verdict::replayed:
        return "replayed";
    case Verdict::too_old:
        return "too_old";
    case Verdict::bad_tag:
        return "bad_tag";
    case Verdict::bad_padding:
        return "bad_padding";
    case Verdict::bad_next_header:
        return "bad_next_header";
    case Verdict::dummy:
        return "dummy";
    }
    return "?";
}

// ---- Aead ----------------------------------------------------------------------------------

Aead::Aead(Aead&& other) noexcept
    : context_(std::exchange(other.context_, nullptr)),
      nonce_(std::exchange(other.nonce_, nullptr)) {}

Aead& Aead::operator=(Aead&& other) noexcept {
    std::swap(context_, other.context_);
    std::swap(nonce_, other.nonce_);
    return *this;
}

Aead::~Aead() {
    EVP_CIPHER_CTX_free(context_); // wipes the key schedule
    sodium_free(nonce_);           // wipes, too
}

Result<Aead> Aead::create(const SaParams& params) {
    const char* name = evp_name(params.cipher);
    if (name == nullptr)
        return Error{fmt::format("SA {:08x}: unknown cipher {}", params.spi,
                                 static_cast<int>(params.cipher))};
    const std::size_t size = key_size(params.cipher);
    if (params.keymat_size != size + kSaltSize)
        return Error{fmt::format("SA {:08x}: {} bytes of key material, but {} takes {}", params.spi,
                                 params.keymat_size, name, size + kSaltSize)};
    if (sodium_init() < 0)
        return Error{"libsodium does not start"};

    Aead aead;
    aead.nonce_ = static_cast<std::uint8_t*>(sodium_malloc(kNonceSize));
    if (aead.nonce_ == nullptr)
        return Error{fmt::format("SA {:08x}: no locked memory left (see ulimit -l)", params.spi)};
    std::memcpy(aead.nonce_, params.keymat.data() + size, kSaltSize);
    std::memset(aead.nonce_ + kSaltSize, 0, kNonceSize - kSaltSize);

    aead.context_ = EVP_CIPHER_CTX_new();
    EVP_CIPHER* cipher = EVP_CIPHER_fetch(nullptr, name, nullptr);
    // The direction is set with the key: a context either only encrypts or only decrypts.
    const bool keyed =
        aead.context_ != nullptr && cipher != nullptr &&
        EVP_CipherInit_ex2(aead.context_, cipher, params.keymat.data(), nullptr,
                           params.direction == Direction::outbound ? 1 : 0, nullptr) == 1;
    EVP_CIPHER_free(cipher); // the context holds its own reference
    if (!keyed)
        return Error{fmt::format("SA {:08x}: OpenSSL does not offer {}", params.spi, name)};
    return aead;
}

bool Aead::begin(Bytes aad) {
    int n = 0;
    return EVP_CipherInit_ex2(context_, nullptr, nullptr, nonce_, -1, nullptr) == 1 &&
           EVP_CipherUpdate(context_, nullptr, &n, aad.data(), static_cast<int>(aad.size())) == 1;
}

bool Aead::seal(std::uint64_t iv, Bytes aad, MutableBytes text, std::uint8_t* icv) {
    store_be(nonce_ + kSaltSize, iv);
    int n = 0;
    std::uint8_t none[16];
    return begin(aad) &&
           EVP_CipherUpdate(context_, text.data(), &n, text.data(),
                            static_cast<int>(text.size())) == 1 &&
           EVP_CipherFinal_ex(context_, none, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_GET_TAG, kIcvSize, icv) == 1;
}

bool Aead::open(const std::uint8_t* iv, Bytes aad, MutableBytes text, std::uint8_t* icv) {
    std::memcpy(nonce_ + kSaltSize, iv, kNonceSize - kSaltSize);
    int n = 0;
    std::uint8_t none[16];
    return begin(aad) &&
           EVP_CipherUpdate(context_, text.data(), &n, text.data(),
                            static_cast<int>(text.size())) == 1 &&
           EVP_CIPHER_CTX_ctrl(context_, EVP_CTRL_AEAD_SET_TAG, kIcvSize, icv) == 1 &&
           EVP_CipherFinal_ex(context_, none, &n) == 1;
}

// ---- OutboundSa ----------------------------------------------------------------------------

std::uint64_t default_soft_limit(bool esn) {
    return std::min(last_number(esn) / 4 * 3, kMaxPerKey);
}

Result<OutboundSa> OutboundSa::create(const SaParams& params, std::uint64_t number) {
    if (auto ok = check(params, Direction::outbound); !ok)
        return ok.error();
    if (number == 0)
        return Error{fmt::format("SA {:08x}: sequence numbers begin at 1", params.spi)};
    auto aead = Aead::create(params);
    if (!aead)
        return aead.error();
    return OutboundSa(params, std::move(*aead), number);
}

OutboundSa::OutboundSa(const SaParams& params, Aead aead, std::uint64_t number)
    : aead_(std::move(aead)), number_(number), last_(last_number(params.esn)),
      soft_limit_(default_soft_limit(params.esn)), spi_(params.spi),
      next_header_(next_header(params)), esn_(params.esn) {}

void OutboundSa::end_after(std::uint64_t packets) {
    last_ = std::min(last_, packets);
    soft_limit_ = std::min(soft_limit_, packets / 4 * 3);
}

Sealed OutboundSa::seal(MutableBytes buffer, std::size_t inner_size, std::size_t wire_size) {
    if (wire_size == 0)
        wire_size = sealed_size(inner_size);
    else if (!can_pad(inner_size, wire_size))
        return {SealVerdict::bad_size, 0};
    return seal(buffer, inner_size, wire_size, next_header_);
}

Sealed OutboundSa::seal_dummy(MutableBytes buffer, std::size_t wire_size, Bytes content) {
    if (wire_size < sealed_size(0) || wire_size % kAlignment != 0)
        return {SealVerdict::bad_size, 0};
    if (buffer.size() < wire_size)
        return {SealVerdict::no_room, 0};
    const std::size_t inner_size = max_inner_size(wire_size);
    if (content.size() > inner_size)
        return {SealVerdict::bad_size, 0};
    if (number_ > last_) // exhausted() counts only real packets
        return {SealVerdict::sequence_exhausted, 0};
    std::memset(buffer.data() + kHeaderSize, 0, inner_size);
    std::ranges::copy(content, buffer.data() + kHeaderSize);
    return seal(buffer, inner_size, wire_size, kNextNone);
}

Sealed OutboundSa::seal(MutableBytes buffer, std::size_t inner_size, std::size_t wire_size,
                        std::uint8_t next_header) {
    if (buffer.size() < wire_size)
        return {SealVerdict::no_room, 0};
    if (number_ > last_) {
        exhausted_ = true;
        return {SealVerdict::sequence_exhausted, 0};
    }
    // Incremented first: even if something fails below, the number is never reused.
    const std::uint64_t number = number_++;

    std::uint8_t* packet = buffer.data();
    store_be(packet, spi_);
    store_be(packet + 4, static_cast<std::uint32_t>(number));
    store_be(packet + kIvOffset, number);

    const std::size_t text_size = wire_size - kHeaderSize - kIcvSize;
    const std::size_t padding = text_size - inner_size - 2;
    std::uint8_t* pad = packet + kHeaderSize + inner_size;
    for (std::size_t i = 0; i < padding; i++)
        pad[i] = static_cast<std::uint8_t>(i + 1);
    pad[padding] = static_cast<std::uint8_t>(padding);
    pad[padding + 1] = next_header;

    if (!aead_.seal(number, Aad(packet, number, esn()), {packet + kHeaderSize, text_size},
                    packet + kHeaderSize + text_size)) {
        // It may still be plaintext.
        sodium_memzero(packet, wire_size);
        return {SealVerdict::cipher_failed, 0};
    }
    return {SealVerdict::ok, wire_size};
}

// ---- InboundSa -----------------------------------------------------------------------------

Result<InboundSa> InboundSa::create(const SaParams& params) {
    if (auto ok = check(params, Direction::inbound); !ok)
        return ok.error();
    if (params.replay_window == 0)
        return Error{fmt::format("SA {:08x}: no replay window", params.spi)};
    auto aead = Aead::create(params);
    if (!aead)
        return aead.error();
    return InboundSa(params, std::move(*aead));
}

InboundSa::InboundSa(const SaParams& params, Aead aead)
    : aead_(std::move(aead)), window_(params.replay_window, params.esn), spi_(params.spi),
      next_header_(next_header(params)), esn_(params.esn) {}

Opened InboundSa::open(MutableBytes packet) {
    if (packet.size() < sealed_size(0))
        return {Verdict::short_packet, {}};
    const std::size_t text_size = packet.size() - kHeaderSize - kIcvSize;
    if (text_size % kAlignment != 0)
        return {Verdict::bad_length, {}};

    const std::uint64_t number = window_.infer(load_be<std::uint32_t>(packet.data() + 4));
    switch (window_.check(number)) {
    case ReplayWindow::Answer::fresh:
        break;
    case ReplayWindow::Answer::replayed:
        return {Verdict::replayed, {}};
    case ReplayWindow::Answer::too_old:
        return {Verdict::too_old, {}};
    }

    const MutableBytes text = packet.subspan(kHeaderSize, text_size);
    if (!aead_.open(packet.data() + kIvOffset, Aad(packet.data(), number, esn_), text,
                    text.data() + text.size()))
        return {Verdict::bad_tag, {}};
    window_.advance(number);

    const std::uint8_t found = text[text_size - 1];
    const std::size_t padding = text[text_size - 2];
    if (padding + 2 > text_size)
        return {Verdict::bad_padding, {}};
    const std::size_t inner_size = text_size - 2 - padding;
    for (std::size_t i = 0; i < padding; i++)
        if (text[inner_size + i] != i + 1)
            return {Verdict::bad_padding, {}};
    if (found == kNextNone)
        return {Verdict::dummy, text.first(inner_size)};
    if (found != next_header_)
        return {Verdict::bad_next_header, {}};
    return {Verdict::ok, text.first(inner_size)};
}

} // namespace encsync::esp
