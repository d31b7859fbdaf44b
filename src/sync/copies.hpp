// SPDX-License-Identifier: ISC
// The table's entries of flows, as far as we make them: a copy of a peer's flow is put there, kept
// alive without traffic while its owner lives, and runs out by itself afterwards. A flow that was
// taken over gets the lifetime that its traffic would give it.
//
// What is not taken from a peer is decided here, too: flows of this firewall itself and those that
// `ignore` names (Table::refuses), and those that fit the `refuse` of the peer's conn. Such a flow
// is kept in the index as the peer's, and nowhere else: it is not put into the table, not
// sent to other peers, and not taken over. So the digests of both sides agree. An entry
// that this node's own traffic has made is not touched.
//
// A round visits every flow once a minute, in slices; in a hurry, all of them at full speed.
#pragma once

#include "sync/lifecycle.hpp"
#include "sync/outbound.hpp"
#include "sync/suppression.hpp"
#include "sync/time.hpp"

#include <cstdint>
#include <optional>
#include <vector>

namespace encsync::sync {

class Copies {
  public:
    Copies(Context& context, Peers& peers, Outbound& outbound, Lifecycle& lifecycle,
           Suppression& suppression)
        : ctx_(context), peers_(peers), outbound_(outbound), lifecycle_(lifecycle),
          suppression_(suppression) {}

    // ---- one flow --------------------------------------------------------------------------
    // Brings the table's entry to what is known of the flow. A copy that the table does not have is
    // made only where there is room for it (Context::room).
    void put(state::Slot slot);
    // To be called when Context::room was set: what each peer may have of it.
    void share_out();
    // So many copies of the peer that has most leave the table.
    void make_room(std::size_t count);
    // The table has it. As what the dump in progress names, or the last one.
    void mark_present(state::Slot slot);
    void mark_named(state::Slot slot) { ctx_.flows.local(slot).is.dump_mark = dump_mark_; }
    bool is_named(const Record& record) const { return record.is.dump_mark == dump_mark_; }
    void begin_dump() { dump_mark_ = !dump_mark_; }
    // Has traffic used this copy? `untouched` as in table::Listener::on_dump_entry().
    bool has_traffic(const Record& record, const state::Flow& flow, bool untouched) const;
    // Seconds that the table gives a flow of ours without traffic.
    std::uint32_t lifetime(const state::Flow& flow) const;
    // Seconds since the last event of this flow of ours; INT32_MAX: its timer is still a copy's.
    std::int32_t since_moved(state::Slot slot) const;

    // ---- what it expects -------------------------------------------------------------------
    void put_expectations(state::Slot slot);
    void put_expectations_anew(state::Slot slot); // with their master
    void remove_expectations(state::Slot slot, const std::vector<state::Expectation>& gone);

    // ---- what is not taken -----------------------------------------------------------------
    std::optional<table::Ignored> refuses(std::uint8_t owner, const state::Flow& flow) const;
    void count_refused(PeerId peer, table::Ignored why);
    // To be called when the owner or what rules look at has changed. copy: what the table has of it
    // is what we have put there.
    void judge(state::Slot slot, bool copy);
    // judge() and Suppression::update() after a change of mark, addresses or flags.
    void rules_changed(state::Slot slot);
    // It is not taken, and its owner lives: so no event makes it ours.
    bool is_refused(state::Slot slot) const;
    // The addresses of this machine have changed: all flows are checked again.
    void judge_all();

    // ---- rounds ----------------------------------------------------------------------------
    void hurry();
    bool in_a_hurry() const { return hurry_; }
    // Copies of a vanished owner run out as the owner's table would have let them.
    void lengthen(PeerId vanished);
    void advance();
    Instant deadline() const { return due_; }

  private:
    std::size_t held(PeerId peer) const;
    PeerId largest() const;
    bool take_room(state::Slot slot);
    void wait_for_room(state::Slot slot);
    void refresh(state::Slot slot);
    bool judge_again(state::Slot slot);
    void keep_out(state::Slot slot);

    Context& ctx_;
    Peers& peers_;
    Outbound& outbound_;
    Lifecycle& lifecycle_;
    Suppression& suppression_;

    bool dump_mark_ = false;
    state::Slot cursor_ = state::kNoSlot;
    Instant due_;
    bool hurry_ = false, judging_ = false;
};

} // namespace encsync::sync
