// SPDX-License-Identifier: ISC
#include "ipsec/link/sa_table.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::link {
namespace {

SaInfo describe(const esp::SaParams& params) {
    SaInfo info;
    info.peer = params.peer;
    info.direction = params.direction;
    info.spi = params.spi;
    info.cipher = params.cipher;
    info.esn = params.esn;
    info.transport = params.transport;
    return info;
}

SaInfo aged(SaInfo info, Clock::time_point added, Clock::time_point now) {
    info.age = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::seconds>(now - added).count());
    return info;
}

} // namespace

Result<void> SaTable::add(const esp::SaParams& params, Clock::time_point now) {
    if (params.peer >= kMaxPeers)
        return Error{fmt::format("SA {:08x}: no peer has number {}", params.spi, params.peer)};
    if (params.direction == esp::Direction::inbound) {
        if (inbound_.contains(params.spi))
            return Error{fmt::format("SA {:08x}: inbound SPI in use", params.spi)};
        auto sa = esp::InboundSa::create(params);
        if (!sa)
            return sa.error();
        inbound_.emplace(params.spi, InboundEntry{std::move(*sa), describe(params), now,
                                                  params.inner_src, params.inner_dst});
        return {};
    }
    auto& list = outbound_[params.peer];
    for (const auto& entry : list)
        if (entry->sa.spi() == params.spi)
            return Error{fmt::format("SA {:08x}: outbound SPI in use for this peer", params.spi)};
    auto sa = esp::OutboundSa::create(params);
    if (!sa)
        return sa.error();
    list.push_back(std::make_unique<OutboundEntry>(OutboundEntry{
        std::move(*sa), describe(params), now, params.inner_src, params.inner_dst, false}));
    return {};
}

bool SaTable::remove(PeerId peer, std::uint32_t spi, esp::Direction direction,
                     Clock::time_point now, Clock::duration grace) {
    if (direction == esp::Direction::inbound) {
        const auto found = inbound_.find(spi);
        if (found == inbound_.end() || found->second.info.peer != peer || found->second.dies)
            return false;
        found->second.dies = now + grace;
        found->second.info.retiring = true;
        return true;
    }
    if (peer >= kMaxPeers)
        return false;
    return std::erase_if(outbound_[peer],
                         [&](const auto& entry) { return entry->sa.spi() == spi; }) != 0;
}

void SaTable::drop_all() {
    inbound_.clear();
    for (auto& list : outbound_)
        list.clear();
}

void SaTable::drop(PeerId peer) {
    std::erase_if(inbound_, [&](const auto& item) { return item.second.info.peer == peer; });
    if (peer < kMaxPeers)
        outbound_[peer].clear();
}

InboundEntry* SaTable::inbound(std::uint32_t spi) {
    const auto found = inbound_.find(spi);
    return found == inbound_.end() ? nullptr : &found->second;
}

OutboundEntry* SaTable::outbound(PeerId peer) {
    return peer >= kMaxPeers || outbound_[peer].empty() ? nullptr : outbound_[peer].back().get();
}

OutboundEntry* SaTable::outbound(PeerId peer, std::uint32_t spi) {
    if (peer < kMaxPeers)
        for (const auto& entry : outbound_[peer])
            if (entry->sa.spi() == spi)
                return entry.get();
    return nullptr;
}

std::uint32_t SaTable::newest_inbound(PeerId peer) const {
    const InboundEntry* newest = nullptr;
    for (const auto& [spi, entry] : inbound_)
        if (entry.info.peer == peer && !entry.dies &&
            (newest == nullptr || entry.added >= newest->added))
            newest = &entry;
    return newest == nullptr ? 0 : newest->info.spi;
}

std::vector<std::uint32_t> SaTable::inbound_spis() const {
    std::vector<std::uint32_t> spis;
    for (const auto& [spi, entry] : inbound_)
        spis.push_back(spi);
    return spis;
}

std::optional<Clock::time_point> SaTable::expire(Clock::time_point now) {
    std::erase_if(inbound_,
                  [&](const auto& item) { return item.second.dies && *item.second.dies <= now; });
    std::optional<Clock::time_point> next;
    for (const auto& [spi, entry] : inbound_)
        if (entry.dies && (!next || *entry.dies < *next))
            next = entry.dies;
    return next;
}

std::vector<SaInfo> SaTable::list(Clock::time_point now) const {
    std::vector<SaInfo> all;
    for (const auto& [spi, entry] : inbound_)
        all.push_back(aged(entry.info, entry.added, now));
    for (const auto& list : outbound_)
        for (const auto& entry : list) {
            all.push_back(aged(entry->info, entry->added, now));
            all.back().sending = entry == list.back();
        }
    std::sort(all.begin(), all.end(), [](const SaInfo& a, const SaInfo& b) {
        return std::tuple(a.peer, a.direction, a.age, a.spi) <
               std::tuple(b.peer, b.direction, b.age, b.spi);
    });
    return all;
}

} // namespace encsync::link
