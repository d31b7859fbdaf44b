// SPDX-License-Identifier: ISC
// The kernel's expectations: reports new and removed ones, and creates and removes copies.
//
//     auto expectations = Expectations::open(io);    // Result
//     (*expectations)->start(engine);                // events from now on
//     (*expectations)->request_dump();               // all existing ones, once masters are known
//     (*expectations)->expect(e, helper); (*expectations)->flush();
//
// Two sockets: events and dumps, and requests, whose events a socket filter drops. A copy needs its
// master in the kernel, so flush() comes after the flows'. Listener::on_expected() comes again for
// everything in each dump; those missing in a dump are reported as gone.
#pragma once

#include "state/expectation.hpp"
#include "table/conntrack/ctnetlink_expect.hpp"
#include "table/table.hpp"
#include "util/counters.hpp"
#include "util/result.hpp"

#include <array>
#include <boost/asio/io_context.hpp>
#include <memory>

namespace encsync::table {

struct ExpectationCounters {
    std::uint64_t events = 0, dumps = 0, overruns = 0;
    std::uint64_t made = 0, removed = 0;
    // Not created: the master is not in the table; it has no helper there; the limit is reached
    // (nf_conntrack_expect_max, or the helper's own); a conflict with another one, or other errors.
    std::uint64_t no_master = 0, no_helper = 0, no_room = 0, refused = 0;
    std::array<std::uint64_t, ctnetlink::kFaults> faults{};
};
inline constexpr std::array kExpectationCounters = {
    counters::value<&ExpectationCounters::events>("expectations", "events", "events",
                                                  "Events of expectations"),
    counters::value<&ExpectationCounters::dumps>("", "expectation_dumps", "dumps",
                                                 "Dumps of expectations"),
    counters::value<&ExpectationCounters::overruns>("expectations", "overruns", "times",
                                                    "Times that events were lost"),
    counters::value<&ExpectationCounters::made>("expectations", "made", "expectations",
                                                "Expectations made in the kernel"),
    counters::value<&ExpectationCounters::removed>("expectations", "removed", "expectations",
                                                   "Expectations removed from the kernel"),
    counters::value<&ExpectationCounters::no_master>(
        "expectations", "no_master", "expectations",
        "Expectations not made: the master is not in the table"),
    counters::value<&ExpectationCounters::no_helper>(
        "expectations", "no_helper", "expectations",
        "Expectations not made: the master has no helper there"),
    counters::value<&ExpectationCounters::no_room>("expectations", "no_room", "expectations",
                                                   "Expectations not made: a limit is reached"),
    counters::value<&ExpectationCounters::refused>("expectations", "refused", "expectations",
                                                   "Expectations not made for another reason"),
    counters::by<&ExpectationCounters::faults, ctnetlink::Fault>(
        "expectations", "faults", "messages", "Messages of ctnetlink that could not be read",
        "fault", counters::Shape::object, true, 1),
};

class Expectations {
  public:
    static Result<std::unique_ptr<Expectations>> open(boost::asio::io_context& io);
    ~Expectations();

    void start(Listener& listener); // which outlives this
    void request_dump();
    void expect(const state::Expectation& expectation, const state::Name& helper);
    void unexpect(const state::Expectation& expectation);
    // The kernel removes what it expected, and reports that later.
    void master_removed(const state::Key& master);
    // Whether the kernel has it, for this master, in the master's zone. Queries the kernel.
    bool holds(const state::Expectation& expectation);
    void flush();
    const ExpectationCounters& counters() const;

  private:
    struct Impl;
    explicit Expectations(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace encsync::table
