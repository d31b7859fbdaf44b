// SPDX-License-Identifier: ISC
// What pf peers send of their states and no other table can keep: sequence windows, to which
// interface a state is bound, until when it holds, and the second name of a flow. Beside the index,
// by slot, and only for flows of which a pf peer has sent any of it.
//
//     PfStates states;
//     if (const Windows* w = states.windows(slot)) ... w->src.seqlo() ...
//     states.erase(slot);                            // with the slot
//
// Sequence numbers compare modulo 2^32 (RFC 9293, section 3.4). Windows are handed back as they
// came; who knows none takes part in no comparison. See pfsync(4) and merge.hpp for the rule.
#pragma once

#include "pfsync/parse.hpp"
#include "state/index.hpp"

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::sync {

constexpr bool seq_after(std::uint32_t a, std::uint32_t b) {
    return static_cast<std::int32_t>(a - b) > 0;
}

// The two peer blocks of a state.
struct Windows {
    using Block = std::array<std::uint8_t, pfsync::common::peer::size>;
    Block src{}, dst{};

    Windows() = default;
    Windows(const pfsync::PeerBlock& s, const pfsync::PeerBlock& d);
    // Zeros are what a node without sequence numbers sends.
    bool known() const;
    // Nothing if it is 0: no packet of this side has been seen (pf then learns it from the next
    // one). It is before all others, whatever modulo 2^32 says.
    static std::optional<std::uint32_t> seqlo(const Block& block) {
        const auto value = load_be<std::uint32_t>(&block[pfsync::common::peer::seqlo]);
        return value != 0 ? std::optional(value) : std::nullopt;
    }
};

class PfStates {
  public:
    // ---- windows ---------------------------------------------------------------------------
    const Windows* windows(state::Slot slot) const;
    // Takes the sides that are not stale; the first time, both. False: it knew them already, or
    // knows more.
    bool keep(state::Slot slot, const Windows& theirs, bool src, bool dst);
    // A peer that copies the dst side of an update even if its own is ahead
    // (DialectTraits::copies_stale_dst) is never sent one that is older than the last one it sent.
    void received_dst(state::Slot slot, const Windows::Block& dst);
    Windows with_latest_dst(state::Slot slot, const Windows& kept) const;
    // That an update was sent to a pf peer, and whether so lately that it may still answer.
    void sent(state::Slot slot, std::uint32_t now);
    bool sent_since(state::Slot slot, std::uint32_t then) const;

    // ---- leases ----------------------------------------------------------------------------
    struct Lease {
        std::uint32_t until = 0; // second of the engine's clock
        std::uint16_t interface = 0;
        bool outgoing = false;
    };
    const Lease* lease(state::Slot slot) const;
    void extend(state::Slot slot, std::uint32_t until);
    void bind(state::Slot slot, std::string_view ifname); // "all", "": to none
    // "" if it is bound to none.
    std::string_view interface(state::Slot slot) const;

    // ---- second names ----------------------------------------------------------------------
    // pf has two states of a flow that it forwards, of the packet that came in and of the one that
    // went out. The flow is known by the id that was received first.
    void set_outgoing(state::Slot slot, bool outgoing) { leases_[slot].outgoing = outgoing; }
    void add_name(state::Slot slot, state::StateId id);
    state::Slot find(state::StateId id) const; // by second name; kNoSlot: none's
    bool has_two_names(state::Slot slot) const { return second_name_of_.contains(slot); }
    state::StateId second_name(state::Slot slot) const; // {}: there is none
    // Takes the second name away. {}: there was none.
    state::StateId take_name(state::Slot slot);
    // With destination NAT, the state of the packet that went out has another key than the flow.
    void set_key_out(state::Slot slot, const state::Key& key);
    const state::Key* key_out(state::Slot slot) const;     // null: there is none
    state::Slot find_key_out(const state::Key& key) const; // kNoSlot: none's

    void erase(state::Slot slot);
    // Entries in the largest of its tables: at most as many as there are flows.
    std::size_t most() const;

  private:
    static constexpr std::size_t kMaxNames = 256; // beyond: as if bound to none

    template<class T>
    using BySlot = boost::unordered_flat_map<state::Slot, T>;
    struct Kept {
        Windows windows;
        std::uint32_t sent = 0;
    };
    BySlot<Kept> windows_;
    BySlot<Windows::Block> ahead_; // dst blocks ahead of ours
    BySlot<Lease> leases_;
    // Ids are the peers' choice: an ordered map has no buckets to fill.
    std::map<state::StateId, state::Slot> second_names_;
    BySlot<state::StateId> second_name_of_;
    std::map<state::Key, state::Slot> keys_out_;
    BySlot<state::Key> key_out_of_;
    void take_key_out(state::Slot slot);
    std::vector<std::string> names_{""};
};

} // namespace encsync::sync
