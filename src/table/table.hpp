// SPDX-License-Identifier: ISC
// The state table: the interface of all backends. A backend is a subfolder here; factory.hpp
// creates the configured one.
//
// A Table reports changes of states to its Listener, and performs the operations of the sync
// engine. It never reports its own operations.
//
// Functions that not every table supports have a harmless default here.
#pragma once

#include "state/expectation.hpp"
#include "state/flow.hpp"
#include "table/ignored.hpp"
#include "util/counters.hpp"

#include <cstdint>
#include <optional>

namespace encsync::table {

// Extra seconds that a copy gets over the default timeout (Lifetime::copy).
inline constexpr std::uint32_t kCopyExtra = 600;

// The timeout of an entry.
enum class Lifetime : std::uint8_t {
    // The table's default for this protocol and progress, or the lifetime in the extras, if that is
    // longer.
    natural,
    copy, // natural + kCopyExtra, so that it outlives several refresh rounds without traffic
};

// Why the table did not carry out an operation.
enum class Refusal : std::uint8_t {
    table_full, // table full (ENOMEM, ENFILE): retried only by the engine's slow refresh
    clash,      // another entry has one of its tuples, and is not reportable
    invalid,    // the table does not accept such a state
    other,      // another system error; logged at most once a second
};
inline constexpr int kRefusals = 4;
const char* to_string(Refusal refusal);

class Listener {
  public:
    virtual ~Listener() = default;

    // A state appeared, or changed. flow.id is not set: the table does not know ids.
    virtual void on_created(const state::Flow& flow) = 0;
    virtual void on_updated(const state::Flow& flow) = 0;
    // A state is gone. Only flow.key is reliable.
    virtual void on_destroyed(const state::Flow& flow) = 0;

    // Fields whose *_known is false are unchanged. For flows that were not known before, an unknown
    // progress is reported as its minimum. flow.extras.lifetime is never set.

    // The flow still exists, but is no longer synced: its mark now matches a rule of nosync. If it
    // is live here, its copies elsewhere must be removed; a copy of a peer's flow stays. May be
    // called repeatedly, and for flows that were never reported.
    virtual void on_withdrawn(const state::Flow& flow) { on_destroyed(flow); }

    // An expectation appeared, or was found again (`fresh` false); one is gone: used, timed out or
    // removed. The master may be unknown. Its zone is not reported (0): use Table::expects().
    virtual void on_expected(const state::Expectation&, bool fresh) { static_cast<void>(fresh); }
    virtual void on_unexpected(const state::Expectation&) {}

    // A dump of the whole table: begin, every entry, end. After start-up and after events were
    // lost; entries not in the dump are gone unless created meanwhile. `untouched`: the entry still
    // has the timeout of a copy, so no packet has used it since a sync process created it. False
    // if the table cannot know.
    virtual void on_dump_begin() = 0;
    virtual void on_dump_entry(const state::Flow& flow, bool untouched) = 0;
    virtual void on_dump_end() = 0;

    // The result of Table::refuses() may have changed.
    virtual void on_addresses_changed() {}

    // An operation on this key failed.
    virtual void on_refused(const state::Key& key, Refusal refusal) = 0;
    // Likewise, because this flow has one of its tuples. `untouched` as in a dump.
    virtual void on_clash(const state::Key& key, const state::Flow& holder, bool untouched) {
        static_cast<void>(holder), static_cast<void>(untouched);
        on_refused(key, Refusal::clash);
    }
};

// Capabilities of a table. Whether labels, progress, mark and so on are known is marked in each
// flow (`*_known` in state/flow.hpp).
struct Capabilities {
    // The kernel's table: its entries pass packets, it tracks flows only while a rule needs that,
    // and sysctls affect it.
    bool in_kernel = false;
    // Of helpers: expect(), unexpect(), expects().
    bool expectations = false;
};

class Table {
  public:
    virtual ~Table() = default;

    virtual Capabilities capabilities() const { return {}; }
    // Starts reporting, and requests a first dump. The listener outlives the table.
    virtual void start(Listener& listener) = 0;
    // Called once a second or so, with the seconds since any start: for a table without its own
    // clock.
    virtual void advance(std::uint64_t now) { static_cast<void>(now); }

    // Creates or updates the entry. Its TCP sequence numbers are no longer checked, because packets
    // may have passed elsewhere.
    virtual void put(const state::Flow& flow, Lifetime lifetime) = 0;
    // Renews the timeout of an entry; recreates it if it is gone. Also makes it liberal.
    virtual void refresh(const state::Flow& flow, Lifetime lifetime) = 0;
    // Only makes the TCP entry liberal. If it is gone, it is not recreated.
    virtual void relax(const state::Flow& flow) { static_cast<void>(flow); }
    virtual void remove(const state::Flow& flow) = 0;
    // Queries the entry; the answer comes as on_updated(), or not at all.
    virtual void look(const state::Flow& flow) { static_cast<void>(flow); }
    // Creates an expectation or updates its timeout; removes one. The master is in the table, with
    // the helper of that name. Refused ones are counted. Nothing happens if the table is known to
    // have it so.
    virtual void expect(const state::Expectation&, const state::Name& helper) {
        static_cast<void>(helper);
    }
    virtual void unexpect(const state::Expectation&) {}
    // Whether it has this expectation, of a master in exactly this zone.
    virtual bool expects(const state::Expectation&) { return true; }
    // Operations may be batched until this is called.
    virtual void flush() = 0;

    // Requests a dump; it goes to the listener. One at a time: a request during a dump starts
    // another after it.
    virtual void request_dump() = 0;

    // Whether the address that this flow's replies go to was this machine's and no longer is, or
    // its interface is down. Then a removal may not be the flow's end: the kernel deletes all
    // masqueraded flows of an address that is removed.
    virtual bool address_left(const state::Flow& flow) const {
        static_cast<void>(flow);
        return false;
    }

    // Why this flow must not be accepted from any peer.
    virtual std::optional<Ignored> refuses(const state::Flow& flow) const {
        static_cast<void>(flow);
        return std::nullopt;
    }

    // Whether a flow is reported: not excluded by the configuration.
    virtual bool reports(const state::Flow& flow) const {
        static_cast<void>(flow);
        return true;
    }

    // Seconds an entry of this protocol and progress lives without traffic.
    virtual std::uint32_t natural_timeout(const state::Flow& flow) const = 0;

    // Flows that another program has deleted, since the start.
    virtual std::uint64_t removed_by_others() const { return 0; }
    // Its counters since the start.
    virtual void each_counter(const counters::Visit& visit) const { static_cast<void>(visit); }
};

} // namespace encsync::table
