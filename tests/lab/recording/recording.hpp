// SPDX-License-Identifier: ISC
// What somebody on the switch has recorded of the tunnel (a pcap file of Ethernet): the packets of
// each key, and what IKE says in clear.
#pragma once

#include "tests/lab/recording/aead.hpp"
#include "util/result.hpp"

#include <map>
#include <string>
#include <unordered_set>
#include <vector>

namespace encsync::recording {

// All packets that one key encrypts: those of an ESP SA, or of an IKE SA in one direction.
struct Stream {
    std::string name; // "ESP 12345678" (its SPI), "IKE SPI SPI initiator"
    std::vector<Packet> packets;
    std::map<std::string, std::size_t> kinds; // of them: by exchange, or "ESP"
    std::size_t shortest = 0;                 // which of them
};

// An IKE_SA_INIT, with which an IKE SA begins. What it is made of is in clear but for g^ir.
struct Negotiation {
    std::string name;                       // "IKE SPI SPI", as of its two streams
    std::vector<std::uint8_t> nonces, spis; // the initiator's, then the responder's; likewise:
    std::array<std::vector<std::uint8_t>, 2> publics; // X25519
    std::array<std::uint32_t, 2> addresses;
    std::array<std::string, 2> children; // the ESP SAs of its first CHILD_SA, once they are used
};

struct Recording {
    std::vector<Stream> streams;
    std::vector<Negotiation> negotiations;
    std::unordered_set<std::uint64_t> words; // each eight bytes of any packet: no secret has them

    const Stream* find(const std::string& name) const;
};

Result<Recording> read_recording(const std::string& file);

} // namespace encsync::recording
