// SPDX-License-Identifier: ISC
#include "table/conntrack/conntrack.hpp"

#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/kernel_filter.hpp"
#include "table/conntrack/rtnetlink.hpp"
#include "util/log.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <fcntl.h>
#include <fmt/core.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <utility>

namespace encsync::table {

namespace {

namespace asio = boost::asio;
using ctnetlink::Entry;
using ctnetlink::Fault;
using Clock = std::chrono::steady_clock;

// Limits of one turn of the loop, which takes about a millisecond.
constexpr std::size_t kEventsPerCall = 64, kCallsPerTurn = 4, kDumpDatagramsPerTurn = 4;
constexpr std::size_t kEventSize = 4096;        // the largest have some hundred bytes
constexpr std::size_t kDumpSize = 65536;        // the kernel fills up to 32 KiB
constexpr std::size_t kAnswerBuffer = 4U << 20; // the errors of a whole batch, and answers
constexpr std::chrono::seconds kTick{5};
constexpr int kSweepPause = 200; // the pause after a dump is at least this many times its duration

constexpr const char* kEventsSwitch = "/proc/sys/net/netfilter/nf_conntrack_events";

template<class T>
void count(T& counters, auto what) {
    counters[static_cast<std::size_t>(what)]++;
}

class NetlinkTransport final : public Transport {
  public:
    explicit NetlinkTransport(netlink::Socket socket)
        : socket_(std::move(socket)), buffer_(kEventSize) {}

    int send(Bytes batch) override { return socket_.send(batch); }
    int receive(Bytes& datagram) override {
        for (;;) {
            const ssize_t n =
                ::recv(socket_.fd(), buffer_.data(), buffer_.size(), MSG_DONTWAIT | MSG_TRUNC);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0)
                return errno;
            const auto size = static_cast<std::size_t>(n);
            if (size > buffer_.size())
                return ENOBUFS; // a truncated datagram is lost
            datagram = Bytes(buffer_).first(size);
            return 0;
        }
    }
    std::uint32_t port() const { return socket_.port(); }

  private:
    netlink::Socket socket_;
    std::vector<std::uint8_t> buffer_;
};

// The buffers of one recvmmsg.
struct EventBuffers {
    std::vector<std::uint8_t> bytes = std::vector<std::uint8_t>(kEventsPerCall * kEventSize);
    std::array<mmsghdr, kEventsPerCall> headers{};
    std::array<iovec, kEventsPerCall> parts{};

    EventBuffers() {
        for (std::size_t i = 0; i < kEventsPerCall; i++) {
            parts[i] = {&bytes[i * kEventSize], kEventSize};
            headers[i].msg_hdr.msg_iov = &parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
    }
};

// With 1 the kernel sends events for every entry. With 2, the default of newer kernels, only for
// those created while a listener exists: changes during our restart would never be reported.
Result<void> switch_events_on() {
    char value = 0;
    const Fd fd(::open(kEventsSwitch, O_RDWR | O_CLOEXEC));
    const Fd read_only(::open(kEventsSwitch, O_RDONLY | O_CLOEXEC));
    if (::read(read_only.get(), &value, 1) != 1 || value == '1')
        return {};
    if (fd && ::write(fd.get(), "1", 1) == 1)
        return {};
    if (value == '0')
        return Error{"net.netfilter.nf_conntrack_events is 0 and cannot be set: "
                     "the kernel would tell of no flow"};
    log::notice("net.netfilter.nf_conntrack_events is {}; 1 is better: flows made while "
                "encsyncd is down raise no events",
                value);
    return {};
}

Result<void> attach_filter(netlink::Socket& events, std::uint32_t own_port,
                           const ConntrackOptions& options) {
    if (!options.filter_in_kernel)
        return {};
    const auto rules = options.filter.nosync.rules();
    if (!rules.empty()) {
        const auto whole = events.attach(build_event_filter(own_port, rules));
        if (whole)
            return {};
        log::notice("{}; nosync is applied in encsyncd alone", whole.error().text);
    }
    return events.attach(build_event_filter(own_port, {}));
}

} // namespace

struct Conntrack::Impl {
    Impl(asio::io_context& io, ConntrackOptions given, netlink::Socket events_socket,
         netlink::Socket dump_socket, netlink::Socket request_socket)
        : options(std::move(given)), filter(options.filter),
          marks_to_dump(expected_marks(options.filter.nosync.rules())),
          events(std::move(events_socket)), dump(std::move(dump_socket)),
          transport(std::move(request_socket)),
          writer(transport, hints, [this](const Entry& entry) { on_answer(entry); }),
          io_context(io), events_ready(io, events.fd()), dump_ready(io, dump.fd()),
          addresses_ready(io), tick(io) {}

