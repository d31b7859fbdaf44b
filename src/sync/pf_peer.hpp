// SPDX-License-Identifier: ISC
// A peer that uses standard pfsync and nothing else: a pf firewall. Its packets are not numbered or
// acknowledged, so all that may be lost is sent again in time (pf_keepalive.hpp) or requested
// again, and each side of an update is compared on its own by pfsync's rule (merge.hpp). It sends
// compressed updates of a flow when packets pass there, so one makes it the owner, unless it may be
// an answer to what was sent to it in the last two seconds.
#pragma once

#include "sync/merge.hpp"
#include "sync/parts.hpp"
#include "sync/time.hpp"
#include "sync/update.hpp"

#include <array>

namespace encsync::sync {

class PfPeer : public PeerProtocol {
  public:
    PfPeer(Peer& peer, const Parts& parts) : peer_(peer), p_(parts), ctx_(parts.ctx) {}

    bool is_sent_changes() const override { return peer_.link_up; }
    bool reliable() const override { return false; }
    bool has_terms() const override { return false; }
    Zones zones() const override { return Zones::none; }
    Duration bulk_retry() const override { return traits(peer_.dialect).bulk.retry; }

    void on_link_up() override { begin(); }
    void on_link_down() override;
    void on_received() override;
    void on_received_again() override { renew_leases(); }
    void on_promoted() override;
    void reset() override {}
    void advance() override;
    Instant deadline() const override;

    void receive(const pfsync::Section* first, pfsync::Parser& rest) override;
    bool due() const override;
    std::size_t build(MutableBytes room) override;
    bool pauses() override;

    bool write_state(pfsync::Builder& packet, state::Slot slot, Item::Kind kind) override;
    bool write_update(pfsync::Builder& packet, state::Slot slot) override;
    void sent(const Item&) override { peer_.counters.tx_messages++; }

  private:
    // An update with what only pf sends.
    struct PfUpdate : Update {
        using Update::Update;
        pfsync::Dialect layout = pfsync::kOwnDialect;
        pfsync::PeerBlock src{}, dst{}; // views into the packet
        std::uint8_t timeout = 0;       // index
        bool second_name = false;       // of the other state that pf has of the flow
        bool answer = false;            // to a request, of whichever node that shares the cable
    };

    void begin();
    void receive_message(const pfsync::Section& section, Bytes message);
    void receive_extension(std::uint8_t action, Bytes message);
    void receive_full(const pfsync::Section& section, Bytes message);
    void receive_new(const pfsync::FullState& full);
    // `answer`: to a request for it or for all, and not because packets pass there.
    void receive_other_name(state::Slot slot, const pfsync::FullState& full, bool answer);
    void receive_update(pfsync::Dialect layout, Bytes message);
    void receive_removal(state::StateId id);
    void receive_clear(Bytes message);
    void receive_request(state::StateId id);
    void receive_bulk_status(Bytes message);

    // ---- one flow --------------------------------------------------------------------------
    void apply(state::Slot slot, PfUpdate update);
    Merge merge(state::Slot slot, const PfUpdate& update);
    Merge merge_tcp(state::Slot slot, const PfUpdate& update, state::Progress& ours);
    bool claims(state::Slot slot, const PfUpdate& update, bool further, const Merge& merged) const;
    bool settle_owner(state::Slot slot, const PfUpdate& update);
    void keep_windows(state::Slot slot, const pfsync::FullState& full);
    state::Flow as_pf_has_it(state::Slot slot) const;
    bool windows(state::Slot slot, Windows& out) const;

    // ---- timeouts --------------------------------------------------------------------------
    std::uint32_t timeout(std::uint8_t index) const;
    void learn_timeout(const pfsync::FullState& full);
    void renew_leases();

    std::uint32_t bulk_endtime() const;
    void retry_bulk();

    Peer& peer_;
    const Parts& p_;
    Context& ctx_;
    Instant bulk_not_before_; // the next one that we send
    Instant gave_up_at_;
    std::array<std::uint32_t, 25> longest_{}; // by timeout index: its timeouts, as far as seen
};

} // namespace encsync::sync
