// SPDX-License-Identifier: ISC
// Writes pfsync packets into a buffer of the caller: no allocation, no copy.
//
//     Builder packet(buffer, dialect);
//     if (auto* m = packet.add(Kind::remove_c))   // null: packet is full
//         write_id(m, id);
//     send(packet.finish());
//
// Messages of one action that follow each other share one section, but for BUS.
#pragma once

#include "pfsync/parse.hpp"
#include "pfsync/progress.hpp"

namespace encsync::pfsync {

class Builder {
  public:
    // The buffer has at least kMinRoom bytes; pfcksum is zero. Version 5 packets end with an EOF
    // section, for which space is always reserved.
    static constexpr std::size_t kMinRoom = common::kHeaderSize + common::kSubheaderSize;
    explicit Builder(MutableBytes buffer, Dialect dialect = kOwnDialect);

    // Space for one more message of this kind, zeroed, or null if the buffer is full. The dialect
    // must have such a message (action_of()). Version 6: `extra` bytes more, a multiple of 4.
    std::uint8_t* add(Kind kind, std::size_t extra = 0);
    bool fits(Kind kind, std::size_t extra = 0) const;

    // The same by number and size (version 6: a multiple of 4).
    std::uint8_t* add(std::uint8_t action, std::size_t size);
    std::uint8_t* add(openbsd::Action action, std::size_t size) {
        return add(static_cast<std::uint8_t>(action), size);
    }
    // Whether a message of this size fits, including a new section header.
    bool fits(std::uint8_t action, std::size_t size) const;

    bool empty() const;   // nothing but the header
    std::size_t finish(); // writes the lengths and the end; returns the packet's length
    Dialect dialect() const { return dialect_; }

  private:
    bool joins(std::uint8_t action, std::size_t size) const; // the open section

    MutableBytes buffer_; // without the space for EOF
    Dialect dialect_;
    std::size_t used_;
    std::size_t section_ = 0; // offset of the open section's subheader; 0 = none
    std::uint16_t count_ = 0;
    std::size_t stride_ = 0;
};

// Each writes one message at `m`, which add() has zeroed. The dialect must be the Builder's.
struct StateOptions {
    bool tail = false;             // version 6: append the encsync tail (tail::size bytes extra)
    bool live = true;              // tail: this node owns the flow
    std::uint8_t term = 0;         // tail: how often its owner has changed
    bool elsewhere = false;        // tail: a third node owns the flow
    bool more = false;             // after the tail: the flow's extras (more::size bytes extra)
    std::uint8_t expectations = 0; // more: number of EXPECT messages that follow
    bool wants_ack = false;        // defer
    // Without NAT: pf created the state for an outgoing packet. NAT determines the direction.
    bool outgoing = false;
    // Peer blocks as received from the flow's pf peer (32 bytes each), sent back unchanged except
    // the state. Without them a TCP flow is marked sloppy: no receiver then expects sequence
    // numbers.
    Bytes src{}, dst{};
};
void write_state(Dialect dialect, std::uint8_t* m, const state::Flow& flow,
                 const StateOptions& options);
void write_upd_c(Dialect dialect, std::uint8_t* m, const state::Flow& flow, Bytes src = {},
                 Bytes dst = {});
void write_id(std::uint8_t* m, state::StateId id);
void write_bus(std::uint8_t* m, std::uint32_t creatorid, std::uint32_t endtime, bool end);
void write_tdb(Dialect dialect, std::uint8_t* m, const Tdb& tdb); // v5: rpl's low 32 bits

// Of kOwnDialect.
void write_state(std::uint8_t* m, const state::Flow& flow, const StateOptions& options);
void write_upd_c(std::uint8_t* m, const state::Flow& flow, Bytes src = {}, Bytes dst = {});
void write_tdb(std::uint8_t* m, const Tdb& tdb);

} // namespace encsync::pfsync
