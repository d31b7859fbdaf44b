// SPDX-License-Identifier: ISC
// Peers that have only link-local addresses.
#include "tests/unit/link/routed.hpp"

#include <net/if.h>

namespace encsync::link {
namespace {

// mickey's interface "sync" is the cable to minnie; its interface "other" leads to another host
// with minnie's address.
class LinkLocal : public TwoNodes {
  protected:
    void SetUp() override {
        if (!enter_namespace())
            GTEST_SKIP() << "no network namespace to be had";
        options.ike.socket.buffer_size = 4 << 20;
        cable("sync", there);
        cable("other", stranger);
        there.within([&] {
            minnie.emplace(io, options);
            ASSERT_TRUE(minnie->link->add_peer(
                peer("mickey", address(right, "sync"), address(left, "sync"))));
        });
        here.within([&] {
            mickey.emplace(io, options);
            ASSERT_TRUE(mickey->link->add_peer(
                peer("minnie", address(left, "sync"), address(right, "sync"))));
        });
        connect_both();
    }
    void cable(const std::string& name, const Namespace& far) {
        here.run("ip link add " + name + " type veth peer name sync netns " + far.path());
        here.run("ip link set " + name + " addrgenmode none up && ip addr add " + left +
                 "/64 dev " + name + " nodad");
        far.run("ip link set sync addrgenmode none up && ip addr add " + right +
                "/64 dev sync nodad");
    }
    static std::string address(const std::string& number, const std::string& interface) {
        return number + "%" + interface;
    }
    void send(std::size_t packets) {
        for (std::size_t i = 0; i < packets; i++)
            ASSERT_TRUE(mickey->put(text(300)));
        mickey->link->flush();
    }
    Address scoped(const std::string& number) {
        return here.within(
            [&] { return Address(boost::asio::ip::make_address_v6(address(number, "sync"))); });
    }
    std::size_t ike(const Namespace& from) {
        from.within([&] {
            PlainSocket plain({boost::asio::ip::make_address(address(right, "sync")), 500});
            Endpoint to(boost::asio::ip::make_address(address(left, "sync")), 500);
            plain.send(text(100), to);
        });
        return mickey->ike.size();
    }

    Namespace here, there, stranger;
    LinkLocal() { left = "fe80::1", right = "fe80::2"; }
};

TEST_F(LinkLocal, PacketsPass) {
    send(5);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 5; }));
    EXPECT_EQ(300u + 20, minnie->packets[0].inner.size());
}

TEST_F(LinkLocal, TheSameAddressElsewhereIsNotThePeer) {
    EXPECT_EQ(0u, ike(stranger));
    minnie.reset(); // frees the port
    ike(there);     // control
    ASSERT_TRUE(until([&] { return mickey->ike.size() == 1; }));
    EXPECT_EQ(scoped(right), mickey->ike[0].from.address());
    EXPECT_EQ(scoped(left), mickey->ike[0].to.address());
    EXPECT_EQ(0u, mickey->link->stats().unknown_source);
}

TEST_F(LinkLocal, AnInterfaceThatComesBackIsFollowed) {
    send(1);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 1; }));
    const Address before = scoped(left);
    here.run("ip link del sync && ip link add placeholder type veth");
    send(1); // lost
    cable("sync", there);
    ASSERT_NE(before, scoped(left));
    here.within([&] {
        const auto moved = mickey->link->move_peer(0, scoped(left), scoped(right));
        ASSERT_TRUE(moved) << moved.error().text;
        EXPECT_TRUE(*moved);
        EXPECT_FALSE(*mickey->link->move_peer(0, scoped(left), scoped(right)));
    });
    there.within([&] {
        const auto at = [](const std::string& a) { return boost::asio::ip::make_address(a); };
        ASSERT_TRUE(minnie->link->move_peer(0, at("fe80::2%sync"), at("fe80::1%sync")));
    });
    EXPECT_EQ(0, mickey->downs); // the SAs stay
    send(3);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 4; }));
}

TEST_F(LinkLocal, AMoveThatFailsChangesNothing) {
    const auto moved = here.within([&] {
        return mickey->link->move_peer(0, boost::asio::ip::make_address("fe80::77%other"),
                                       boost::asio::ip::make_address("fe80::2%other"));
    });
    ASSERT_FALSE(moved);
    EXPECT_NE(std::string::npos, moved.error().text.find("this machine has no such address"));
    send(2);
    ASSERT_TRUE(until([&] { return minnie->packets.size() == 2; }));
}

} // namespace
} // namespace encsync::link
