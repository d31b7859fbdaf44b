// SPDX-License-Identifier: ISC
// Two real charons under two supervisors in one process, with a network between them that is a
// function call: tests can cut it, and examine every SA and event on both sides.
#pragma once

#include "ipsec/plugin/supervisor.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <optional>
#include <sodium.h>
#include <vector>

namespace encsync::supervisor::test {

using channel::PeerEventKind;

inline channel::Ed25519Seed seed(std::uint8_t fill) {
    channel::Ed25519Seed out;
    out.fill(fill);
    return out;
}

inline channel::Ed25519Public public_key(const channel::Ed25519Seed& seed) {
    channel::Ed25519Public out;
    std::array<std::uint8_t, crypto_sign_SECRETKEYBYTES> secret;
    crypto_sign_seed_keypair(out.data(), secret.data(), seed.data());
    return out;
}

struct Node final : Owner {
    Node(boost::asio::io_context& context, Options options)
        : io(context), ike(context, std::move(options), *this) {}

    void on_ike_out(const channel::IkeOut& m) override {
        datagrams++;
        if (seen)
            seen(m);
        if (!other || !*wire)
            return;
        boost::asio::post(io, [this, m] {
            if (*wire)
                other->ike.ike_in(m.from, m.to, m.datagram);
        });
    }
    void on_add_sa(const channel::AddSa& sa) override {
        sas.push_back(sa);
        log.push_back(fmt::format("SA: + {:08x} {}", sa.spi, static_cast<int>(sa.direction)));
        if (sa.direction == esp::Direction::outbound)
            outbound_added++;
        look_for_gap();
    }
    void on_delete_sa(const channel::DeleteSa& gone) override {
        log.push_back(fmt::format("SA: - {:08x} {}", gone.spi, static_cast<int>(gone.direction)));
        std::erase_if(sas, [&](const channel::AddSa& sa) {
            return sa.spi == gone.spi && sa.direction == gone.direction;
        });
        look_for_gap();
    }
    // After each change: would a packet sent now, in either direction, be lost?
    void look_for_gap() {
        if (!other)
            return;
        for (const Node* from : {static_cast<const Node*>(this), static_cast<const Node*>(other)}) {
            const auto out = from->sending();
            if (out && from->other->can_open(*out))
                continue;
            gaps++;
            log.push_back(fmt::format("GAP: {} {:08x}",
                                      from == this ? "we send on" : "sent to us on",
                                      out ? out->spi : 0));
        }
    }
    void on_peer_event(const channel::PeerEvent& event) override { events.push_back(event); }
    // The key that last authenticated the other end.
    std::optional<channel::Ed25519Public> shown() const {
        for (auto event = events.rbegin(); event != events.rend(); ++event)
            if (!event->key.empty())
                return event->key.front();
        return std::nullopt;
    }
    // The key of ours that last authenticated us.
    std::optional<channel::Ed25519Public> used() const {
        for (auto event = events.rbegin(); event != events.rend(); ++event)
            if (!event->shown.empty())
                return event->shown.front();
        return std::nullopt;
    }
    void on_log(const channel::LogLine& line) override { log.push_back(line.text); }
    void on_charon_impossible(const std::string& reason) override { impossible = reason; }
    void on_charon_up(const std::string& v) override {
        version = v;
        ups++;
    }
    void on_charon_lost(const std::string& why) override {
        losses.push_back(why);
        sas.clear();
    }

    std::vector<channel::AddSa> sas_of(esp::Direction direction) const {
        std::vector<channel::AddSa> out;
        std::copy_if(sas.begin(), sas.end(), std::back_inserter(out),
                     [&](const auto& sa) { return sa.direction == direction; });
        return out;
    }
    // The SA that the daemon would send on: the newest outbound one.
    std::optional<channel::AddSa> sending() const {
        const auto out = sas_of(esp::Direction::outbound);
        return out.empty() ? std::nullopt : std::optional(out.back());
    }
    bool can_open(const channel::AddSa& out) const {
        return std::any_of(sas.begin(), sas.end(), [&](const auto& in) {
            return in.direction == esp::Direction::inbound && in.spi == out.spi &&
                   in.keymat == out.keymat && in.cipher == out.cipher && in.esn == out.esn &&
                   in.inner_src == out.inner_src && in.inner_dst == out.inner_dst;
        });
    }
    std::size_t count(PeerEventKind kind) const {
        return static_cast<std::size_t>(std::count_if(
            events.begin(), events.end(), [&](const auto& e) { return e.kind == kind; }));
    }
    std::string text(PeerEventKind kind) const {
        for (const auto& event : events)
            if (event.kind == kind && !event.text.empty())
                return event.text;
        return {};
    }

