// SPDX-License-Identifier: ISC
// A peer that is an encsync node. Packets are numbered, lost items are sent again with their
// present state, and nothing is processed out of order (reliability.hpp). So an owner's update of
// its own flow is taken as it is, and both sides end up with the same. An update from a node that
// does not own the flow is taken only if it names the owner and the present term, because that node
// may have seen packets that the owner has not; in an earlier term it is out of date.
//
// Until both have sent HELLO, only HELLO is sent.
#pragma once

#include "sync/parts.hpp"
#include "sync/reliability.hpp"
#include "sync/time.hpp"
#include "sync/update.hpp"

namespace encsync::sync {

class EncsyncPeer : public PeerProtocol {
  public:
    EncsyncPeer(Peer& peer, const Parts& parts) : peer_(peer), p_(parts), ctx_(parts.ctx) {}

    bool is_sent_changes() const override { return peer_.extended; }
    bool reliable() const override { return true; }
    bool has_terms() const override { return true; }
    Zones zones() const override {
        return peer_.reads_reply_zone ? Zones::each_direction : Zones::both_directions;
    }
    Duration bulk_retry() const override;

    void on_link_up() override { resume(); }
    void on_link_down() override {}
    void on_received() override {}
    void on_received_again() override { resume(); }
    void on_promoted() override {}
    void reset() override;
    void advance() override;
    Instant deadline() const override;

    void receive(const pfsync::Section* first, pfsync::Parser& rest) override;
    bool due() const override;
    std::size_t build(MutableBytes room) override;
    bool pauses() override { return false; }

    bool write_state(pfsync::Builder& packet, state::Slot slot, Item::Kind kind) override;
    bool write_update(pfsync::Builder& packet, state::Slot slot) override;
    void sent(const Item& item) override;
    void carries(Instant since) override;

    std::optional<Instant> oldest_unacknowledged() const override;
    const Histogram* acknowledge_latency() const override { return &outstanding_.latency(); }

  private:
    // ---- sending ---------------------------------------------------------------------------
    bool may_talk() const { return peer_.extended && !peer_.silent && outstanding_.room(); }
    bool anything_to_send() const;
    bool write_all(pfsync::Builder& packet);
    void append_ack(pfsync::Builder& packet);
    std::uint8_t expectations_of(state::Slot slot) const;
    bool write_expectations(pfsync::Builder& packet);
    void send_again(const Item& item, Instant since);
    void resume();

    // ---- hearing ---------------------------------------------------------------------------
    bool receive_number(const pfsync::Section* section);
    void receive_extension(std::uint8_t action, Bytes message);
    void receive_message(const pfsync::Section& section, Bytes message);
    void receive_ack(Bytes message);
    void receive_full(pfsync::Dialect layout, Bytes message);
    void receive_new(const pfsync::FullState& full);
    void receive_other_name(state::Slot slot, const pfsync::FullState& full);
    void receive_update(pfsync::Dialect layout, Bytes message);
    void receive_request(state::StateId id);
    void start_bulk();
    void receive_removal(state::StateId id, std::uint8_t term);
    void receive_clear(Bytes message);
    void receive_bulk_status(Bytes message);
    void receive_expect(Bytes message);
    void begin_expectations(const pfsync::FullState& full);

    // ---- its updates of a flow; false: the flow has no owner, and is erased--------------------
    void apply(state::Slot slot, const Update& update);
    bool apply_short(state::Slot slot, const Update& update);
    bool apply_from_owner(state::Slot slot, const Update& update);
    bool apply_from_non_owner(state::Slot slot, const Update& update);
    void replace(state::Slot slot, const Update& update);
    bool merge_progress(state::Slot slot, const Update& update);

    Peer& peer_;
    const Parts& p_;
    Context& ctx_;
    Outstanding outstanding_;
    Inbox inbox_;
    Instant ack_due_ = Instant::max();
    // The flow whose full state was sent last and whose expectations follow; so many are sent.
    state::Slot expecting_ = state::kNoSlot;
    std::uint8_t expectations_sent_ = 0;
    Instant bulk_not_before_; // the next one that we send
    bool bulk_waits_ = false; // until then
};

} // namespace encsync::sync