    ~Impl() {
        // The sockets close their descriptors themselves.
        events_ready.release();
        dump_ready.release();
        if (addresses_ready.is_open())
            addresses_ready.release();
    }

    // Waits once, unless this table is gone by then.
    template<class F>
    void when_readable(asio::posix::stream_descriptor& descriptor, F handler) {
        descriptor.async_wait(asio::posix::stream_descriptor::wait_read,
                              [this, handler, watch = std::weak_ptr<int>(alive)](auto error) {
                                  if (!error && !watch.expired())
                                      handler(*this);
                              });
    }

    void start(Listener& to) {
        listener = &to;
        addresses_reported = filter.addresses().changes();
        expectations->start(to);
        wait_for_events();
        wait_for_dump();
        wait_for_addresses();
        wait_for_tick();
        request_dump();
    }

    void wait_for_events() {
        const auto turn = [](Impl& i) {
            i.read_events();
            i.wait_for_events();
        };
        if (!events_lost) {
            when_readable(events_ready, turn);
            return;
        }
        // What was read may have been the last event.
        asio::post(io_context, [this, turn, watch = std::weak_ptr<int>(alive)] {
            if (!watch.expired())
                turn(*this);
        });
    }
    void wait_for_dump() {
        when_readable(dump_ready, [](Impl& i) {
            i.read_dump();
            i.wait_for_dump();
        });
    }
    void wait_for_addresses() {
        when_readable(addresses_ready, [](Impl& i) {
            i.addresses->on_readable();
            i.report_addresses();
            i.wait_for_addresses();
        });
    }
    void wait_for_tick() {
        tick.expires_after(kTick);
        tick.async_wait([this, watch = std::weak_ptr<int>(alive)](auto error) {
            if (error || watch.expired())
                return;
            on_tick();
            wait_for_tick();
        });
    }

    void on_tick() {
        timeouts.reload();
        const auto since = Clock::now() - dumped;
        const bool due = since >= std::max<Clock::duration>(options.sweep, kSweepPause * dump_took);
        if (dump_failed || (due && !dump_running))
            request_dump();
    }

    // ---- events ----------------------------------------------------------------------------

    void read_events() {
        for (std::size_t calls = 0; calls < kCallsPerTurn; calls++) {
            const int n = ::recvmmsg(events.fd(), buffers.headers.data(), kEventsPerCall,
                                     MSG_DONTWAIT, nullptr);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0 && errno == ENOBUFS) {
                on_overrun();
                continue;
            }
            if (n <= 0) {
                if (std::exchange(events_lost, false))
                    request_dump();
                break;
            }
            addresses_current = false;
            for (std::size_t i = 0; i < static_cast<std::size_t>(n); i++) {
                if ((buffers.headers[i].msg_hdr.msg_flags & MSG_TRUNC) != 0) {
                    count(counters.faults, Fault::short_message);
                    on_overrun(); // lost, as with a full socket buffer
                    continue;
                }
                on_event_datagram(
                    Bytes(buffers.bytes).subspan(i * kEventSize, buffers.headers[i].msg_len));
            }
            if (static_cast<std::size_t>(n) < kEventsPerCall && !events_lost)
                break;
        }
        if (asked)
            flush(); // sends the queries
        asked = false;
    }

    // From the first lost event on, until the socket's queue was empty once, the kernel drops all
    // others as well, and doesn't say so again. A dump before that moment would be older than the
    // last of them.
    void on_overrun() {
        counters.overruns++;
        hints.forget_all();
        events_lost = true;
    }

