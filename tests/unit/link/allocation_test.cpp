// SPDX-License-Identifier: ISC
// Nothing is allocated per packet: every malloc of the process is counted, OpenSSL's and Asio's
// included, while packets go both ways through sockets and SAs.
#include "tests/unit/link/nodes.hpp"
#include "tests/unit/malloc_hooks.hpp"

namespace {

std::uint64_t allocations = 0;

#ifdef __SANITIZE_ADDRESS__
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) { allocations++; }, [](const volatile void*) {});
#endif

} // namespace

#ifndef __SANITIZE_ADDRESS__
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): glibc's names
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* old, std::size_t size);
// NOLINTEND(bugprone-reserved-identifier)

void* malloc(std::size_t size) {
    allocations++;
    return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}
void* realloc(void* old, std::size_t size) {
    allocations++;
    return __libc_realloc(old, size);
}
}
#endif

namespace encsync::link {
namespace {

// Counts what arrives and keeps nothing.
struct Sink final : Receiver {
    void on_packet(PeerId, std::uint32_t, Bytes inner) override {
        packets++;
        bytes += inner.size();
    }
    void on_up(PeerId) override {}
    void on_down(PeerId) override {}
    void on_writable(PeerId) override {}
    std::uint64_t packets = 0, bytes = 0;
};

class Allocations : public TwoNodes {
  protected:
    void SetUp() override {
        TwoNodes::SetUp();
        if (IsSkipped())
            return;
        mickey.reset();
        minnie.reset();
        for (std::size_t n = 0; n < 2; n++) {
            auto opened = UserspaceLink::open(io, sinks[n], {}, options);
            ASSERT_TRUE(opened);
            links[n] = std::move(*opened);
            ASSERT_TRUE(links[n]->add_peer(n == 0 ? peer("minnie", left, right)
                                                  : peer("mickey", right, left)));
        }
        connect(0, 1, 0x1001, esp::Cipher::aes256gcm16);
        connect(1, 0, 0x2001, esp::Cipher::chacha20poly1305);
    }
    void connect(std::size_t from, std::size_t to, std::uint32_t spi, esp::Cipher cipher) {
        auto params = make_params(Direction::inbound, spi);
        params.cipher = cipher;
        params.keymat_size = static_cast<std::uint8_t>(esp::key_size(cipher) + esp::kSaltSize);
        ASSERT_TRUE(links[to]->add_sa(params));
        params.direction = Direction::outbound;
        ASSERT_TRUE(links[from]->add_sa(params));
    }
    // `packets` each way, in batches of 50 of all sizes, received before the next batch.
    void exchange(std::uint64_t packets) {
        const std::uint64_t goal = sinks[0].packets + packets;
        std::uint32_t random = 3;
        while (sinks[0].packets < goal) {
            for (auto& link : links) {
                for (int i = 0; i < 50; i++) {
                    const MutableBytes room = link->acquire(0);
                    ASSERT_FALSE(room.empty());
                    random = random * 1664525 + 1013904223;
                    link->commit(0, 1 + (random >> 16) % room.size());
                }
                link->flush();
            }
            settle();
        }
        ASSERT_EQ(goal, sinks[0].packets);
        ASSERT_EQ(goal, sinks[1].packets);
    }

    std::array<Sink, 2> sinks;
    std::array<std::unique_ptr<UserspaceLink>, 2> links;
};

TEST_F(Allocations, NoneInAHundredThousandPacketsEachWay) {
    exchange(1000); // buffers of Asio and OpenSSL that are allocated once
    const std::uint64_t before = allocations;
    exchange(100'000);
    EXPECT_EQ(before, allocations);
}

TEST_F(Allocations, OneIsCounted) {
    const std::uint64_t before = allocations;
    const auto one = std::make_unique<Sink>();
    EXPECT_EQ(before + 1, allocations);
    EXPECT_EQ(0u, one->packets);
}

} // namespace
} // namespace encsync::link
