// SPDX-License-Identifier: ISC
#include "tests/unit/plugin/messages.hpp"

#include <chrono>
#include <gtest/gtest.h>

namespace encsync::channel::test {
namespace {

using namespace std::chrono_literals;
using ike::CredentialKind;

WipedBytes packet_of(const Message& message) {
    auto packet = encode(message);
    EXPECT_TRUE(packet) << (packet ? "" : packet.error().text);
    return packet ? *packet : WipedBytes{};
}

std::string refusal(Bytes packet) {
    const auto message = decode(packet);
    return message ? "accepted" : message.error().text;
}

TEST(Channel, EveryMessageSurvivesTheWay) {
    const auto messages = one_of_each();
    ASSERT_EQ(messages.size(), std::variant_size_v<Message>);
    for (std::size_t i = 0; i < messages.size(); i++) {
        ASSERT_EQ(messages[i].index(), i);
        const auto packet = packet_of(messages[i]);
        const auto message = decode(packet);
        ASSERT_TRUE(message) << i << ": " << message.error().text;
        EXPECT_EQ(message->index(), i);
        EXPECT_EQ(packet_of(*message), packet) << i;
    }
}

TEST(Channel, FieldsArriveWhereTheyBelong) {
    const auto peer = decode(packet_of(one_of_each()[1]));
    ASSERT_TRUE(peer);
    const auto& p = std::get<Peer>(*peer);
    EXPECT_EQ(p.id, 3);
    EXPECT_EQ(p.name, "minnie");
    EXPECT_EQ(p.leftid, "mickey");
    EXPECT_EQ(p.rightid, "minnie.example");
    EXPECT_EQ(p.right.port, 501);
    EXPECT_EQ(p.natport, 4501);
    EXPECT_EQ(p.inner_right.bytes[3], 2);
    ASSERT_EQ(p.auth.credentials.size(), 6U);
    EXPECT_EQ(p.auth.count(CredentialKind::trusted), 2U);
    EXPECT_TRUE(p.auth.has(CredentialKind::trusted, std::vector<std::uint8_t>(32, 8)));
    const auto& psk = p.auth.find(CredentialKind::psk)->data;
    EXPECT_EQ(std::string(psk.begin(), psk.end()), "not so secret");
    EXPECT_EQ(p.auth.find(CredentialKind::certificate)->data, (WipedBytes{0x30, 1}));
    EXPECT_EQ(p.auth.find(CredentialKind::ca)->data, (WipedBytes{0x30, 2}));
    EXPECT_EQ(p.esp, "aes256gcm16-curve25519-esn");
    EXPECT_EQ(p.ikelifetime, 14400s);
    EXPECT_EQ(p.lifetime, 3600s);
    EXPECT_EQ(p.margintime, 360s);
    EXPECT_EQ(p.dpddelay, 1s);
    EXPECT_EQ(p.dpdtimeout, 5s);
    EXPECT_TRUE(p.transport_mode);
    EXPECT_FALSE(p.initiate);
    EXPECT_TRUE(p.next_key);

    const auto added = decode(packet_of(one_of_each()[10]));
    ASSERT_TRUE(added);
    const auto& sa = std::get<AddSa>(*added);
    EXPECT_EQ(sa.spi, 0xc0ffee00U);
    EXPECT_EQ(sa.cipher, esp::Cipher::aes128gcm16);
    EXPECT_TRUE(sa.esn);
    EXPECT_EQ(sa.keymat_size, 20);
    EXPECT_EQ(sa.keymat[19], 19);
    EXPECT_EQ(sa.keymat[20], 0);
    EXPECT_TRUE(sa.inner_src.is_v6());
}

TEST(Channel, TruncatedAtEveryByteIsRefused) {
    for (const Message& message : one_of_each()) {
        const auto packet = packet_of(message);
        for (std::size_t size = 0; size < packet.size(); size++) {
            // A buffer of its own, so that the sanitizer detects a read beyond it.
            const std::vector<std::uint8_t> cut(packet.begin(),
                                                packet.begin() + static_cast<long>(size));
            ASSERT_FALSE(decode(cut)) << "message " << message.index() << ", " << size << " bytes";
        }
    }
}

TEST(Channel, TrailingBytesAreRefused) {
    for (const Message& message : one_of_each()) {
        auto packet = packet_of(message);
        packet.push_back(0);
        EXPECT_EQ(refusal(packet), "message: trailing bytes");
    }
}

TEST(Channel, ReasonsNameTheField) {
    EXPECT_EQ(refusal({}), "empty message");
    const std::uint8_t zero[] = {0}, beyond[] = {99};
    EXPECT_EQ(refusal(zero), "unknown message type 0");
    EXPECT_EQ(refusal(beyond), "unknown message type 99");
    EXPECT_EQ(refusal(std::vector<std::uint8_t>(kMaxMessage + 1, 4)), "message too long");

    auto rekey = packet_of(Rekey{3, true});
    rekey[1] = kMaxPeers;
    EXPECT_EQ(refusal(rekey), "rekey.id: no such peer");
    rekey[1] = 3;
    rekey[2] = 2;
    EXPECT_EQ(refusal(rekey), "rekey.reauthenticate: neither 0 nor 1");

    auto log = packet_of(LogLine{4, "careful"});
    log[1] = 8;
    EXPECT_EQ(refusal(log), "log_line.level: unknown value");
    log[1] = 4;
    log.back() = 0;
    EXPECT_EQ(refusal(log), "log_line.text: NUL byte");
    log[2] = 0xff; // of the length field
    EXPECT_EQ(refusal(log), "log_line.text: too long");

    auto gone = packet_of(DeleteSa{1, esp::Direction::inbound, 0});
    gone[5] = 3;
    EXPECT_EQ(refusal(gone), "delete_sa.direction: unknown value");
    gone[5] = 0;
    EXPECT_EQ(refusal(gone), "delete_sa.direction: unknown value");
}

// The list of credentials begins with their number, and each with its kind.
TEST(Channel, CredentialsAreRefusedByName) {
    Peer peer = std::get<Peer>(one_of_each()[1]);
    peer.auth = {};
    const std::size_t list = packet_of(peer).size() - 4; // three flags follow it
    peer.auth.add(CredentialKind::psk, std::vector<std::uint8_t>(4, 1));
    auto packet = packet_of(peer);
    ASSERT_EQ(packet[list], 1);
    packet[list + 1] = 0;
    EXPECT_EQ(refusal(packet), "peer.credentials: unknown value");
    packet[list + 1] = 6;
    EXPECT_EQ(refusal(packet), "peer.credentials: unknown value");
    packet[list + 1] = 1; // a raw public key
    EXPECT_EQ(refusal(packet), "peer.trusted: too short");
    packet[list + 1] = 2;
    packet[list] = 2;
    EXPECT_EQ(refusal(packet).substr(0, 5), "peer.");
    packet[list] = 255;
    EXPECT_EQ(refusal(packet), "peer.credentials: too many");
}

TEST(Channel, WhatWouldBeRefusedIsNotSent) {
    const auto reason = [](const Message& message) {
        const auto packet = encode(message);
        return packet ? "sent" : packet.error().text;
    };
    auto sa = std::get<AddSa>(one_of_each()[10]);
    sa.keymat_size = 36; // of another cipher
    EXPECT_EQ(reason(sa), "add_sa.keymat: not the cipher's size");
    sa.keymat_size = 20;
    sa.peer = kNoPeer;
    EXPECT_EQ(reason(sa), "add_sa.peer: no such peer");

    auto peer = std::get<Peer>(one_of_each()[1]);
    const auto with = [&peer](CredentialKind kind, std::size_t size, std::size_t count = 1) {
        Peer changed = peer;
        changed.auth.remove(kind);
        for (std::size_t n = 0; n < count; n++)
            changed.auth.add(kind, std::vector<std::uint8_t>(size, 1));
        return changed;
    };
    EXPECT_EQ(reason(with(CredentialKind::trusted, 32, 9)), "peer.trusted: too many");
    EXPECT_EQ(reason(with(CredentialKind::trusted, 32, 8)), "sent");
    EXPECT_EQ(reason(with(CredentialKind::trusted, 31)), "peer.trusted: too short");
    EXPECT_EQ(reason(with(CredentialKind::trusted, 33)), "peer.trusted: too long");
    EXPECT_EQ(reason(with(CredentialKind::psk, 1024)), "sent");
    EXPECT_EQ(reason(with(CredentialKind::psk, 1025)), "peer.psk: too long");
    EXPECT_EQ(reason(with(CredentialKind::psk, 16, 3)), "peer.psk: too many");
    EXPECT_EQ(reason(with(CredentialKind::ca, 0)), "peer.ca: too short");
    EXPECT_EQ(reason(with(CredentialKind::trusted, 32, 300)), "peer.trusted: too many");
    peer.right.address.family = net::Family::inet6;
    EXPECT_EQ(reason(peer), "peer.right: left and right are of different families");
    peer.right.address.family = net::Family::inet;
    peer.name.clear();
    EXPECT_EQ(reason(peer), "peer.name: empty name or id");

    EXPECT_EQ(reason(Identity{"mickey", {}}), "identity.seeds: none");
    EXPECT_EQ(reason(LogLine{6, std::string(kMaxText + 1, 'x')}), "log_line.text: too long");
    EXPECT_EQ(reason(LogLine{6, std::string(kMaxText, 'x')}), "sent");
    EXPECT_EQ(reason(IkeOut{{}, {}, std::vector<std::uint8_t>(kMaxDatagram + 1)}),
              "ike_out.datagram: too long");
}

TEST(Channel, TheLargestDatagramFits) {
    const auto packet = packet_of(IkeIn{{}, {}, std::vector<std::uint8_t>(kMaxDatagram, 5)});
    ASSERT_LE(packet.size(), kMaxMessage);
    const auto message = decode(packet);
    ASSERT_TRUE(message);
    EXPECT_EQ(std::get<IkeIn>(*message).datagram.size(), kMaxDatagram);
}

} // namespace
} // namespace encsync::channel::test
