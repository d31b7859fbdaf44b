// SPDX-License-Identifier: ISC
// Somebody on the path begins negotiations in a peer's name and does not finish them.
#include "tests/unit/plugin/pair.hpp"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <set>

namespace encsync::supervisor::test {
namespace {

using std::chrono::milliseconds;

// Somebody on minnie's switch who sends from mickey's address, and receives there: begins
// negotiations in mickey's name, returns every cookie, and goes no further.
class Flood {
  public:
    Flood(Node& victim, channel::IkeOut first) : victim_(victim), first_(std::move(first)) {}

    void begin(unsigned count) {
        for (; count > 0; count--) {
            auto request = first_.datagram;
            randombytes_buf(request.data(), 8); // another initiator's SPI
            begun++;
            spis_.insert(load_be<std::uint64_t>(request.data()));
            victim_.ike.ike_in(first_.from, first_.to, request);
        }
    }
    void on_answer(const channel::IkeOut& answer) {
        constexpr std::uint8_t kNotify = 41;
        constexpr std::uint16_t kCookie = 16390;
        const auto& a = answer.datagram;
        if (a.size() < 8 || !spis_.contains(load_be<std::uint64_t>(a.data())))
            return; // to mickey itself
        if (a.size() < 36 || a[16] != kNotify || load_be<std::uint16_t>(&a[34]) != kCookie) {
            answered++;
            return;
        }
        // RFC 7296 2.6: the same request, with the notify payload before everything else.
        std::vector<std::uint8_t> request(first_.datagram.begin(), first_.datagram.begin() + 28);
        std::copy_n(a.begin(), 8, request.begin());
        request.insert(request.end(), a.begin() + 28, a.end());
        request.insert(request.end(), first_.datagram.begin() + 28, first_.datagram.end());
        request[28] = request[16]; // the next payload is the one that was first
        request[16] = kNotify;
        store_be(&request[24], static_cast<std::uint32_t>(request.size()));
        cookies++;
        victim_.ike.ike_in(first_.from, first_.to, request);
    }

    unsigned begun = 0, cookies = 0, answered = 0;

  private:
    Node& victim_;
    const channel::IkeOut first_;
    std::set<std::uint64_t> spis_;
};

TEST_F(Pair, AFloodOfHalfOpenNegotiationsKeepsNoPeerOut) {
    auto waiting = peer_of(minnie);
    waiting.initiate = false;
    // mickey's first request is not delivered.
    std::optional<channel::IkeOut> first;
    mickey.seen = [&](const channel::IkeOut& m) {
        if (!first)
            first = m;
    };
    wire = false;
    start(mickey, peer_of(mickey));
    start(minnie, waiting);
    ASSERT_TRUE(eventually([&] { return first && minnie.ups == 1; }));
    mickey.seen = nullptr;

    Flood flood(minnie, *first);
    minnie.seen = [&](const channel::IkeOut& m) { flood.on_answer(m); };
    while (flood.answered < 1200) { // charon's limit is 1,000
        flood.begin(10);
        ASSERT_TRUE(eventually([&] { return flood.answered + 30 > flood.begun; }));
    }
    EXPECT_GT(flood.cookies, 1000U);
    EXPECT_EQ(minnie.count(PeerEventKind::flooded), 1U);
    EXPECT_TRUE(minnie.text(PeerEventKind::flooded).ends_with("may take several attempts"));
    // While it goes on, the real one comes in.
    boost::asio::steady_timer timer(io);
    std::function<void()> go_on_flooding = [&] {
        flood.begin(5);
        timer.expires_after(milliseconds(25));
        timer.async_wait([&](auto error) {
            if (!error)
                go_on_flooding();
        });
    };
    go_on_flooding();
    wire = true;
    EXPECT_TRUE(eventually([&] { return connected(); }));
    timer.cancel();
    minnie.seen = nullptr;
}

} // namespace
} // namespace encsync::supervisor::test
