// SPDX-License-Identifier: ISC
// One message of each kind, every field set to something that is not its default.
#pragma once

#include "ipsec/plugin/channel.hpp"

#include <vector>

namespace encsync::channel::test {

inline std::vector<Message> one_of_each() {
    const auto endpoint = [](std::uint8_t last, std::uint16_t port) {
        return net::Endpoint{{{192, 168, 1, last}}, port};
    };
    Peer peer;
    peer.id = 3;
    peer.name = "minnie";
    peer.leftid = "mickey";
    peer.rightid = "minnie.example";
    peer.left = endpoint(100, 500);
    peer.right = endpoint(101, 501);
    peer.natport = 4501;
    peer.inner_left = {{10, 0, 0, 1}};
    peer.inner_right = {{10, 0, 0, 2}};
    for (const std::uint8_t byte : {7, 8})
        peer.auth.add(ike::CredentialKind::trusted, std::vector<std::uint8_t>(32, byte));
    const std::string psk = "not so secret";
    peer.auth.add(ike::CredentialKind::psk, std::vector<std::uint8_t>(psk.begin(), psk.end()));
    peer.auth.add(ike::CredentialKind::certificate, std::vector<std::uint8_t>{0x30, 1});
    peer.auth.add(ike::CredentialKind::ca, std::vector<std::uint8_t>{0x30, 2});
    peer.auth.add(ike::CredentialKind::ppk, std::vector<std::uint8_t>(48, 9));
    peer.ppk = ike::PpkUse::required;
    peer.ike = "aes256gcm16-prfsha384-curve25519";
    peer.esp = "aes256gcm16-curve25519-esn";
    peer.ikelifetime = std::chrono::seconds(14400);
    peer.lifetime = std::chrono::seconds(3600);
    peer.margintime = std::chrono::seconds(360);
    peer.dpddelay = std::chrono::seconds(1);
    peer.dpdtimeout = std::chrono::seconds(5);
    peer.transport_mode = true;
    peer.initiate = false;
    peer.next_key = true;

    Identity identity{"mickey", {}};
    identity.seeds.resize(2);
    identity.seeds[0].fill(1);
    identity.seeds[1].fill(2);

    AddSa sa;
    sa.spi = 0xc0ffee00;
    sa.peer = 3;
    sa.direction = esp::Direction::outbound;
    sa.cipher = esp::Cipher::aes128gcm16;
    sa.esn = true;
    sa.replay_window = 512;
    sa.inner_src = {{0xfd, 1}, net::Family::inet6};
    sa.inner_dst = {{0xfd, 2}, net::Family::inet6};
    sa.keymat_size = 20;
    for (std::uint8_t i = 0; i < sa.keymat_size; i++)
        sa.keymat[i] = i;

    return {
        identity,
        peer,
        RemovePeer{3},
        IkeIn{endpoint(101, 4500), endpoint(100, 4500), {1, 2, 3}},
        Initiate{3},
        Rekey{3, true},
        Expire{0xc0ffee00},
        Shutdown{},
        Hello{1, "5.9.8"},
        IkeOut{endpoint(100, 500),
               {{{0xfe, 0x80}, net::Family::inet6}, 500},
               std::vector<std::uint8_t>(3000, 9)},
        sa,
        DeleteSa{0xc0ffee00, esp::Direction::outbound, 3},
        PeerEvent{kNoPeer,
                  PeerEventKind::auth_failed,
                  "who is that",
                  "0011",
                  "2233",
                  {{9, 9}},
                  "c0ffee",
                  "curve25519",
                  {{7}}},
        LogLine{4, "careful"},
        Ping{77},
        Pong{78},
    };
}

} // namespace encsync::channel::test
