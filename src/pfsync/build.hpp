// Writing pfsync packets into a buffer that the caller lends: no allocation, no copy.
//
//     Builder packet(buffer);
//     if (auto* m = packet.add(Action::del_c, kIdSize))   // null: packet is full
//         write_id(m, id);
//     send(packet.finish());
//
// Messages of one action that follow each other share one section.
#pragma once

#include "pfsync/parse.hpp"

namespace encsync::pfsync {

class Builder {
  public:
    // Room for at least one header; pfcksum is zero.
    explicit Builder(MutableBytes buffer);

    // Room for one more message of `size` bytes (a multiple of 4), zeroed, or null if the
    // packet would outgrow the buffer.
    std::uint8_t* add(std::uint8_t action, std::size_t size);
    std::uint8_t* add(openbsd::Action action, std::size_t size) {
        return add(static_cast<std::uint8_t>(action), size);
    }
    // Room for a message of this size, section change included?
    bool fits(std::uint8_t action, std::size_t size) const;

    bool empty() const;   // nothing but the header
    std::size_t finish(); // writes the lengths; returns the packet's length

  private:
    MutableBytes buffer_;
    std::size_t used_;
    std::size_t section_ = 0; // offset of the open section's subheader; 0 = none
    std::uint16_t count_ = 0;
    std::size_t stride_ = 0;
};

// Each writes one message of the size wire.hpp gives at `m`, which add() has zeroed.
struct StateOptions {
    bool tail = false;      // append the encsync tail (message size kStateSize + tail::size)
    bool live = true;       // tail: the flow is ours
    bool wants_ack = false; // defer
    // Peer blocks as the flow's pf peer sent them (32 bytes each), handed back but for the state.
    // Without them a TCP flow is marked sloppy: nobody then expects sequence numbers of us.
    Bytes src{}, dst{};
};
void write_state(std::uint8_t* m, const state::Flow& flow, const StateOptions& options);
void write_upd_c(std::uint8_t* m, const state::Flow& flow, Bytes src = {}, Bytes dst = {});
void write_id(std::uint8_t* m, state::StateId id);
void write_clr(std::uint8_t* m, std::string_view ifname, std::uint32_t creatorid);
void write_bus(std::uint8_t* m, std::uint32_t creatorid, std::uint32_t endtime, bool end);
void write_tdb(std::uint8_t* m, const Tdb& tdb);

// The timeout index of a flow in this state (pf.c), for INS, UPD and UPD_C.
openbsd::Timeout timeout_index(const state::Flow& flow);

} // namespace encsync::pfsync