    void on_event_datagram(Bytes datagram) {
        netlink::Messages m(datagram);
        while (m.next()) {
            if (m.header().nlmsg_pid == transport.port()) {
                counters.own_echoes++;
                continue;
            }
            Entry entry;
            const Fault fault = ctnetlink::parse(m.message(), entry);
            if (fault != Fault::none)
                count(counters.faults, fault);
            else
                on_event(entry);
        }
        if (m.malformed())
            count(counters.faults, Fault::short_message);
    }

    void on_event(const Entry& entry) {
        counters.events++;
        if (const auto why = filter.ignored(entry.flow)) {
            count(counters.ignored, *why);
            if (*why == Ignored::nosync_mark)
                withdraw(entry);
            return;
        }
        if (entry.kind == Entry::Kind::destroyed) {
            if (entry.port != 0)
                counters.removed_by_others++;
            hints.forget(entry.flow.key);
            listener->on_destroyed(entry.flow);
            return;
        }
        hints.set(entry.flow);
        if (!entry.has_progress || !entry.flow.seq_adjust_known) {
            // Incomplete: peers would reset the flow to its beginning. So query the whole entry.
            writer.ask(entry.flow);
            asked = true;
        } else if (entry.kind == Entry::Kind::created) {
            listener->on_created(entry.flow);
        } else {
            listener->on_updated(entry.flow);
        }
    }

    // The flow may have been reported earlier, with another mark. That is not remembered here.
    void withdraw(const Entry& entry) {
        if (entry.kind == Entry::Kind::destroyed) {
            hints.forget(entry.flow.key);
            listener->on_destroyed(entry.flow);
        } else if (entry.kind == Entry::Kind::updated) {
            listener->on_withdrawn(entry.flow);
        }
    }

    void on_answer(Entry entry) {
        entry.name_whole();
        const auto why = filter.ignored(entry.flow);
        if (why == Ignored::nosync_mark)
            withdraw(entry);
        else if (!why)
            listener->on_updated(entry.flow);
    }

    // ---- dumps -----------------------------------------------------------------------------

    void request_dump() {
        if (dump_running) {
            dump_again = true;
            return;
        }
        dump_running = true;
        // Deferred: the caller may be in the middle of an operation.
        asio::post(io_context, [this, watch = std::weak_ptr<int>(alive)] {
            if (!watch.expired())
                send_dump_request();
        });
    }

    void send_dump_request() {
        dump_failed = dump_again = false;
        listener->on_dump_begin();
        dump_began = Clock::now();
        std::array<std::uint8_t, 64> request{};
        const std::size_t size = ctnetlink::build_dump(request, ++dump_seq, marks_to_dump);
        if (const int error = dump.send(Bytes(request).first(size)); error != 0)
            on_dump_failure(error);
    }

    void on_dump_failure(int error) {
        counters.dump_failures++;
        log::warning("conntrack dump: {}; again in a few seconds", std::strerror(error));
        dump_running = false;
        dump_failed = true;
        marks_to_dump.reset(); // in case the kernel does not support it
    }

    void read_dump() {
        for (std::size_t i = 0; i < kDumpDatagramsPerTurn; i++) {
            const ssize_t n =
                ::recv(dump.fd(), dump_buffer.data(), dump_buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0 && errno != EAGAIN && dump_running)
                on_dump_failure(errno);
            if (n <= 0)
                return;
            if (static_cast<std::size_t>(n) > dump_buffer.size()) {
                count(counters.faults, Fault::short_message);
                on_dump_failure(EMSGSIZE);
                return;
            }
            on_dump_datagram(Bytes(dump_buffer).first(static_cast<std::size_t>(n)));
        }
    }

