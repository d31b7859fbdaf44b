// SPDX-License-Identifier: ISC
#include "ipsec/esp/sa.hpp"

#include <algorithm>
#include <gtest/gtest.h>
#include <memory>
#include <numeric>
#include <openssl/evp.h>
#include <vector>

namespace encsync::esp {
namespace {

using Buffer = std::vector<std::uint8_t>;

SaParams make_params(Direction direction, Cipher cipher = Cipher::aes256gcm16, bool esn = true,
                     std::uint8_t key = 1) {
    SaParams params;
    params.spi = 0xc0ffee01;
    params.peer = 0;
    params.direction = direction;
    params.cipher = cipher;
    params.esn = esn;
    params.keymat_size = static_cast<std::uint8_t>(key_size(cipher) + kSaltSize);
    for (std::size_t i = 0; i < params.keymat_size; i++)
        params.keymat[i] = static_cast<std::uint8_t>(key * 31 + i);
    return params;
}

OutboundSa outbound(const SaParams& params, std::uint64_t number = 1) {
    auto sa = OutboundSa::create(params, number);
    EXPECT_TRUE(sa) << (sa ? "" : sa.error().text);
    return std::move(*sa);
}
InboundSa inbound(const SaParams& params) {
    auto sa = InboundSa::create(params);
    EXPECT_TRUE(sa) << (sa ? "" : sa.error().text);
    return std::move(*sa);
}

Buffer text(std::size_t size) {
    Buffer bytes(size);
    std::iota(bytes.begin(), bytes.end(), std::uint8_t{0x45});
    return bytes;
}

Buffer seal(OutboundSa& sa, const Buffer& inner, std::size_t wire_size = 0) {
    // Exactly as long as needed, so that the sanitizer detects any access beyond it.
    Buffer buffer(wire_size != 0 ? wire_size : sealed_size(inner.size()));
    std::copy(inner.begin(), inner.end(), buffer.begin() + kHeaderSize);
    const Sealed sealed = sa.seal(buffer, inner.size(), wire_size);
    EXPECT_EQ(SealVerdict::ok, sealed.verdict) << to_string(sealed.verdict);
    EXPECT_EQ(buffer.size(), sealed.size);
    return buffer;
}

struct Found {
    Verdict verdict;
    Buffer inner;
};
Found open(InboundSa& sa, Buffer packet) {
    const Opened opened = sa.open(packet);
    return {opened.verdict, {opened.inner.begin(), opened.inner.end()}};
}

// Sealing by hand, directly from the RFCs, to compare with, and for packets that seal() never
// makes.
Buffer seal_by_hand(const SaParams& params, std::uint64_t number, std::uint64_t iv,
                    const Buffer& plain) {
    const char* name = params.cipher == Cipher::aes128gcm16   ? "AES-128-GCM"
                       : params.cipher == Cipher::aes256gcm16 ? "AES-256-GCM"
                                                              : "ChaCha20-Poly1305";
    Buffer packet(16 + plain.size() + 16);
    store_be(packet.data(), params.spi);
    store_be(packet.data() + 4, static_cast<std::uint32_t>(number));
    store_be(packet.data() + 8, iv);
    Buffer aad(packet.begin(), packet.begin() + 4);
    for (int shift = params.esn ? 56 : 24; shift >= 0; shift -= 8)
        aad.push_back(static_cast<std::uint8_t>(number >> shift));
    Buffer nonce(params.keymat.begin() + static_cast<long>(key_size(params.cipher)),
                 params.keymat.begin() + params.keymat_size);
    nonce.insert(nonce.end(), packet.begin() + 8, packet.begin() + 16);

    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
    int n = 0;
    EXPECT_EQ(1, EVP_EncryptInit_ex(context, EVP_get_cipherbyname(name), nullptr,
                                    params.keymat.data(), nonce.data()));
    EXPECT_EQ(1, EVP_EncryptUpdate(context, nullptr, &n, aad.data(), static_cast<int>(aad.size())));
    EXPECT_EQ(1, EVP_EncryptUpdate(context, packet.data() + 16, &n, plain.data(),
                                   static_cast<int>(plain.size())));
    EXPECT_EQ(1, EVP_EncryptFinal_ex(context, packet.data() + 16 + n, &n));
    EXPECT_EQ(1, EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16,
                                     packet.data() + 16 + plain.size()));
    EVP_CIPHER_CTX_free(context);
    return packet;
}

Buffer from_hex(std::string_view hex) {
    Buffer bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
        bytes.push_back(
            static_cast<std::uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
    return bytes;
}

class EveryCipher : public testing::TestWithParam<std::tuple<Cipher, bool>> {
  protected:
    SaParams params(Direction direction, std::uint8_t key = 1) const {
        return make_params(direction, std::get<0>(GetParam()), std::get<1>(GetParam()), key);
    }
};

TEST_P(EveryCipher, OpensWhatWasSealed) {
    auto out = outbound(params(Direction::outbound));
    auto in = inbound(params(Direction::inbound));
    for (std::size_t size = 0; size < 300; size++) {
        const Found found = open(in, seal(out, text(size)));
        ASSERT_EQ(Verdict::ok, found.verdict) << size << ": " << to_string(found.verdict);
        ASSERT_EQ(text(size), found.inner);
    }
    EXPECT_EQ(300u, in.window().top());
}

TEST_P(EveryCipher, IsWhatTheRfcSays) {
    const SaParams p = params(Direction::outbound);
    auto out = outbound(p, 0x01020304);
    Buffer plain = text(61);
    plain.insert(plain.end(), {1, 1, kNextIpv4}); // 61 + padding of 1 + 2 is 64
    EXPECT_EQ(seal_by_hand(p, 0x01020304, 0x01020304, plain), seal(out, text(61)));
}

TEST_P(EveryCipher, PadsToAnySizeItCan) {
    auto out = outbound(params(Direction::outbound));
    auto in = inbound(params(Direction::inbound));
    for (std::size_t wire = sealed_size(100); wire <= 16 + 100 + 255 + 2 + 16; wire += 4) {
        const Found found = open(in, seal(out, text(100), wire));
        ASSERT_EQ(Verdict::ok, found.verdict);
        ASSERT_EQ(text(100), found.inner);
    }
}

TEST_P(EveryCipher, EveryByteChangedIsRefused) {
    auto out = outbound(params(Direction::outbound));
    auto in = inbound(params(Direction::inbound));
    const Buffer packet = seal(out, text(50));
    for (std::size_t at = 0; at < packet.size(); at++)
        for (int bit = 0; bit < 8; bit++) {
            Buffer changed = packet;
            changed[at] = static_cast<std::uint8_t>(changed[at] ^ (1u << bit));
            const Verdict verdict = open(in, changed).verdict;
            // Number 0 is refused before its tag is checked.
            ASSERT_EQ(at == 7 && bit == 0 ? Verdict::too_old : Verdict::bad_tag, verdict)
                << at << ' ' << to_string(verdict);
        }
    EXPECT_EQ(0u, in.window().top()) << "a forged packet moved the window";
    EXPECT_EQ(Verdict::ok, open(in, packet).verdict);
}

TEST_P(EveryCipher, CutShortAtEveryByteIsRefused) {
    auto out = outbound(params(Direction::outbound));
    auto in = inbound(params(Direction::inbound));
    const Buffer packet = seal(out, text(50));
    for (std::size_t size = 0; size < packet.size(); size++) {
        const Verdict verdict =
            open(in, Buffer(packet.begin(), packet.begin() + static_cast<long>(size))).verdict;
        const Verdict expected = size < sealed_size(0) ? Verdict::short_packet
                                 : size % 4 != 0       ? Verdict::bad_length
                                                       : Verdict::bad_tag;
        ASSERT_EQ(expected, verdict) << size << ' ' << to_string(verdict);
    }
    Buffer longer = packet;
    longer.insert(longer.end(), 4, 0);
    EXPECT_EQ(Verdict::bad_tag, open(in, longer).verdict);
    EXPECT_EQ(Verdict::ok, open(in, packet).verdict);
}

TEST_P(EveryCipher, TheSamePacketTwiceIsAReplay) {
    auto out = outbound(params(Direction::outbound));
    auto in = inbound(params(Direction::inbound));
    const Buffer first = seal(out, text(8)), second = seal(out, text(8));
    EXPECT_EQ(Verdict::ok, open(in, second).verdict);
    EXPECT_EQ(Verdict::ok, open(in, first).verdict);
    EXPECT_EQ(Verdict::replayed, open(in, first).verdict);
    EXPECT_EQ(Verdict::replayed, open(in, second).verdict);
}

TEST_P(EveryCipher, AnotherKeyOpensNothing) {
    auto out = outbound(params(Direction::outbound));
    auto other = inbound(params(Direction::inbound, 2));
    auto in = inbound(params(Direction::inbound));
    const Buffer packet = seal(out, text(8));
    EXPECT_EQ(Verdict::bad_tag, open(other, packet).verdict);
    EXPECT_EQ(Verdict::ok, open(in, packet).verdict);
}

TEST_P(EveryCipher, AnotherSaltOpensNothing) {
    SaParams salted = params(Direction::inbound);
    salted.keymat[salted.keymat_size - 1u] ^= 1;
    auto out = outbound(params(Direction::outbound));
    auto other = inbound(salted);
    EXPECT_EQ(Verdict::bad_tag, open(other, seal(out, text(8))).verdict);
}

INSTANTIATE_TEST_SUITE_P(Ciphers, EveryCipher,
                         testing::Combine(testing::Values(Cipher::aes128gcm16, Cipher::aes256gcm16,
                                                          Cipher::chacha20poly1305),
                                          testing::Bool()));

// RFC 7634 appendix A: the one ESP packet with a published key, inner packet and result.
TEST(KnownAnswer, Rfc7634) {
    SaParams params = make_params(Direction::inbound, Cipher::chacha20poly1305, false);
    params.spi = 0x01020304;
    const Buffer key = from_hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
                                "a0a1a2a3");
    std::copy(key.begin(), key.end(), params.keymat.begin());
    const Buffer inner = from_hex("45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10"
                                  "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
                                  "2425262728292a2b2c2d2e2f3031323334353637");
    const Buffer packet = from_hex(
        "0102030400000005101112131415161724039428b97f417e3c13753a4f05087b67c352e6"
        "a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc6"
        "38e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e076aaa8266b7fb0f7b11b369907e1"
        "ad43");
    auto in = inbound(params);
    const Found found = open(in, packet);
    EXPECT_EQ(Verdict::ok, found.verdict) << to_string(found.verdict);
    EXPECT_EQ(inner, found.inner);

    Buffer plain = inner;
    plain.insert(plain.end(), {1, 2, 2, 4});
    EXPECT_EQ(packet, seal_by_hand(params, 5, 0x1011121314151617, plain));
}

TEST(OutboundSa, SequenceNumberStopsAt32BitsWithoutEsn) {
    auto out = outbound(make_params(Direction::outbound, Cipher::aes128gcm16, false), UINT32_MAX);
    EXPECT_FALSE(out.exhausted());
    const Buffer last = seal(out, text(8));
    EXPECT_EQ(UINT32_MAX, load_be<std::uint32_t>(last.data() + 4));

    Buffer buffer = text(sealed_size(8));
    const Buffer before = buffer;
    for (int i = 0; i < 3; i++) {
        const Sealed sealed = out.seal(buffer, 8);
        EXPECT_EQ(SealVerdict::sequence_exhausted, sealed.verdict);
        EXPECT_EQ(0u, sealed.size);
    }
    EXPECT_EQ(before, buffer);
    EXPECT_TRUE(out.exhausted());
}

TEST(OutboundSa, SequenceNumberGoesOnWithEsn) {
    const std::uint64_t start = UINT32_MAX - std::uint64_t{2};
    auto out = outbound(make_params(Direction::outbound), start);
    auto in = inbound(make_params(Direction::inbound));
    for (std::uint64_t number = start; number < start + 10; number++) {
        const Buffer packet = seal(out, text(8));
        EXPECT_EQ(number, load_be<std::uint64_t>(packet.data() + 8)); // the IV
        if (number == start) { // without history, a receiver takes it for an old one
            EXPECT_EQ(Verdict::too_old, open(in, packet).verdict);
        }
    }

    auto near = inbound(make_params(Direction::inbound));
    auto again = outbound(make_params(Direction::outbound), std::uint64_t{1} << 31);
    EXPECT_EQ(Verdict::ok, open(near, seal(again, text(8))).verdict);
    auto later = outbound(make_params(Direction::outbound), start);
    for (int i = 0; i < 10; i++)
        EXPECT_EQ(Verdict::ok, open(near, seal(later, text(8))).verdict) << i;
    EXPECT_EQ(start + 9, near.window().top());
}

TEST(OutboundSa, EsnAndPlainNumbersDoNotMix) {
    auto out = outbound(make_params(Direction::outbound, Cipher::aes256gcm16, false));
    auto in = inbound(make_params(Direction::inbound, Cipher::aes256gcm16, true));
    EXPECT_EQ(Verdict::bad_tag, open(in, seal(out, text(8))).verdict);
}

TEST(OutboundSa, EndsAtTheLastNumberOfAll) {
    auto out = outbound(make_params(Direction::outbound), UINT64_MAX - 1);
    seal(out, text(8));
    Buffer buffer(sealed_size(8));
    EXPECT_EQ(SealVerdict::sequence_exhausted, out.seal(buffer, 8).verdict);
    EXPECT_EQ(SealVerdict::sequence_exhausted, out.seal(buffer, 8).verdict);
}

TEST(OutboundSa, EndsAfterSoManyPackets) {
    for (const bool esn : {false, true}) {
        auto out = outbound(make_params(Direction::outbound, Cipher::aes256gcm16, esn));
        auto in = inbound(make_params(Direction::inbound, Cipher::aes256gcm16, esn));
        out.end_after(4);
        for (int i = 0; i < 4; i++) {
            EXPECT_EQ(i == 3, out.soft_limit_reached()) << i;
            EXPECT_EQ(Verdict::ok, open(in, seal(out, text(8))).verdict);
        }
        Buffer buffer(sealed_size(8));
        EXPECT_EQ(SealVerdict::sequence_exhausted, out.seal(buffer, 8).verdict);
        EXPECT_TRUE(out.exhausted());
    }
    // Never after the sequence numbers are used up.
    auto out = outbound(make_params(Direction::outbound, Cipher::aes256gcm16, false), UINT32_MAX);
    out.end_after(std::uint64_t{1} << 40);
    seal(out, text(8));
    Buffer buffer(sealed_size(8));
    EXPECT_EQ(SealVerdict::sequence_exhausted, out.seal(buffer, 8).verdict);
}

TEST(OutboundSa, TellsWhenItIsTimeForANewOne) {
    auto out = outbound(make_params(Direction::outbound, Cipher::aes128gcm16, false));
    out.set_soft_limit(2);
    seal(out, text(8));
    EXPECT_FALSE(out.soft_limit_reached());
    seal(out, text(8));
    EXPECT_TRUE(out.soft_limit_reached());

    const std::uint64_t soft = UINT32_MAX / 4u * 3u;
    auto plain = outbound(make_params(Direction::outbound, Cipher::aes128gcm16, false), soft);
    EXPECT_FALSE(plain.soft_limit_reached());
    seal(plain, text(8));
    EXPECT_TRUE(plain.soft_limit_reached());
}

TEST(OutboundSa, NoNonceComesTwice) {
    auto out = outbound(make_params(Direction::outbound));
    std::vector<std::uint64_t> ivs;
    Buffer small(10);
    for (int i = 0; i < 100; i++) {
        ivs.push_back(load_be<std::uint64_t>(seal(out, text(8)).data() + 8));
        EXPECT_EQ(SealVerdict::no_room, out.seal(small, 8).verdict);
    }
    std::sort(ivs.begin(), ivs.end());
    EXPECT_EQ(ivs.end(), std::adjacent_find(ivs.begin(), ivs.end()));
}

TEST(OutboundSa, RefusesWhatDoesNotFit) {
    auto out = outbound(make_params(Direction::outbound));
    Buffer buffer(1000);
    EXPECT_EQ(SealVerdict::no_room,
              out.seal(MutableBytes(buffer).first(sealed_size(100) - 1), 100).verdict);
    EXPECT_EQ(SealVerdict::ok, out.seal(MutableBytes(buffer).first(sealed_size(100)), 100).verdict);
    EXPECT_EQ(SealVerdict::bad_size, out.seal(buffer, 100, 100).verdict); // too small
    EXPECT_EQ(SealVerdict::bad_size, out.seal(buffer, 100, sealed_size(100) + 1).verdict);
    EXPECT_EQ(SealVerdict::bad_size, out.seal(buffer, 100, 600).verdict); // over 255 of padding
}

TEST(OutboundSa, SizesAgree) {
    for (std::size_t wire = 0; wire < 2000; wire++) {
        const std::size_t inner = max_inner_size(wire);
        if (wire < 36) {
            EXPECT_EQ(0u, inner);
            continue;
        }
        ASSERT_LE(sealed_size(inner), wire);
        ASSERT_GT(sealed_size(inner + 1), wire);
    }
}

// Authentic, but wrong inside: a peer with the key that violates the RFC.
TEST(OutboundSa, DummiesAreToldFromPackets) {
    auto out = outbound(make_params(Direction::outbound));
    auto in = inbound(make_params(Direction::inbound));
    std::vector<std::uint8_t> buffer(1472);
    const std::vector<std::uint8_t> content{1, 2, 3};
    const Sealed dummy = out.seal_dummy(buffer, 1472, content);
    ASSERT_EQ(SealVerdict::ok, dummy.verdict);
    EXPECT_EQ(1472u, dummy.size);
    const Opened opened = in.open(buffer);
    EXPECT_EQ(Verdict::dummy, opened.verdict);
    ASSERT_EQ(max_inner_size(1472), opened.inner.size());
    EXPECT_TRUE(std::ranges::equal(content, opened.inner.first(3)));
    EXPECT_EQ(0, opened.inner[3]);
    EXPECT_EQ(Verdict::replayed, in.open(buffer).verdict); // its number counts as seen
    EXPECT_EQ(SealVerdict::bad_size, out.seal_dummy(buffer, 1470).verdict);
    EXPECT_EQ(SealVerdict::bad_size, out.seal_dummy(buffer, sealed_size(0) - 4).verdict);
    EXPECT_EQ(SealVerdict::bad_size, out.seal_dummy(buffer, sealed_size(2), content).verdict);
    EXPECT_EQ(SealVerdict::no_room, out.seal_dummy(buffer, 1476).verdict);
    EXPECT_EQ(2u, out.next_number());
}

TEST(InboundSa, RefusesBadPadding) {
    const SaParams params = make_params(Direction::inbound);
    auto in = inbound(params);
    struct Row {
        Buffer plain;
        Verdict verdict;
    };
    const std::vector<Row> rows{
        {{9, 9, 9, 9, 1, 2, 2, 4}, Verdict::ok},
        {{9, 9, 9, 9, 1, 3, 2, 4}, Verdict::bad_padding}, // not 1, 2
        {{9, 9, 9, 9, 0, 0, 2, 4}, Verdict::bad_padding}, // zeros
        {{1, 2, 3, 4, 5, 6, 6, 4}, Verdict::ok},          // nothing but padding
        {{1, 2, 3, 4, 5, 6, 7, 4}, Verdict::bad_padding}, // one more than the packet has
        {{1, 2, 3, 4, 5, 6, 255, 4}, Verdict::bad_padding},
        {{9, 9, 9, 9, 9, 9, 0, 4}, Verdict::ok},
        {{9, 9, 9, 9, 9, 9, 0, 41}, Verdict::bad_next_header},  // IPv6 in an IPv4 SA
        {{9, 9, 9, 9, 9, 9, 0, 240}, Verdict::bad_next_header}, // transport mode
        {{9, 9, 9, 9, 9, 9, 0, 59}, Verdict::dummy},
        {{0, 4}, Verdict::bad_length},
    };
    std::uint64_t number = 1;
    for (const Row& row : rows) {
        const Verdict verdict = open(in, seal_by_hand(params, number, number, row.plain)).verdict;
        EXPECT_EQ(row.verdict, verdict == Verdict::short_packet ? Verdict::bad_length : verdict)
            << number << ": " << to_string(verdict);
        number++;
    }
}

TEST(InboundSa, CarriesPayloadsInTransportMode) {
    SaParams p = make_params(Direction::outbound), q = make_params(Direction::inbound);
    p.transport = q.transport = true;
    auto out = outbound(p);
    auto in = inbound(q);
    EXPECT_EQ(Verdict::ok, open(in, seal(out, text(40))).verdict);
    auto tunnel = inbound(make_params(Direction::inbound));
    EXPECT_EQ(Verdict::bad_next_header, open(tunnel, seal(out, text(40))).verdict);
    auto ip = outbound(make_params(Direction::outbound), 4);
    EXPECT_EQ(Verdict::bad_next_header, open(in, seal(ip, text(40))).verdict);
    // As sealed by another sender: the protocol number is right, but there is no IP header.
    const Buffer plain{9, 9, 9, 9, 9, 9, 0, 240};
    EXPECT_EQ(Verdict::ok, open(in, seal_by_hand(q, 5, 5, plain)).verdict);
}

TEST(InboundSa, CarriesIpv6) {
    SaParams p = make_params(Direction::outbound), q = make_params(Direction::inbound);
    p.inner_src.family = p.inner_dst.family = q.inner_src.family = q.inner_dst.family =
        net::Family::inet6;
    auto out = outbound(p);
    auto in = inbound(q);
    EXPECT_EQ(Verdict::ok, open(in, seal(out, text(40))).verdict);
    auto in4 = inbound(make_params(Direction::inbound));
    EXPECT_EQ(Verdict::bad_next_header, open(in4, seal(out, text(40))).verdict);
}

TEST(InboundSa, TheWindowHasTheSizeAskedFor) {
    for (const bool esn : {false, true}) {
        SaParams p = make_params(Direction::inbound, Cipher::aes256gcm16, esn);
        p.replay_window = 64;
        auto in = inbound(p);
        auto out = outbound(make_params(Direction::outbound, Cipher::aes256gcm16, esn));
        std::vector<Buffer> packets;
        packets.reserve(66);
        for (int i = 0; i < 66; i++)
            packets.push_back(seal(out, text(8)));
        EXPECT_EQ(Verdict::ok, open(in, packets[65]).verdict);
        EXPECT_EQ(esn ? Verdict::bad_tag : Verdict::too_old, open(in, packets[1]).verdict);
        EXPECT_EQ(Verdict::ok, open(in, packets[2]).verdict);
    }
}

TEST(Create, RefusesByName) {
    const auto out_error = [](const SaParams& p) {
        auto sa = OutboundSa::create(p);
        return sa ? std::string("created") : sa.error().text;
    };
    const auto in_error = [](const SaParams& p) {
        auto sa = InboundSa::create(p);
        return sa ? std::string("created") : sa.error().text;
    };
    SaParams p = make_params(Direction::outbound), q = make_params(Direction::inbound);
    EXPECT_EQ("created", out_error(p));
    EXPECT_EQ("created", in_error(q));
    EXPECT_EQ("SA c0ffee01: wrong direction", out_error(q));
    EXPECT_EQ("SA c0ffee01: wrong direction", in_error(p));
    p.keymat_size--;
    EXPECT_EQ("SA c0ffee01: 35 bytes of key material, but AES-256-GCM takes 36", out_error(p));
    p.keymat_size = 20;
    EXPECT_EQ("SA c0ffee01: 20 bytes of key material, but AES-256-GCM takes 36", out_error(p));
    p.cipher = Cipher::aes128gcm16;
    EXPECT_EQ("created", out_error(p));
    p.cipher = static_cast<Cipher>(9);
    EXPECT_EQ("SA c0ffee01: unknown cipher 9", out_error(p));
    q.replay_window = 0;
    EXPECT_EQ("SA c0ffee01: no replay window", in_error(q));
    q.replay_window = 64;
    q.inner_dst.family = net::Family::inet6;
    EXPECT_EQ("SA c0ffee01: selectors of two address families", in_error(q));
    q.inner_dst.family = net::Family::inet;
    q.spi = 255;
    EXPECT_EQ("SA 000000ff: reserved SPI", in_error(q));
    auto zero = OutboundSa::create(make_params(Direction::outbound), 0);
    ASSERT_FALSE(zero);
    EXPECT_EQ("SA c0ffee01: sequence numbers begin at 1", zero.error().text);
}

TEST(Verdicts, HaveNames) {
    for (int i = 0; i < kVerdicts; i++)
        EXPECT_NE("?", to_string(static_cast<Verdict>(i)));
    EXPECT_EQ("?", to_string(static_cast<Verdict>(kVerdicts)));
}

} // namespace
} // namespace encsync::esp
