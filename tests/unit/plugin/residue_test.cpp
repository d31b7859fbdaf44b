// SPDX-License-Identifier: ISC
// No key stays behind in freed memory: every block that this program frees is searched.
#include "ipsec/plugin/channel.hpp"
#include "ipsec/plugin/strongswan/sa_table.hpp"
#include "keys/files.hpp"
#include "tests/unit/malloc_hooks.hpp"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

constexpr std::uint8_t kSecret = 0xa7;
std::size_t residues = 0; // freed blocks with half a key of these bytes in them

void search(const volatile void* block, std::size_t size) {
    static constexpr std::size_t kHalf = 16;
    const auto* bytes = static_cast<const volatile std::uint8_t*>(block);
    std::size_t run = 0;
    for (std::size_t i = 0; i < size && run < kHalf; i++)
        run = bytes[i] == kSecret ? run + 1 : 0;
    if (run == kHalf)
        residues++;
}

#ifdef __SANITIZE_ADDRESS__
[[maybe_unused]] const int installed = __sanitizer_install_malloc_and_free_hooks(
    [](const volatile void*, std::size_t) {},
    [](const volatile void* block) {
        if (block != nullptr)
            search(block, __sanitizer_get_allocated_size(block));
    });
#endif

} // namespace

#ifndef __SANITIZE_ADDRESS__
extern "C" {
void __libc_free(void* block); // NOLINT(bugprone-reserved-identifier): glibc's name
void free(void* block) {
    if (block != nullptr)
        search(block, ::malloc_usable_size(block));
    __libc_free(block);
}
}
#endif

namespace encsync::plugin {
namespace {

class Residue : public ::testing::Test {
  protected:
    void SetUp() override { residues = 0; }
};

TEST_F(Residue, IsFoundWhereAKeyIsNotWiped) {
    { const std::vector<std::uint8_t> careless(32, kSecret); }
    EXPECT_EQ(residues, 1U);
    { const std::string careless(32, static_cast<char>(kSecret)); }
    EXPECT_EQ(residues, 2U);
}

TEST_F(Residue, GrowingCopyingAndMovingLeaveNone) {
    {
        WipedBytes bytes(20, kSecret);
        for (int i = 0; i < 1000; i++)
            bytes.push_back(kSecret);
        bytes.shrink_to_fit();
        WipedBytes copy = bytes;
        copy = std::move(bytes);
        std::vector<WipedArray<32>> arrays(3);
        for (int i = 0; i < 10; i++)
            arrays.emplace_back().fill(kSecret);
        arrays.erase(arrays.begin() + 4);
    }
    EXPECT_EQ(residues, 0U);
}

Sa make(std::uint32_t spi, esp::Direction direction, std::uint32_t hold_for) {
    Sa out;
    out.params.spi = spi;
    out.params.peer = 1;
    out.params.direction = direction;
    out.params.keymat.fill(kSecret);
    out.params.keymat_size = 36;
    out.hold_for = hold_for;
    return out;
}

TEST_F(Residue, SasThatWaitAndAreReportedLeaveNone) {
    {
        Peers peers;
        channel::Peer peer;
        peer.id = 1;
        peer.name = "minnie";
        peers.set(peer);
        SaTable table;
        for (std::uint32_t n = 0; n < 9; n++) {
            EXPECT_EQ(table.add(make(1000 + n, esp::Direction::inbound, 0), peers).size(), 1U);
            EXPECT_TRUE(table.add(make(2000 + n, esp::Direction::outbound, 5), peers).empty());
        }
        const auto reports = table.release(5, peers);
        EXPECT_EQ(reports.size(), 18U); // an SA and an event each
        for (const Report& report : reports)
            if (const auto* sa = std::get_if<channel::AddSa>(&report)) {
                const auto packet = channel::encode(*sa);
                ASSERT_TRUE(packet);
                EXPECT_TRUE(channel::decode(*packet));
            }
        for (std::uint32_t n = 0; n < 9; n++)
            table.remove(2000 + n, {}, peers);
    }
    EXPECT_EQ(residues, 0U);
}

TEST_F(Residue, IdentitiesAndPresharedKeysLeaveNone) {
    std::string name = "/tmp/residue_test.XXXXXX";
    const int fd = ::mkstemp(name.data());
    ASSERT_GE(fd, 0);
    WipedBytes line(64, kSecret);
    line.push_back('\n');
    ASSERT_EQ(::write(fd, line.data(), line.size()), static_cast<ssize_t>(line.size()));
    ::close(fd);
    {
        channel::Identity identity{"mickey", {}};
        for (int i = 0; i < 2; i++)
            identity.seeds.emplace_back().fill(kSecret);
        const auto key = keys::read_preshared(name);
        ASSERT_TRUE(key) << key.error().text;
        EXPECT_EQ(key->size(), 64U);
        channel::Peer peer;
        peer.id = 1;
        peer.name = peer.leftid = peer.rightid = "minnie";
        peer.auth.add(ike::CredentialKind::trusted, WipedArray<32>());
        peer.auth.add(ike::CredentialKind::psk, *key);
        peer.auth.add(ike::CredentialKind::trusted, WipedArray<32>());
        for (const channel::Message& message :
             {channel::Message(identity), channel::Message(peer)}) {
            const auto packet = channel::encode(message);
            ASSERT_TRUE(packet) << packet.error().text;
            auto received = channel::decode(*packet);
            ASSERT_TRUE(received);
            const channel::Message kept = std::move(*received);
        }
        peer.auth.remove_secrets();
        EXPECT_EQ(peer.auth.count(ike::CredentialKind::psk), 0U);
        // A refusal frees what has been encoded so far.
        identity.name.assign(channel::kMaxText + 1, 'x');
        EXPECT_FALSE(channel::encode(identity));
    }
    ::unlink(name.c_str());
    EXPECT_EQ(residues, 0U);
}

} // namespace
} // namespace encsync::plugin