    void on_dump_datagram(Bytes datagram) {
        netlink::Messages m(datagram);
        while (m.next()) {
            if (m.header().nlmsg_seq != dump_seq || !dump_running)
                continue; // the rest of a dump that failed
            if (m.header().nlmsg_type == NLMSG_DONE) {
                end_dump();
            } else if (m.header().nlmsg_type == NLMSG_ERROR) {
                const Bytes p = m.payload();
                on_dump_failure(p.size() < sizeof(int) ? EPROTO : -netlink::load<int>(p.data()));
            } else {
                on_dump_message(m.message());
            }
        }
        if (m.malformed())
            count(counters.faults, Fault::short_message);
    }

    void on_dump_message(Bytes message) {
        Entry entry;
        const Fault fault = ctnetlink::parse(message, entry);
        if (fault != Fault::none) {
            count(counters.faults, fault);
            return;
        }
        counters.dump_entries++;
        if (filter.ignored(entry.flow))
            return;
        hints.set(entry.flow);
        entry.name_whole();
        listener->on_dump_entry(entry.flow, timeouts.is_untouched(entry.flow));
    }

    void end_dump() {
        counters.dumps++;
        dumped = Clock::now();
        dump_took = dumped - dump_began;
        dump_running = false;
        addresses_current = false;
        listener->on_dump_end();
        expectations->request_dump(); // the listener knows their masters now
        if (dump_again && !dump_running)
            request_dump();
    }

    // ---- requests --------------------------------------------------------------------------

    std::uint32_t lifetime_of(const state::Flow& flow, Lifetime lifetime) const {
        const std::uint32_t natural = timeouts.natural(flow);
        return lifetime == Lifetime::copy ? natural + kCopyExtra
                                          : std::max(natural, flow.extras.lifetime);
    }

    // The kernel reports the removal of an address before its flows, so queued address messages are
    // read first.
    bool address_left(const state::Flow& flow) {
        if (!state::has_snat(flow))
            return false;
        if (!std::exchange(addresses_current, true)) {
            addresses->on_readable();
            // Deferred, as in request_dump().
            asio::post(io_context, [this, watch = std::weak_ptr<int>(alive)] {
                if (!watch.expired())
                    report_addresses();
            });
        }
        return filter.addresses().has_left(with_family(flow.reply.dst, flow.key.family));
    }

    void report_addresses() {
        const std::uint64_t now = filter.addresses().changes();
        if (std::exchange(addresses_reported, now) != now)
            listener->on_addresses_changed();
    }

    void flush() {
        writer.flush([this](const Writer::Refused& refused) {
            if (refused.holder && !filter.ignored(*refused.holder))
                listener->on_clash(refused.key, *refused.holder,
                                   timeouts.is_untouched(*refused.holder));
            else
                listener->on_refused(refused.key, refused.refusal);
        });
        expectations->flush(); // after the flows, which may be their masters
    }

    ConntrackOptions options;
    ConntrackCounters counters;
    Listener* listener = nullptr;
    Filter filter;
    std::optional<state::MarkMatch> marks_to_dump;
    Timeouts timeouts;
    Hints hints;

    netlink::Socket events, dump;
    NetlinkTransport transport;
    Writer writer;
    std::unique_ptr<Expectations> expectations;
    std::optional<AddressMonitor> addresses;

    asio::io_context& io_context;
    asio::posix::stream_descriptor events_ready, dump_ready, addresses_ready;
    asio::steady_timer tick;
    std::shared_ptr<int> alive = std::make_shared<int>(0);

    EventBuffers buffers;
    std::vector<std::uint8_t> dump_buffer = std::vector<std::uint8_t>(kDumpSize);
    bool addresses_current = false; // all address messages before the current events were read
    std::uint64_t addresses_reported = 0;
    bool asked = false;       // queries are queued until the end of the turn
    bool events_lost = false; // a dump follows when all that are queued were read
    bool dump_running = false, dump_again = false, dump_failed = false;
    std::uint32_t dump_seq = 0;
    Clock::time_point dump_began, dumped = Clock::now(); // of the last one
    Clock::duration dump_took{};
};

