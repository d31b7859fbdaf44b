// Two real charons: what they negotiate, what they refuse, and that it comes back.
#include "tests/unit/plugin/pair.hpp"

namespace encsync::supervisor::test {
namespace {

TEST_F(Pair, ComesUpWithMatchingSas) {
    start();
    ASSERT_TRUE(eventually([&] { return connected(); }));
    EXPECT_EQ(mickey.version, "5.9.8");
    const auto out = mickey.sending();
    ASSERT_TRUE(out);
    EXPECT_EQ(out->cipher, esp::Cipher::aes256gcm16);
    EXPECT_EQ(out->keymat_size, 36);
    EXPECT_TRUE(out->esn);
    EXPECT_EQ(out->peer, 0);
    EXPECT_EQ(out->inner_src, peer_of(mickey).inner_left);
    EXPECT_EQ(out->inner_dst, peer_of(mickey).inner_right);
    EXPECT_GE(out->spi, 256U);
    // Neither direction's key is the other's.
    EXPECT_NE(out->keymat, minnie.sending()->keymat);
    EXPECT_EQ(mickey.count(PeerEventKind::up), 1U);
    EXPECT_EQ(minnie.count(PeerEventKind::up), 1U);
}

} // namespace
} // namespace encsync::supervisor::test
