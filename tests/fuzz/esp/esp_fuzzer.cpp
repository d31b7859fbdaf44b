// SPDX-License-Identifier: ISC
// ESP under a fixed key. The first byte selects cipher, ESN, inner family and mode:
//   mode 0: the rest is a received packet. It may open only if it was sealed with the key, which is
//           tested by sealing its content again: the result must have the same bytes.
//   mode 1: the rest is four bytes of changes (position 16 bits, value, spare), then an inner
//           packet: sealed, changed, opened. Only the unchanged one may open.
#include "ipsec/esp/sa.hpp"
#include "ipsec/link/probe.hpp"

#include <algorithm>
#include <cstdlib>
#include <vector>

using namespace encsync;
using namespace encsync::esp;

namespace {

constexpr std::uint32_t kSpi = 0xc0ffee01;

SaParams make_params(std::uint8_t choice, Direction direction) {
    constexpr Cipher kCiphers[] = {Cipher::aes128gcm16, Cipher::aes256gcm16,
                                   Cipher::chacha20poly1305, Cipher::aes256gcm16};
    SaParams params;
    params.spi = kSpi;
    params.direction = direction;
    params.cipher = kCiphers[choice & 3];
    params.esn = (choice & 4) != 0;
    params.inner_src.family = params.inner_dst.family =
        (choice & 8) != 0 ? net::Family::inet6 : net::Family::inet;
    params.replay_window = 64;
    params.keymat_size = static_cast<std::uint8_t>(key_size(params.cipher) + kSaltSize);
    for (std::uint8_t i = 0; i < params.keymat_size; i++)
        params.keymat[i] = i;
    return params;
}

void require(bool condition) {
    if (!condition)
        std::abort();
}

void packet_from_network(std::uint8_t choice, Bytes input) {
    auto in = InboundSa::create(make_params(choice, Direction::inbound));
    std::vector<std::uint8_t> packet(input.begin(), input.end());
    const std::uint64_t top = in->window().top();
    const Opened opened = in->open(packet);
    const bool authentic = opened.verdict == Verdict::ok || opened.verdict == Verdict::dummy ||
                           opened.verdict == Verdict::bad_padding ||
                           opened.verdict == Verdict::bad_next_header;
    require((opened.verdict == Verdict::ok || opened.verdict == Verdict::dummy) ==
            (opened.inner.data() != nullptr));
    require(authentic == (in->window().top() != top));
    if (opened.verdict == Verdict::dummy)
        if (const auto probe = link::read_probe(opened.inner))
            require(std::ranges::equal(link::write_probe(*probe),
                                       opened.inner.first(link::kProbeSize)));
    if (opened.verdict != Verdict::ok)
        return;
    require(opened.inner.size() + 34 <= packet.size());

    // The same packet again: a replay.
    std::vector<std::uint8_t> again(input.begin(), input.end());
    require(in->open(again).verdict == Verdict::replayed);

    // Sealed again under its number, it has the same bytes, if its IV is of our kind.
    const std::uint64_t number = load_be<std::uint32_t>(input.data() + 4);
    if (load_be<std::uint64_t>(input.data() + kIvOffset) != number)
        return;
    auto out = OutboundSa::create(make_params(choice, Direction::outbound), number);
    std::vector<std::uint8_t> sealed(input.size());
    std::copy(opened.inner.begin(), opened.inner.end(), sealed.begin() + kHeaderSize);
    require(out->seal(sealed, opened.inner.size(), sealed.size()).verdict == SealVerdict::ok);
    store_be(sealed.data(), load_be<std::uint32_t>(input.data()));
    require(std::equal(input.begin(), input.end(), sealed.begin()) ||
            load_be<std::uint32_t>(input.data()) != kSpi);
}

void sealed_then_changed(std::uint8_t choice, Bytes input) {
    if (input.size() < 4)
        return;
    const std::size_t at = load_be<std::uint16_t>(input.data());
    const std::uint8_t flip = input[2];
    const Bytes inner = input.subspan(4);

    auto out = OutboundSa::create(make_params(choice, Direction::outbound));
    auto in = InboundSa::create(make_params(choice, Direction::inbound));
    std::vector<std::uint8_t> packet(sealed_size(inner.size()));
    std::copy(inner.begin(), inner.end(), packet.begin() + kHeaderSize);
    require(out->seal(packet, inner.size()).verdict == SealVerdict::ok);

    std::vector<std::uint8_t> changed = packet;
    changed[at % changed.size()] ^= flip;
    const Opened first = in->open(changed);
    if (flip != 0) {
        require(first.verdict == Verdict::bad_tag || first.verdict == Verdict::too_old);
        require(in->window().top() == 0);
        const Opened second = in->open(packet);
        require(second.verdict == Verdict::ok && second.inner.size() == inner.size() &&
                std::equal(inner.begin(), inner.end(), second.inner.begin()));
    } else {
        require(first.verdict == Verdict::ok && first.inner.size() == inner.size() &&
                std::equal(inner.begin(), inner.end(), first.inner.begin()));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const Bytes rest{data + 1, size - 1};
    if ((data[0] & 0x80) != 0)
        sealed_then_changed(data[0], rest);
    else
        packet_from_network(data[0], rest);
    return 0;
}