Conntrack::Conntrack(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Conntrack::~Conntrack() = default;

Result<std::unique_ptr<Conntrack>> Conntrack::open(asio::io_context& io, ConntrackOptions options) {
    auto requests = netlink::Socket::open(NETLINK_NETFILTER, "conntrack requests");
    if (!requests)
        return requests.error();
    requests->set_receive_buffer(kAnswerBuffer);
    requests->set_send_buffer(kAnswerBuffer);
    requests->ask_short_errors();

    auto events = netlink::Socket::open(NETLINK_NETFILTER, "conntrack events");
    if (!events)
        return events.error();
    events->set_receive_buffer(options.event_buffer);
    if (auto done = attach_filter(*events, requests->port(), options); !done)
        return done.error();
    for (const int group :
         {NFNLGRP_CONNTRACK_NEW, NFNLGRP_CONNTRACK_UPDATE, NFNLGRP_CONNTRACK_DESTROY})
        if (auto joined = events->join(group); !joined)
            return joined.error();
    if (auto on = switch_events_on(); !on)
        return on.error();

    auto dump = netlink::Socket::open(NETLINK_NETFILTER, "conntrack dump");
    if (!dump)
        return dump.error();

    auto impl = std::make_unique<Impl>(io, std::move(options), std::move(*events), std::move(*dump),
                                       std::move(*requests));
    auto expectations = Expectations::open(io);
    if (!expectations)
        return expectations.error();
    impl->expectations = std::move(*expectations);
    auto addresses = AddressMonitor::open(impl->filter.addresses());
    if (!addresses)
        return addresses.error();
    impl->addresses.emplace(std::move(*addresses));
    impl->addresses_ready.assign(impl->addresses->fd());
    return std::unique_ptr<Conntrack>(new Conntrack(std::move(impl)));
}

void Conntrack::start(Listener& listener) {
    impl_->start(listener);
}

void Conntrack::put(const state::Flow& flow, Lifetime lifetime) {
    impl_->writer.put(flow, impl_->lifetime_of(flow, lifetime));
}

void Conntrack::refresh(const state::Flow& flow, Lifetime lifetime) {
    impl_->writer.refresh(flow, impl_->lifetime_of(flow, lifetime));
}

void Conntrack::relax(const state::Flow& flow) {
    impl_->writer.relax(flow);
}

void Conntrack::remove(const state::Flow& flow) {
    impl_->writer.remove(flow);
    if (!flow.extras.helper.empty())
        impl_->expectations->master_removed(flow.key);
}
void Conntrack::look(const state::Flow& flow) {
    impl_->writer.ask(flow);
}
void Conntrack::expect(const state::Expectation& expectation, const state::Name& helper) {
    if (impl_->filter.refused(expectation))
        impl_->counters.expectations_ignored++;
    else
        impl_->expectations->expect(expectation, helper);
}
void Conntrack::unexpect(const state::Expectation& expectation) {
    impl_->expectations->unexpect(expectation);
}
bool Conntrack::expects(const state::Expectation& expectation) {
    return impl_->expectations->holds(expectation);
}
void Conntrack::flush() {
    impl_->flush();
}
void Conntrack::request_dump() {
    impl_->request_dump();
}

bool Conntrack::address_left(const state::Flow& flow) const {
    return impl_->address_left(flow);
}

std::uint32_t Conntrack::natural_timeout(const state::Flow& flow) const {
    return impl_->timeouts.natural(flow);
}

bool Conntrack::reports(const state::Flow& flow) const {
    return !impl_->filter.ignored(flow);
}

std::optional<Ignored> Conntrack::refuses(const state::Flow& flow) const {
    return impl_->filter.refused(flow);
}

void Conntrack::each_counter(const counters::Visit& visit) const {
    counters::each(kConntrackCounters, event_counters(), visit);
    counters::each(kWriterCounters, writer_counters(), visit);
    counters::each(kExpectationCounters, expectation_counters(), visit);
}

const ConntrackCounters& Conntrack::event_counters() const {
    return impl_->counters;
}
const WriterCounters& Conntrack::writer_counters() const {
    return impl_->writer.counters();
}
const ExpectationCounters& Conntrack::expectation_counters() const {
    return impl_->expectations->counters();
}
const LocalAddresses& Conntrack::local_addresses() const {
    return impl_->filter.addresses();
}

} // namespace encsync::table
