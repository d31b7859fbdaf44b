// SPDX-License-Identifier: ISC
#include "table/conntrack/expectations.hpp"

#include "table/conntrack/kernel_filter.hpp"
#include "table/conntrack/netlink.hpp"
#include "util/log.hpp"

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <map>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace encsync::table {

namespace {

namespace asio = boost::asio;
using ctnetlink::ExpectEntry;
using ctnetlink::ExpectRequest;
using ctnetlink::Fault;
using state::Expectation;

constexpr std::size_t kEventBuffer = std::size_t{4} << 20;
constexpr std::size_t kReadSize = 65536;
constexpr std::size_t kReadsPerTurn = 64;
constexpr std::size_t kBatch = 64;      // operations
constexpr std::int64_t kTimerSlack = 5; // seconds by which two timeouts are the same

// Identifies an expectation in the kernel: no two have the same.
struct Id {
    state::Tuple tuple;
    state::Address mask;
    std::uint16_t mask_port;
    std::uint8_t proto;
    state::Family family;
    auto operator<=>(const Id&) const = default;
};
Id id_of(const Expectation& e) {
    return {e.tuple, e.mask, e.mask_port, e.proto, e.master.family};
}

std::int64_t steady_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

} // namespace

struct Expectations::Impl {
    struct Operation {
        Expectation expectation;
        state::Name helper;
        bool remove = false;
    };
    struct Known {
        Expectation expectation;
        std::int64_t expires = 0; // second of the steady clock
        std::uint32_t dump = 0;   // the last one that contained it
    };

    Impl(asio::io_context& io, netlink::Socket events_socket, netlink::Socket request_socket)
        : events(std::move(events_socket)), requests(std::move(request_socket)),
          ready(io, events.fd()), buffer(kReadSize) {}
    ~Impl() { ready.release(); } // the socket closes its descriptor itself

    void wait() {
        const auto turn = [this, watch = std::weak_ptr<int>(alive)](auto error) {
            if (error || watch.expired())
                return;
            read();
            wait();
        };
        if (events_lost) // what was read may have been the last event
            asio::post(ready.get_executor(), [turn] { turn(boost::system::error_code()); });
        else
            ready.async_wait(asio::posix::stream_descriptor::wait_read, turn);
    }

    // ---- events and dumps ------------------------------------------------------------------

    void read() {
        for (std::size_t n = 0; n < kReadsPerTurn; n++) {
            const ssize_t size =
                ::recv(events.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
            if (size < 0 && errno == EINTR)
                continue;
            if (size < 0 && errno == ENOBUFS) {
                // A running dump loses nothing, because the kernel waits with it. Events are
                // lost until the queue was empty once (see Conntrack), and a dump before that
                // moment would not show all that they hid.
                counters.overruns++;
                events_lost = true;
                continue;
            }
            if (size <= 0) {
                if (std::exchange(events_lost, false))
                    request_dump();
                return;
            }
            read_datagram(
                Bytes(buffer).first(std::min(static_cast<std::size_t>(size), buffer.size())));
        }
    }

    void read_datagram(Bytes datagram) {
        for (netlink::Messages m(datagram); m.next();) {
            const nlmsghdr& header = m.header();
            const bool of_dump = header.nlmsg_pid == events.port();
            if (of_dump && (!dumping || header.nlmsg_seq != dump_seq))
                continue; // the rest of one that was abandoned
            if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
                if (of_dump)
                    end_dump(header.nlmsg_type == NLMSG_DONE);
                continue;
            }
            ExpectEntry entry;
            const Fault fault = ctnetlink::parse(m.message(), entry);
            if (fault != Fault::none) {
                counters.faults[static_cast<std::size_t>(fault)]++;
                continue;
            }
            counters.events += of_dump ? 0 : 1;
            tell(entry, of_dump);
        }
    }

    // What the kernel has as far as was read. One that is made again though nothing has changed
    // may have been used up meanwhile, in an event that is not read yet: it would let another
    // connection in.
    bool is_known(const Expectation& e) const {
        const auto at = known.find(id_of(e));
        if (at == known.end())
            return false;
        Expectation there = at->second.expectation;
        there.timeout = e.timeout;
        return there == e &&
               std::abs(at->second.expires - (steady_seconds() + e.timeout)) <= kTimerSlack;
    }

    void remember(Expectation e) {
        Known& there = known[id_of(e)];
        // The kernel does not report the zone.
        Expectation reported = there.expectation;
        reported.zone = e.zone;
        reported.master.zone = e.master.zone;
        reported.timeout = e.timeout;
        if (e.zone == 0 && e.master.zone == 0 && reported == e) {
            e.zone = there.expectation.zone;
            e.master.zone = there.expectation.master.zone;
        }
        there = {e, steady_seconds() + e.timeout, dump_seq};
    }

    void tell(const ExpectEntry& entry, bool of_dump) {
        const Expectation& e = entry.expectation;
        if (entry.gone) {
            // What is about to be made was ordered when it was still there.
            std::erase_if(pending, [&](const Operation& op) {
                return !op.remove && id_of(op.expectation) == id_of(e);
            });
            known.erase(id_of(e));
            listener->on_unexpected(e);
        } else {
            remember(e);
            listener->on_expected(e, !of_dump);
        }
    }

    void request_dump() {
        if (std::exchange(dumping, true)) {
            dump_again = true;
            return;
        }
        std::array<std::uint8_t, 64> request{};
        const std::size_t size = ctnetlink::build_expect_dump(request, ++dump_seq);
        if (const int error = events.send(Bytes(request).first(size)); error != 0) {
            log::warning("expectations dump: {}", std::strerror(error));
            dumping = false;
        }
    }

    void end_dump(bool whole) {
        dumping = false;
        counters.dumps++;
        std::vector<Expectation> gone;
        if (whole)
            std::erase_if(known, [&](const auto& item) {
                if (item.second.dump == dump_seq)
                    return false;
                gone.push_back(item.second.expectation);
                return true;
            });
        for (const Expectation& e : gone)
            listener->on_unexpected(e);
        if (std::exchange(dump_again, false))
            request_dump();
    }

    // ---- requests --------------------------------------------------------------------------

    bool holds(const Expectation& e) {
        std::array<std::uint8_t, ctnetlink::kMaxExpectRequest> request{};
        first_seq += 2 * kBatch;
        const std::size_t size = ctnetlink::build(request, ExpectRequest::get, e, {}, first_seq);
        if (const int error = requests.send(Bytes(request).first(size)); error != 0)
            return false;
        // `buffer` contains the event that is being processed. The answer is queued before send()
        // returns.
        std::array<std::uint8_t, 4096> answer{};
        for (;;) {
            const ssize_t got =
                ::recv(requests.fd(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_TRUNC);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                return false;
            const Bytes datagram =
                Bytes(answer).first(std::min(static_cast<std::size_t>(got), answer.size()));
            for (netlink::Messages m(datagram); m.next();) {
                if (m.header().nlmsg_seq != first_seq)
                    continue;
                ExpectEntry entry;
                if (m.header().nlmsg_type == NLMSG_ERROR ||
                    ctnetlink::parse(m.message(), entry) != Fault::none)
                    return false;
                const Expectation& there = entry.expectation;
                return there.name() == e.name() && there.master.proto == e.master.proto &&
                       there.master.orig == e.master.orig;
            }
        }
    }

    void flush() {
        for (std::size_t from = 0; from < pending.size(); from += kBatch)
            send(from, std::min(kBatch, pending.size() - from));
        pending.clear();
    }

    void send(std::size_t from, std::size_t count) {
        std::vector<std::uint8_t> batch(2 * count * ctnetlink::kMaxExpectRequest);
        std::size_t used = 0;
        first_seq += 2 * kBatch;
        for (std::size_t n = 0; n < count; n++) {
            const Operation& op = pending[from + n];
            const auto add = [&](ExpectRequest request, std::size_t second) {
                used += ctnetlink::build(MutableBytes(batch).subspan(used), request, op.expectation,
                                         op.helper,
                                         static_cast<std::uint32_t>(first_seq + 2 * n + second));
            };
            if (op.remove) {
                add(ExpectRequest::remove, 0);
                known.erase(id_of(op.expectation));
                counters.removed++;
                continue;
            }
            if (is_known(op.expectation))
                continue;
            // A new one gets its helper's timeout, whatever the request says.
            add(ExpectRequest::create, 0);
            add(ExpectRequest::change, 1);
            remember(op.expectation);
            counters.made++;
        }
        if (used == 0)
            return;
        if (const int error = requests.send(Bytes(batch).first(used)); error != 0) {
            counters.refused += count;
            log::warning("expectations: {}", std::strerror(error));
            return;
        }
        read_errors(from, count);
    }

    void read_errors(std::size_t from, std::size_t count) {
        for (;;) {
            const ssize_t size =
                ::recv(requests.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
            if (size < 0 && (errno == EINTR || errno == ENOBUFS))
                continue;
            if (size <= 0)
                return;
            const Bytes datagram =
                Bytes(buffer).first(std::min(static_cast<std::size_t>(size), buffer.size()));
            for (netlink::Messages m(datagram); m.next();) {
                const std::uint32_t at = m.header().nlmsg_seq - first_seq;
                const Bytes payload = m.payload();
                if (m.header().nlmsg_type != NLMSG_ERROR || at % 2 != 0 || at / 2 >= count ||
                    payload.size() < sizeof(int))
                    continue;
                if (const int code = -netlink::load<int>(payload.data()); code != 0)
                    on_error(pending[from + at / 2], code);
            }
        }
    }

    void on_error(const Operation& op, int error) {
        if (op.remove)
            return; // already gone, as requested
        known.erase(id_of(op.expectation));
        counters.made--;
        switch (error) {
        case ENOENT:
            counters.no_master++;
            break;
        case EOPNOTSUPP:
            counters.no_helper++;
            break;
        case EMFILE:
        case ENOMEM:
            counters.no_room++;
            break;
        default:
            counters.refused++;
            break;
        }
        log::debug("conntrack does not take the expectation {}: {}",
                   state::to_string(op.expectation), std::strerror(error));
    }

    Listener* listener = nullptr;
    ExpectationCounters counters;
    netlink::Socket events, requests;
    asio::posix::stream_descriptor ready;
    std::vector<std::uint8_t> buffer;
    std::shared_ptr<int> alive = std::make_shared<int>(0);
    std::map<Id, Known> known;
    std::vector<Operation> pending;
    bool dumping = false, dump_again = false;
    bool events_lost = false; // a dump follows when all that are queued were read
    std::uint32_t dump_seq = 0, first_seq = 1;
};

Expectations::Expectations(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Expectations::~Expectations() = default;

Result<std::unique_ptr<Expectations>> Expectations::open(asio::io_context& io) {
    auto requests = netlink::Socket::open(NETLINK_NETFILTER, "expectation requests");
    if (!requests)
        return requests.error();
    requests->ask_short_errors();
    auto events = netlink::Socket::open(NETLINK_NETFILTER, "expectation events");
    if (!events)
        return events.error();
    events->set_receive_buffer(kEventBuffer);
    if (auto done = events->attach(build_event_filter(requests->port(), {})); !done)
        return done.error();
    for (const int group :
         {NFNLGRP_CONNTRACK_EXP_NEW, NFNLGRP_CONNTRACK_EXP_UPDATE, NFNLGRP_CONNTRACK_EXP_DESTROY})
        if (auto joined = events->join(group); !joined)
            return joined.error();
    return std::unique_ptr<Expectations>(
        new Expectations(std::make_unique<Impl>(io, std::move(*events), std::move(*requests))));
}

void Expectations::start(Listener& listener) {
    impl_->listener = &listener;
    impl_->wait();
}
void Expectations::request_dump() {
    impl_->request_dump();
}
void Expectations::expect(const Expectation& expectation, const state::Name& helper) {
    impl_->pending.push_back({expectation, helper, false});
}
void Expectations::unexpect(const Expectation& expectation) {
    impl_->pending.push_back({expectation, {}, true});
}
void Expectations::master_removed(const state::Key& master) {
    std::erase_if(impl_->known,
                  [&](const auto& item) { return item.second.expectation.master == master; });
}
bool Expectations::holds(const Expectation& expectation) {
    return impl_->holds(expectation);
}
void Expectations::flush() {
    impl_->flush();
}
const ExpectationCounters& Expectations::counters() const {
    return impl_->counters;
}

} // namespace encsync::table
