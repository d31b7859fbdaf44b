// SPDX-License-Identifier: ISC
#include "pf_rig.hpp"
#include "tests/unit/pfsync/write_clr.hpp"

#include <cstring>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace encsync::sync::test {

using pfsync::Dialect;
using pfsync::Kind;
namespace peer_block = pfsync::common::peer;

state::Flow udp(std::uint16_t port, std::uint32_t creator, std::uint8_t src, std::uint8_t dst) {
    state::Flow f = flow(port, creator, src, dst);
    f.key.proto = IPPROTO_UDP;
    f.reply = inverse(f.key);
    f.flags = dst == 2 ? state::kSeenReply | state::kAssured : 0;
    return f;
}

Block window(std::uint32_t seqlo) {
    Block out{};
    out[peer_block::scrub_flags + 1] = 1;
    out[peer_block::scrub_valid] = 1;
    store_be(&out[peer_block::scrub_ts_mod], std::uint32_t{0x5c2b0000} + seqlo);
    store_be(&out[peer_block::seqlo], seqlo);
    store_be(&out[peer_block::seqhi], seqlo + 5000);
    store_be(&out[peer_block::max_win], std::uint16_t{65000});
    store_be(&out[peer_block::mss], std::uint16_t{1460});
    out[peer_block::wscale] = 0x87;
    return out;
}

PfRig::PfRig(const std::vector<Dialect>& dialects) {
    options.peers.clear();
    for (const Dialect d : dialects)
        options.peers.push_back({std::string(to_string(d)), false, d});
    start();
    const auto count = static_cast<PeerId>(dialects.size());
    for (PeerId peer = 0; peer < count; peer++) {
        engine->on_link_up(peer);
        send_bulk(peer, true);
        flush();
        sent_to(peer);
    }
}

void PfRig::send(PeerId peer, pfsync::Builder& builder) {
    const std::size_t size = builder.finish();
    engine->on_packet(peer, Bytes(room_).first(size));
}

void PfRig::send(PeerId peer, Kind kind, const PfState& said) {
    room_ = {};
    const Dialect d = dialect(peer);
    pfsync::Builder builder(room_, d);
    std::uint8_t* m = builder.add(kind);
    const bool windows = said.src != Block{} || said.dst != Block{};
    if (kind == Kind::update_c) {
        if (windows)
            pfsync::write_upd_c(d, m, said.flow, said.src, said.dst);
        else
            pfsync::write_upd_c(d, m, said.flow);
        if (said.timeout)
            m[pfsync::common::upd_c::timeout] = *said.timeout;
        return send(peer, builder);
    }
    state::Flow flow = said.flow;
    flow.timeout = said.expire;
    pfsync::StateOptions as{.wants_ack = said.wants_ack, .outgoing = said.outgoing};
    if (windows) {
        as.src = said.src;
        as.dst = said.dst;
    }
    pfsync::write_state(d, m, flow, as);
    std::memset(m + 8, 0, 16);
    std::memcpy(m + 8, said.ifname, std::strlen(said.ifname));
    const pfsync::Layout& at = traits(d).state;
    m[at.state_flags + (at.wide_flags ? 1 : 0)] |= static_cast<std::uint8_t>(said.flags);
    send(peer, builder);
}

void PfRig::send_id(PeerId peer, Kind kind, state::StateId id) {
    pfsync::Builder builder(room_, dialect(peer));
    pfsync::write_id(builder.add(kind), id);
    send(peer, builder);
}

void PfRig::send_bulk(PeerId peer, bool end, std::uint32_t endtime) {
    pfsync::Builder builder(room_, dialect(peer));
    pfsync::write_bus(builder.add(Kind::bulk), kPeer + peer, endtime, end);
    send(peer, builder);
}

void PfRig::send_clear(PeerId peer, std::uint32_t creatorid, const char* ifname) {
    pfsync::Builder builder(room_, dialect(peer));
    pfsync::write_clr(builder.add(Kind::clear), ifname, creatorid);
    send(peer, builder);
}

namespace {

std::string progress(const pfsync::PeerBlock& src, const pfsync::PeerBlock& dst) {
    std::string out = " " + std::to_string(src.state()) + ":" + std::to_string(dst.state());
    if (src.seqlo() != 0 || dst.seqlo() != 0)
        out += " " + std::to_string(src.seqlo()) + "/" + std::to_string(dst.seqlo());
    return out;
}

} // namespace

std::string PfRig::describe(const pfsync::Section& section, Bytes m) {
    const std::string kind(to_string(section.kind));
    const auto name = [&](state::StateId id) -> std::string {
        if (id == state::StateId{})
            return " all";
        const state::Slot slot = engine->index().find(id);
        if (slot != state::kNoSlot)
            return " " + std::to_string(engine->index().key(slot).orig.sport);
        return id.id >= 0xabc0000u && id.id < 0xabd0000u ? " " + std::to_string(id.id - 0xabc0000u)
                                                         : " ?";
    };
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: {
        pfsync::FullState full;
        EXPECT_EQ(pfsync::read(section.layout, m, full), pfsync::Fault::none);
        return kind + " " + std::to_string(full.flow.key.orig.sport) +
               progress(full.src, full.dst) +
               ((full.flow.flags & state::kSloppy) != 0 ? " sloppy" : "");
    }
    case Kind::update_c: {
        pfsync::CompressedUpdate update;
        EXPECT_EQ(pfsync::read(section.layout, m, update), pfsync::Fault::none);
        return kind + name(update.id) + progress(update.src, update.dst);
    }
    case Kind::bulk: {
        pfsync::BulkStatus status;
        EXPECT_EQ(pfsync::read(m, status), pfsync::Fault::none);
        return kind + (status.end ? " end" : " start") +
               (status.endtime != 0 ? " " + std::to_string(status.endtime) : "");
    }
    default:
        return kind + name(pfsync::read_id(m));
    }
}

std::string PfRig::sent_to(PeerId peer) {
    std::string out;
    for (std::size_t n = read_[peer]; n < link.sent.size(); n++) {
        if (link.sent[n].first != peer)
            continue;
        pfsync::Parser parser(Bytes(link.sent[n].second), dialect(peer));
        while (const pfsync::Section* section = parser.next())
            for (std::uint16_t i = 0; section->kind != Kind::eof && i < section->count; i++)
                out += (out.empty() ? "" : ", ") + describe(*section, section->message(i));
        EXPECT_EQ(parser.fault(), pfsync::Fault::none);
    }
    read_[peer] = link.sent.size();
    return out;
}

std::vector<std::vector<std::uint8_t>> PfRig::messages(PeerId peer, Kind kind) const {
    std::vector<std::vector<std::uint8_t>> out;
    const auto read = read_.find(peer);
    for (std::size_t n = read == read_.end() ? 0 : read->second; n < link.sent.size(); n++) {
        if (link.sent[n].first != peer)
            continue;
        pfsync::Parser parser(Bytes(link.sent[n].second), dialect(peer));
        while (const pfsync::Section* section = parser.next())
            for (std::uint16_t i = 0; section->kind == kind && i < section->count; i++)
                out.emplace_back(section->message(i).begin(), section->message(i).end());
    }
    return out;
}

} // namespace encsync::sync::test
