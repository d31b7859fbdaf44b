// SPDX-License-Identifier: ISC
// The ESP engine alone, on one core: lab_seal SECONDS prints a JSON object with the packets of
// 1,400 bytes that it seals and opens in a second of its own CPU time, as `openssl speed` does.
#include "ipsec/esp/sa.hpp"

#include <cstdlib>
#include <ctime>
#include <fmt/core.h>
#include <vector>

using namespace encsync;
using namespace encsync::esp;

namespace {

constexpr std::size_t kInner = 1400, kBatch = 64; // as many buffers as the link has for a peer

double cpu_seconds() {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

SaParams params(Direction direction) {
    SaParams p;
    p.spi = 0x1000;
    p.direction = direction;
    p.cipher = Cipher::aes256gcm16;
    p.esn = true;
    p.keymat_size = static_cast<std::uint8_t>(key_size(p.cipher) + kSaltSize);
    return p;
}

struct Rates {
    double seals, opens;
};

// Sealed in batches of different buffers, then opened, with a separate clock for each.
Rates measure(double seconds) {
    auto out = OutboundSa::create(params(Direction::outbound));
    auto in = InboundSa::create(params(Direction::inbound));
    std::vector<std::vector<std::uint8_t>> packets(kBatch * 64,
                                                   std::vector<std::uint8_t>(sealed_size(kInner)));
    double sealing = 0, opening = 0;
    std::uint64_t done = 0;
    while (sealing < seconds || opening < seconds) {
        const double first = cpu_seconds();
        for (auto& packet : packets)
            if (out->seal(packet, kInner).verdict != SealVerdict::ok)
                std::abort();
        const double middle = cpu_seconds();
        for (auto& packet : packets)
            if (in->open(packet).verdict != Verdict::ok)
                std::abort();
        sealing += middle - first;
        opening += cpu_seconds() - middle;
        done += packets.size();
    }
    return {static_cast<double>(done) / sealing, static_cast<double>(done) / opening};
}

} // namespace

int main(int argc, char** argv) {
    const double seconds = argc > 1 ? std::atof(argv[1]) : 0;
    if (seconds <= 0) {
        fmt::print(stderr, "usage: lab_seal SECONDS\n");
        return 2;
    }
    const Rates rates = measure(seconds);
    fmt::print("{{\"bytes\": {}, \"seals_per_second\": {:.0f}, \"opens_per_second\": {:.0f}}}\n",
               kInner, rates.seals, rates.opens);
}