    boost::asio::io_context& io;
    Node* other = nullptr;
    const bool* wire = nullptr;
    std::function<void(const channel::IkeOut&)> seen;
    std::vector<channel::AddSa> sas;
    std::vector<channel::PeerEvent> events;
    std::vector<std::string> log, losses;
    std::string impossible;
    std::string version;
    std::size_t datagrams = 0, outbound_added = 0, ups = 0, gaps = 0;
    Supervisor ike; // last, so that it ends first
};

inline std::uint32_t spi_of(const std::optional<channel::AddSa>& sa) {
    return sa ? sa->spi : 0;
}

inline Options options() {
    Options o;
    o.charon.plugin = ENCSYNC_PLUGIN;
    o.charon.debug = std::getenv("ENCSYNC_TEST_DEBUG") != nullptr;
    return o;
}

class Pair : public ::testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0)
            GTEST_SKIP() << "needs root: charon gets namespaces of its own";
        mickey.other = &minnie;
        minnie.other = &mickey;
        mickey.wire = minnie.wire = &wire;
    }
    void TearDown() override {
        if (!HasFailure() && !std::getenv("ENCSYNC_TEST_DEBUG"))
            return;
        for (const Node* node : {&mickey, &minnie}) {
            std::printf("---- %s\n", node == &mickey ? "mickey" : "minnie");
            for (const auto& line : node->log)
                std::printf("%s\n", line.c_str());
            for (const auto& e : node->events)
                std::printf("event %d: %s\n", static_cast<int>(e.kind), e.text.c_str());
            for (const auto& sa : node->sas)
                std::printf("%s %08x\n", sa.direction == esp::Direction::inbound ? "in " : "out",
                            sa.spi);
        }
    }

    // Runs the loop until a condition holds; never sleeps. The time limit only detects a failure.
    template<class F>
    bool eventually(F condition, std::chrono::seconds limit = std::chrono::seconds(30)) {
        const auto end = std::chrono::steady_clock::now() + limit;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > end)
                return false;
            io.restart();
            io.run_one_for(std::chrono::milliseconds(100));
        }
        return true;
    }
    // Lets time pass for events that must not happen.
    void go_on(std::chrono::milliseconds time) {
        io.restart();
        io.run_for(time);
    }

    static net::Endpoint address(std::uint8_t last) { return {{{192, 168, 1, last}}, 500}; }
    // A node's view of the other. mickey sorts before minnie and so goes first.
    channel::Peer peer_of(const Node& node) const {
        const bool here = &node == &mickey;
        channel::Peer p;
        p.id = 0;
        p.name = here ? "minnie" : "mickey";
        p.leftid = here ? "mickey" : "minnie";
        p.rightid = p.name;
        p.left = address(here ? 100 : 101);
        p.right = address(here ? 101 : 100);
        p.inner_left = p.left.address;
        p.inner_right = p.right.address;
        p.auth.add(ike::CredentialKind::trusted, public_key(seed(here ? 2 : 1)));
        p.ike = "aes256gcm16-prfsha384-curve25519";
        p.esp = "aes256gcm16-curve25519-esn";
        p.ikelifetime = std::chrono::seconds(14400);
        p.lifetime = std::chrono::seconds(3600);
        p.margintime = std::chrono::seconds(360);
        p.dpddelay = std::chrono::seconds(1);
        p.dpdtimeout = std::chrono::seconds(5);
        return p;
    }
    channel::Identity identity_of(const Node& node) const {
        const bool here = &node == &mickey;
        return {here ? "mickey" : "minnie", {seed(here ? 1 : 2)}};
    }

    void start(Node& node, const channel::Peer& peer) {
        ASSERT_TRUE(node.ike.set_identity(identity_of(node)));
        ASSERT_TRUE(node.ike.set_peer(peer));
        const auto started = node.ike.start();
        ASSERT_TRUE(started) << started.error().text;
    }
    void start() {
        start(mickey, peer_of(mickey));
        start(minnie, peer_of(minnie));
    }
    std::size_t gaps() const { return mickey.gaps + minnie.gaps; }
    void forget_gaps() { mickey.gaps = minnie.gaps = 0; }
    // Both can send, and each SA that one would send on can be opened by the other.
    void connect() {
        start();
        ASSERT_TRUE(eventually([&] { return connected(); }));
        forget_gaps();
    }
    bool connected() const {
        const auto out = mickey.sending(), back = minnie.sending();
        return out && back && minnie.can_open(*out) && mickey.can_open(*back);
    }

    boost::asio::io_context io;
    bool wire = true;
    Node mickey{io, options()}, minnie{io, options()};
};

} // namespace encsync::supervisor::test
