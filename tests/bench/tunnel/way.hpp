// SPDX-License-Identifier: ISC
// The two ways that lab_tunnel sends: our own link, and plain UDP through whatever tunnel the
// kernel routes it into. A sender and a receiver, each a process in its namespace, with shared
// memory for their counters.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

namespace encsync::bench {

inline constexpr std::size_t kPacket = 1400; // bytes of an inner IP packet, header included
inline constexpr std::size_t kBatch = 32;

struct Shared {
    std::atomic<bool> ready{false}, done{false};
    std::atomic<std::uint64_t> received{0}, disordered{0};
    // A rekey as IKE does it: the receiver's SA first, then the sender's, then the old one is
    // removed.
    std::atomic<std::uint32_t> wanted{0}, installed{0}, retired{0};
};

class Sender {
  public:
    virtual ~Sender() = default;
    // Sends up to kBatch packets, numbered from `number`; returns how many were accepted. 0: full.
    virtual std::size_t send(std::uint64_t number, std::size_t count) = 0;
    virtual void idle() = 0; // nothing to do for a moment
    virtual void rekey() {}
};

std::unique_ptr<Sender> esp_sender(Shared& shared, const std::string& from, const std::string& to);
std::unique_ptr<Sender> plain_sender(const std::string& from, const std::string& to);
// Receive until shared.done.
void esp_receiver(Shared& shared, const std::string& at, const std::string& from);
void plain_receiver(Shared& shared, const std::string& at);

// One packet has arrived, with this number.
inline void count(Shared& shared, std::uint64_t number) {
    // Only the receiver writes it.
    const std::uint64_t before = shared.received.load(std::memory_order_relaxed);
    if (number < before)
        shared.disordered.fetch_add(1, std::memory_order_relaxed);
    shared.received.store(before + 1, std::memory_order_release);
}

[[noreturn]] void fail(const std::string& why);

} // namespace encsync::bench
