// SPDX-License-Identifier: ISC
// A rig whose peers are pf firewalls, each of a dialect, which send states with sequence windows.
//
//     PfRig rig({Dialect::openbsd, Dialect::freebsd1400});
//     rig.send(0, Kind::insert, {flow(1, kPeer), window(1000), window(2000)});
//     EXPECT_EQ(rig.sent_to(1), "ins 1 4:4 1000/2000");
#pragma once

#include "rig.hpp"

#include <optional>

namespace encsync::sync::test {

using pfsync::kAllDialects;

// With replies, unless `dst` is lower.
state::Flow udp(std::uint16_t port, std::uint32_t creator = 0, std::uint8_t src = 2,
                std::uint8_t dst = 2);

using Block = std::array<std::uint8_t, 32>;
// A peer block: that seqlo, seqhi 5000 above it, max_win 65000, wscale 0x87, a value in its scrub.
Block window(std::uint32_t seqlo);

struct PfState {
    state::Flow flow;
    Block src{}, dst{};
    const char* ifname = "all";
    std::uint32_t expire = 100;
    bool outgoing = false, wants_ack = false;
    std::uint16_t flags = 0;
    std::optional<std::uint8_t> timeout{};
};

class PfRig : public Rig {
  public:
    explicit PfRig(const std::vector<pfsync::Dialect>& dialects);
    void send(PeerId peer, pfsync::Kind kind, const PfState& state);
    void send_id(PeerId peer, pfsync::Kind kind, state::StateId id);
    void send_bulk(PeerId peer, bool end, std::uint32_t endtime = 0);
    void send_clear(PeerId peer, std::uint32_t creatorid, const char* ifname = "");
    // What was sent to this peer since the last call: "ins 1 4:4 sloppy, upd_c 1 9:9 10/20".
    std::string sent_to(PeerId peer);
    // The messages themselves, of one kind, since the last call of sent_to().
    std::vector<std::vector<std::uint8_t>> messages(PeerId peer, pfsync::Kind kind) const;

  private:
    pfsync::Dialect dialect(PeerId peer) const { return *options.peers[peer].dialect; }
    void send(PeerId peer, pfsync::Builder& builder);
    std::string describe(const pfsync::Section& section, Bytes m);
    std::array<std::uint8_t, 1400> room_{};
    std::map<PeerId, std::size_t> read_;
};

} // namespace encsync::sync::test
