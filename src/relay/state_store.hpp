// SPDX-License-Identifier: ISC
// The states that a relay has passed on, each as the last full state message of it with what later
// updates have changed. From here a firewall's bulk update is answered, and two gateways find out
// what differs.
//
//     StateStore store(seed);
//     Slot slot = store.put(peer, layout, message);          // INS or UPD from that peer
//     slot = store.update(peer, dialect, update_c);           // kNoSlot: not known
//     Bytes now = store.message(slot);                        // as it is now, with its times
//
// A state's origin is the peer whose message changed it last: what a gateway holds of its own
// cables is what other gateways must hold of it. Without an origin it is an orphan: kept until it
// expires, but compared with nobody. A removed state is remembered for a while, so that only a
// state that is known to have ended is ever removed elsewhere.
//
// It owns all memory: about 340 bytes a state. Not more than the limit of each origin; beyond that,
// a new state is not kept. Times are seconds of the relay's clock.
#pragma once

#include "pfsync/dialect.hpp"
#include "state/hash_table.hpp"
#include "sync/digest.hpp"
#include "util/bytes.hpp"
#include "util/peer_id.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace encsync::relay {

using state::kNoSlot;
using state::Slot;

class StateStore {
  public:
    static constexpr std::uint32_t kKeepRemoved = 3600; // seconds
    static constexpr std::size_t kMaxRemoved = 200'000;

    explicit StateStore(const state::Seed& seed) : seed_(seed) {}

    // ---- changes ---------------------------------------------------------------------------
    // `overheard`: another gateway passes it on, and remains the origin of a state that is known.
    enum class Heard : std::uint8_t { directly, overheard };
    // A full state. kNoSlot: the limit of `from` is reached, and it is not known yet.
    Slot put(PeerId from, pfsync::Dialect layout, Bytes message, Heard heard = Heard::directly);
    Slot update(PeerId from, pfsync::Dialect dialect, Bytes update_c,
                Heard heard = Heard::directly);
    bool remove(state::StateId id); // remembered as removed, even if it was not known
    // CLR: an empty name, all interfaces. Returns how many.
    std::size_t clear(std::uint32_t creatorid, std::string_view ifname);
    void make_orphan(Slot slot);
    void make_orphans(PeerId origin); // all of its states
    // Advances the time. Expired states go, a slice of all at a time.
    void advance(std::uint32_t now);
    void set_limit(PeerId origin, std::size_t states) { limits_[origin] = states; }

    // ---- questions -------------------------------------------------------------------------
    Slot find(state::StateId id) const;
    // In slot order; kNoSlot: before the first, after the last. See state::Index.
    Slot next(Slot slot) const;
    bool used(Slot slot) const { return slot < entries_.size() && entries_[slot].bytes != nullptr; }
    state::StateId id(Slot slot) const { return entries_[slot].id; }
    PeerId origin(Slot slot) const { return entries_[slot].origin; }
    pfsync::Dialect layout(Slot slot) const { return entries_[slot].layout; }
    std::uint8_t proto(Slot slot) const;
    std::uint32_t changed(Slot slot) const { return entries_[slot].changed; }
    std::uint64_t check(Slot slot) const;
    // Which flow it is (full_state.hpp).
    std::uint64_t flow_hash(Slot slot) const;
    // A full state message, valid until the next call.
    Bytes message(Slot slot);
    bool removed(state::StateId id) const { return removed_.contains(id); }
    std::optional<std::uint32_t> removed_ago(state::StateId id) const; // seconds
    // Removed since then, the latest first.
    std::vector<state::StateId> removed_since(std::uint32_t second) const;
    const sync::Digest& digest(PeerId origin) const { return digests_[origin]; }
    std::size_t size() const { return by_id_.size(); }
    std::size_t memory_bytes() const;

    // A bit for each peer: a message to it waits that will be made of the state as it is then.
    bool waits(Slot slot, PeerId peer) const { return (entries_[slot].waits >> peer & 1) != 0; }
    void set_waits(Slot slot, PeerId peer, bool waits);
    // A firewall was sent it, lately.
    void set_told(Slot slot) { entries_[slot].told = now_; }
    bool told_lately(Slot slot) const;

  private:
    struct Entry {
        state::StateId id;
        std::unique_ptr<std::uint8_t[]> bytes; // null: unused
        std::uint32_t expires = 0;
        std::uint32_t written = 0; // when the times in `bytes` were right
        std::uint32_t changed = 0;
        std::uint32_t told = 0; // 0: never
        std::uint16_t size = 0;
        std::uint16_t waits = 0;
        PeerId origin = kNoPeer;
        pfsync::Dialect layout{};
    };
    struct IdHash {
        std::size_t operator()(const state::StateId& id) const;
    };

    std::uint32_t hash(state::StateId id) const;
    MutableBytes bytes(Entry& entry) { return {entry.bytes.get(), entry.size}; }
    Bytes bytes(const Entry& entry) const { return {entry.bytes.get(), entry.size}; }
    void count(Slot slot, bool in); // in the digest of its origin
    void change_origin(Slot slot, PeerId origin);
    void erase(Slot slot);
    void remember_removed(state::StateId id);

    state::Seed seed_;
    std::uint32_t now_ = 0;
    std::deque<Entry> entries_;
    std::vector<Slot> free_;
    state::HashTable by_id_;
    std::array<sync::Digest, kMaxPeers> digests_;
    std::array<std::size_t, kMaxPeers> limits_{}; // 0: none
    Slot expiry_cursor_ = kNoSlot;
    std::unordered_map<state::StateId, std::uint32_t, IdHash> removed_; // when
    std::deque<std::pair<std::uint32_t, state::StateId>> removals_;     // in order
    std::vector<std::uint8_t> scratch_;
};

} // namespace encsync::relay
