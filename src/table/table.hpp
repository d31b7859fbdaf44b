// SPDX-License-Identifier: ISC
// Where states live: the face of all backends. A backend is a folder beside this file; factory.hpp
// makes the one that the configuration names.
//
// A Table reports to its Listener what happened to states that others made, and carries out
// what the sync engine asks for. It never reports what it did itself.
//
// What not every table can do or know has a harmless default here.
#pragma once

#include "state/expectation.hpp"
#include "state/flow.hpp"
#include "table/ignored.hpp"
#include "util/counters.hpp"

#include <cstdint>
#include <optional>

namespace encsync::table {

// By how many seconds a copy outlives what traffic would give it (Lifetime::copy).
inline constexpr std::uint32_t kCopyExtra = 600;

// How long an entry is to live.
enum class Lifetime : std::uint8_t {
    // What the table gives a flow of this protocol and progress, or what its extras say, if that
    // is more.
    natural,
    copy, // natural + kCopyExtra, so that it outlives several refresh rounds without traffic
};

// Why the table did not carry out an operation.
enum class Refusal : std::uint8_t {
    table_full, // no room (ENOMEM, ENFILE): asked again only by the engine's slow refresh
    clash,      // another entry holds one of its tuples, and is none to be told of
    invalid,    // the table does not take such a state
    other,      // the system said something else; logged once a second at most
};
inline constexpr int kRefusals = 4;
const char* to_string(Refusal refusal);

class Listener {
  public:
    virtual ~Listener() = default;

    // A state appeared, or changed. flow.id is not set: the table does not know ids.
    virtual void on_created(const state::Flow& flow) = 0;
    virtual void on_updated(const state::Flow& flow) = 0;
    // A state is gone. Only flow.key is to be relied on.
    virtual void on_destroyed(const state::Flow& flow) = 0;

    // Where one of flow's *_known is false, that is as it was before. A progress that is not known
    // is told as the least that it can be, for flows that were not known either.
    // flow.extras.lifetime is never told.

    // The flow is still there, but is no longer to be synced: its mark has come to fit a rule of
    // nosync. If it is live here, its copies elsewhere are to go; a copy that a peer keeps up
    // here is that peer's and stays. May come again, and for flows that were never reported.
    virtual void on_withdrawn(const state::Flow& flow) { on_destroyed(flow); }

    // An expectation appeared, or was found again (`fresh` false); one is gone: used, timed out or
    // removed. The master may be unknown. Its zone is not told (0): Table::expects() knows.
    virtual void on_expected(const state::Expectation&, bool fresh) { static_cast<void>(fresh); }
    virtual void on_unexpected(const state::Expectation&) {}

    // The whole table, read anew: begin, every entry, end. Comes after start-up and after
    // events were lost; entries not named since begin are gone unless created meanwhile.
    // `untouched`: the entry still carries the lifetime of a copy, so no packet has used it
    // since a sync process put it there. A table that cannot know says false.
    virtual void on_dump_begin() = 0;
    virtual void on_dump_entry(const state::Flow& flow, bool untouched) = 0;
    virtual void on_dump_end() = 0;

    // What Table::refuses() says may be another answer now.
    virtual void on_addresses_changed() {}

    // An operation on this key failed.
    virtual void on_refused(const state::Key& key, Refusal refusal) = 0;
    // Likewise, because this flow holds one of its tuples. `untouched` as in a dump.
    virtual void on_clash(const state::Key& key, const state::Flow& holder, bool untouched) {
        static_cast<void>(holder), static_cast<void>(untouched);
        on_refused(key, Refusal::clash);
    }
};

// What a table is beside a place for states, for those who have to act by it. That labels, the
// progress, the mark and so on are not known is said flow by flow (`*_known` in state/flow.hpp).
struct Capabilities {
    // The kernel's own: its entries pass packets, it tracks flows only while a rule asks for that,
    // and sysctls bear on it.
    bool in_kernel = false;
    // Of helpers: expect(), unexpect(), expects().
    bool expectations = false;
};

class Table {
  public:
    virtual ~Table() = default;

    virtual Capabilities capabilities() const { return {}; }
    // Begins to report, and asks for a first dump. The listener outlives the table.
    virtual void start(Listener& listener) = 0;
    // Called once a second or so, with the seconds since any start: for a table that is told the
    // time.
    virtual void advance(std::uint64_t now) { static_cast<void>(now); }

    // Creates the entry, or brings the one that is there to the same state. Its TCP sequence
    // numbers are not checked from then on: they may have moved elsewhere.
    virtual void put(const state::Flow& flow, Lifetime lifetime) = 0;
    // Re-arms the timeout of an entry; makes it anew if it has gone. Likewise liberal from then on.
    virtual void refresh(const state::Flow& flow, Lifetime lifetime) = 0;
    // No more than that: the TCP entry becomes liberal. One that has gone is not made anew.
    virtual void relax(const state::Flow& flow) { static_cast<void>(flow); }
    virtual void remove(const state::Flow& flow) = 0;
    // Asks how the entry is by now; the answer comes as on_updated(), or not at all.
    virtual void look(const state::Flow& flow) { static_cast<void>(flow); }
    // Makes an expectation, or brings the one that is there to the same timeout; removes one. The
    // master is in the table, with the helper of that name. What the table does not take, it
    // counts.
    virtual void expect(const state::Expectation&, const state::Name& helper) {
        static_cast<void>(helper);
    }
    virtual void unexpect(const state::Expectation&) {}
    // Whether it has this expectation, of a master in this very zone.
    virtual bool expects(const state::Expectation&) { return true; }
    // Operations may be batched until this is called.
    virtual void flush() = 0;

    // Asks for a dump; the answer comes through the listener. One at a time: asking again
    // while one runs starts another after it.
    virtual void request_dump() = 0;

    // Whether the address that this flow's replies go to was this machine's and no longer is, or
    // its interface is down. Then a removal may not be the flow's end: the kernel forgets all
    // masqueraded flows of an address that leaves.
    virtual bool address_left(const state::Flow& flow) const {
        static_cast<void>(flow);
        return false;
    }

    // Why this flow is not to be taken from a peer, whoever that is.
    virtual std::optional<Ignored> refuses(const state::Flow& flow) const {
        static_cast<void>(flow);
        return std::nullopt;
    }

    // Whether a flow is one to be reported: none of those that the configuration leaves out.
    virtual bool reports(const state::Flow& flow) const {
        static_cast<void>(flow);
        return true;
    }

    // Seconds an entry of this protocol and progress lives without traffic.
    virtual std::uint32_t natural_timeout(const state::Flow& flow) const = 0;

    // Flows that another program has deleted, since the start.
    virtual std::uint64_t removed_by_others() const { return 0; }
    // What it has counted since its start.
    virtual void each_counter(const counters::Visit& visit) const { static_cast<void>(visit); }
};

} // namespace encsync::table
