// SPDX-License-Identifier: ISC
// A link slower than the sender: the sender waits, and nothing is lost.
#include "tests/unit/link/routed.hpp"

namespace encsync::link {
namespace {

class SlowLink : public Routed {
  protected:
    // As fast as the link accepts them; the sender continues at on_writable().
    void send_all(std::size_t packets) {
        for (std::size_t sent = 0; sent < packets;) {
            const int told = mickey->writables;
            while (sent < packets && mickey->put(text(1300, static_cast<std::uint8_t>(sent))))
                sent++;
            mickey->link->flush();
            if (sent < packets) {
                ASSERT_TRUE(until([&] { return mickey->writables > told; }));
            }
        }
        ASSERT_TRUE(until([&] { return minnie->packets.size() >= packets; }));
        ASSERT_EQ(packets, minnie->packets.size());
        for (std::size_t i = 0; i < packets; i++)
            ASSERT_EQ(text(1300, static_cast<std::uint8_t>(i)), minnie->packets[i].payload()) << i;
    }
};

TEST_F(SlowLink, ASmallSendBufferIsBackPressure) {
    options.ike.socket.buffer_size = 4096;
    build();
    here.run("tc qdisc add dev here0 root tbf rate 200mbit burst 16k limit 1m");
    send_all(2000);
    EXPECT_GT(mickey->stats().blocked, 10u);
    EXPECT_EQ(2000u, mickey->stats().tx_packets);
    EXPECT_EQ(0u, mickey->stats().not_sent);
}

// The buffer is large, the queue of the interface is small: packets that it drops are sent again.
TEST_F(SlowLink, AFullQueueIsBackPressureToo) {
    options.ike.socket.gso = false; // of a GSO packet, the queue would drop a part silently
    build();
    here.run("tc qdisc add dev here0 root tbf rate 200mbit burst 16k limit 30000");
    send_all(2000);
    EXPECT_GT(mickey->stats().blocked, 10u);
    EXPECT_EQ(0u, mickey->stats().not_sent);
}

} // namespace
} // namespace encsync::link
