// SPDX-License-Identifier: ISC
#include "sync/pf_states.hpp"

#include <algorithm>

namespace encsync::sync {

using state::Slot;

namespace {

Windows::Block block_of(const pfsync::PeerBlock& from) {
    Windows::Block out{};
    std::copy_n(from.bytes.begin(), out.size(), out.begin());
    // Where the side has come to is kept with the flow.
    out[pfsync::common::peer::state] = 0;
    return out;
}

bool is_ahead(const Windows::Block& a, const Windows::Block& b) {
    const auto seqlo = Windows::seqlo(a), other = Windows::seqlo(b);
    return seqlo && (!other || seq_after(*seqlo, *other));
}

bool is_news(const Windows::Block& theirs, const Windows::Block& ours) {
    return theirs != ours && (Windows::seqlo(theirs) || !Windows::seqlo(ours));
}

} // namespace

Windows::Windows(const pfsync::PeerBlock& s, const pfsync::PeerBlock& d)
    : src(block_of(s)), dst(block_of(d)) {}

bool Windows::known() const {
    constexpr auto at = pfsync::common::peer::seqlo;
    return load_be<std::uint64_t>(&src[at]) != 0 || load_be<std::uint64_t>(&dst[at]) != 0;
}

const Windows* PfStates::windows(Slot slot) const {
    const auto it = windows_.find(slot);
    return it == windows_.end() ? nullptr : &it->second.windows;
}

bool PfStates::keep(Slot slot, const Windows& theirs, bool src, bool dst) {
    const auto [it, fresh] = windows_.try_emplace(slot, Kept{theirs});
    if (fresh)
        return true;
    Windows& ours = it->second.windows;
    src = src && is_news(theirs.src, ours.src);
    dst = dst && is_news(theirs.dst, ours.dst);
    if (src)
        ours.src = theirs.src;
    if (dst) {
        const Windows::Block had = ours.dst;
        ours.dst = theirs.dst;
        received_dst(slot, had);
    }
    return src || dst;
}

void PfStates::received_dst(Slot slot, const Windows::Block& dst) {
    const Windows* kept = windows(slot);
    if (kept == nullptr || !is_ahead(dst, kept->dst))
        return;
    const auto [it, fresh] = ahead_.try_emplace(slot, dst);
    if (!fresh && is_ahead(dst, it->second))
        it->second = dst;
}

Windows PfStates::with_latest_dst(Slot slot, const Windows& kept) const {
    Windows out = kept;
    const auto it = ahead_.find(slot);
    if (it != ahead_.end() && is_ahead(it->second, kept.dst))
        out.dst = it->second;
    return out;
}

void PfStates::sent(Slot slot, std::uint32_t now) {
    if (const auto it = windows_.find(slot); it != windows_.end())
        it->second.sent = now;
}

bool PfStates::sent_since(Slot slot, std::uint32_t then) const {
    const auto it = windows_.find(slot);
    return it != windows_.end() && it->second.sent != 0 && it->second.sent >= then;
}

const PfStates::Lease* PfStates::lease(Slot slot) const {
    const auto it = leases_.find(slot);
    return it == leases_.end() ? nullptr : &it->second;
}

void PfStates::extend(Slot slot, std::uint32_t until) {
    leases_[slot].until = until;
}

void PfStates::bind(Slot slot, std::string_view ifname) {
    std::size_t number = 0;
    if (ifname != "all") {
        number = static_cast<std::size_t>(std::find(names_.begin(), names_.end(), ifname) -
                                          names_.begin());
        if (number == names_.size()) {
            if (number == kMaxNames)
                number = 0;
            else
                names_.emplace_back(ifname);
        }
    }
    leases_[slot].interface = static_cast<std::uint16_t>(number);
}

std::string_view PfStates::interface(Slot slot) const {
    const Lease* found = lease(slot);
    return found == nullptr ? std::string_view() : names_[found->interface];
}

void PfStates::add_name(Slot slot, state::StateId id) {
    take_name(slot);
    second_name_of_[slot] = id;
    second_names_[id] = slot;
}

Slot PfStates::find(state::StateId id) const {
    const auto it = second_names_.find(id);
    return it == second_names_.end() ? state::kNoSlot : it->second;
}

state::StateId PfStates::second_name(Slot slot) const {
    const auto it = second_name_of_.find(slot);
    return it == second_name_of_.end() ? state::StateId{} : it->second;
}

state::StateId PfStates::take_name(Slot slot) {
    const auto it = second_name_of_.find(slot);
    if (it == second_name_of_.end())
        return {};
    const state::StateId id = it->second;
    second_name_of_.erase(it);
    second_names_.erase(id);
    return id;
}

void PfStates::set_key_out(Slot slot, const state::Key& key) {
    take_key_out(slot);
    // At most one flow can leave like this.
    if (const auto it = keys_out_.find(key); it != keys_out_.end())
        key_out_of_.erase(it->second);
    keys_out_[key] = slot;
    key_out_of_[slot] = key;
}

void PfStates::take_key_out(Slot slot) {
    const auto it = key_out_of_.find(slot);
    if (it == key_out_of_.end())
        return;
    keys_out_.erase(it->second);
    key_out_of_.erase(it);
}

const state::Key* PfStates::key_out(Slot slot) const {
    const auto it = key_out_of_.find(slot);
    return it == key_out_of_.end() ? nullptr : &it->second;
}

Slot PfStates::find_key_out(const state::Key& key) const {
    const auto it = keys_out_.find(key);
    return it == keys_out_.end() ? state::kNoSlot : it->second;
}

void PfStates::erase(Slot slot) {
    take_name(slot);
    take_key_out(slot);
    windows_.erase(slot);
    ahead_.erase(slot);
    leases_.erase(slot);
}

std::size_t PfStates::most() const {
    return std::max({windows_.size(), ahead_.size(), leases_.size(), second_names_.size(),
                     second_name_of_.size(), keys_out_.size(), key_out_of_.size()});
}

} // namespace encsync::sync
