// SPDX-License-Identifier: ISC
// A table in memory, with a clock given from outside: for tests and simulation.
//
//     Memory table({.capacity = 1000});
//     table.start(engine);
//     table.packet(flow);        // as if a packet of this flow was forwarded
//     table.advance(now_s);      // timeouts expire; requested dumps are made
//
// Behaves like conntrack: own operations raise no events; established flows raise none either,
// however many packets they carry; a packet sets an entry's timeout to its natural one; an entry
// whose timeout expires is reported as destroyed.
#pragma once

#include "table/table.hpp"
#include "table/timeouts.hpp"

#include <array>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace encsync::table {

struct MemoryOptions {
    std::size_t capacity = SIZE_MAX; // entries
};

class Memory final : public Table {
  public:
    explicit Memory(MemoryOptions options = {});

    static constexpr Capabilities kCapabilities{};
    Capabilities capabilities() const override { return kCapabilities; }
    void start(Listener& listener) override;

    void put(const state::Flow& flow, Lifetime lifetime) override;
    void refresh(const state::Flow& flow, Lifetime lifetime) override;
    void relax(const state::Flow& flow) override;
    void remove(const state::Flow& flow) override;
    void flush() override; // reports refusals
    void request_dump() override;
    std::uint32_t natural_timeout(const state::Flow& flow) const override;

    // ---- simulated traffic and failures ----------------------------------------------------
    // A packet of this flow was forwarded: creates the entry, or re-arms it; a change of progress,
    // flags, mark or reply is an update. False if the table is full.
    bool packet(const state::Flow& flow);
    // The entry is deleted by an administrator, or because the flow has ended.
    void destroy(const state::Key& key);
    // Expires entries, then makes the requested dumps. Time never goes backwards.
    void advance(std::uint64_t now) override;
    // While true, events are lost; when it ends, a dump follows, as after ENOBUFS.
    void lose_events(bool lose);
    // The node loses its table (power failure), without events.
    void wipe();

    std::size_t size() const { return entries_.size(); }
    // With the timeout at the current time.
    std::optional<state::Flow> find(const state::Key& key) const;
    bool is_untouched(const state::Key& key) const;
    const std::array<std::uint64_t, kRefusals>& refused() const { return refused_; }

  private:
    struct Entry {
        state::Flow flow;
        std::uint64_t expires = 0;
        std::uint64_t created = 0;
    };
    using Entries = std::map<state::Key, Entry>;
    void arm(Entries::iterator at, std::uint64_t expires);
    void erase(Entries::iterator at);
    void write(const state::Flow& flow, Lifetime lifetime);
    void dump();
    state::Flow seen_now(const Entry& entry) const;
    // The entry that has one of the flow's tuples and is not the flow; end().
    Entries::const_iterator holder(const state::Flow& flow) const;
    Entries::iterator insert(const state::Flow& flow);

    MemoryOptions options_;
    Listener* listener_ = nullptr;
    Timeouts timeouts_{"/nonexistent"}; // the kernel's defaults, independent of this machine
    Entries entries_;
    std::set<std::pair<std::uint64_t, state::Key>> by_expiry_;
    // Reply tuples, as keys of flows in that direction, to find clashes.
    std::map<state::Key, state::Key> by_reply_;
    struct Refused {
        state::Key key;
        Refusal refusal;
        std::optional<state::Key> holder; // of a clash
    };
    std::vector<Refused> refusals_;
    std::array<std::uint64_t, kRefusals> refused_{};
    std::uint64_t now_ = 0;
    bool dump_wanted_ = false, losing_ = false, lost_ = false, telling_ = false;
};

} // namespace encsync::table
