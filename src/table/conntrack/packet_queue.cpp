// SPDX-License-Identifier: ISC
#include "table/conntrack/packet_queue.hpp"

#include "table/conntrack/netlink.hpp"
#include "util/log.hpp"

#include <arpa/inet.h>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cerrno>
#include <fmt/core.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <poll.h>
#include <set>
#include <sys/socket.h>
#include <vector>

namespace encsync::table {

namespace {

namespace asio = boost::asio;

// Packets in the kernel's queue, beyond those held by our caller: enough for one turn of the loop.
constexpr std::uint32_t kMaxLength = 1024;
constexpr std::size_t kBuffer = 8192; // of one message: headers, attributes, the entry
constexpr std::size_t kSocketBuffer = std::size_t{4} << 20;
// Packets read in one turn, during which no waiting packet times out. More than may wait at once,
// so that in a flood some exceed that limit, however slow the machine is.
constexpr std::size_t kPerTurn = 256;
constexpr int kAnswerWithin = 1000; // milliseconds; the kernel answers at once

template<class T>
T network(T value) {
    return to_big_endian(value);
}

netlink::Writer message(MutableBytes buffer, std::uint8_t type, std::uint16_t flags,
                        std::uint16_t number) {
    netlink::Writer w(buffer, static_cast<std::uint16_t>(NFNL_SUBSYS_QUEUE << 8 | type),
                      static_cast<std::uint16_t>(NLM_F_REQUEST | flags), 0);
    w.plain(nfgenmsg{AF_UNSPEC, NFNETLINK_V0, htons(number)});
    return w;
}

// 0 or the kernel's errno.
int send_and_wait(netlink::Socket& socket, Bytes request) {
    if (const int error = socket.send(request); error != 0)
        return error;
    std::array<std::uint8_t, kBuffer> buffer{};
    for (;;) {
        pollfd ready{socket.fd(), POLLIN, 0};
        if (::poll(&ready, 1, kAnswerWithin) <= 0)
            return ETIMEDOUT;
        const ssize_t n = ::recv(socket.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        netlink::Messages m(Bytes(buffer).first(static_cast<std::size_t>(n)));
        while (m.next())
            if (m.header().nlmsg_type == NLMSG_ERROR && m.payload().size() >= sizeof(int))
                return -netlink::load<int>(m.payload().data());
    }
}

std::string why(int error, std::uint16_t number) {
    switch (error) {
    case EPERM:
    case EBUSY:
        return fmt::format("another program has queue {}, or it takes CAP_NET_ADMIN", number);
    case EINVAL:
    case ENOENT:
    case EPROTONOSUPPORT:
        return "the kernel lacks nfnetlink_queue";
    case EOPNOTSUPP:
        return "the kernel cannot queue packets with their conntrack entries "
               "(NETFILTER_NETLINK_GLUE_CT)";
    default:
        return std::strerror(error);
    }
}

} // namespace

struct PacketQueue::Impl {
    Impl(asio::io_context& io, netlink::Socket opened, std::uint16_t n)
        : socket(std::move(opened)), number(n), readable(io, socket.fd()) {}

    ~Impl() {
        readable.release(); // the socket closes its descriptor itself
        while (!waiting.empty())
            accept(*waiting.begin());
    }

    int configure() {
        std::array<std::uint8_t, 128> room{};
        auto bind = message(room, NFQNL_MSG_CONFIG, NLM_F_ACK, number);
        const nfqnl_msg_config_cmd command{NFQNL_CFG_CMD_BIND, 0, 0};
        bind.put(NFQA_CFG_CMD, &command, sizeof command);
        if (const int error = send_and_wait(socket, Bytes(room).first(bind.finish())); error != 0)
            return error;
        auto rest = message(room, NFQNL_MSG_CONFIG, NLM_F_ACK, number);
        nfqnl_msg_config_params params{};
        params.copy_mode = NFQNL_COPY_META;
        rest.put(NFQA_CFG_PARAMS, &params, sizeof params);
        rest.put_be(NFQA_CFG_QUEUE_MAXLEN, kMaxLength);
        rest.put_be(NFQA_CFG_FLAGS, std::uint32_t{NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_CONNTRACK});
        rest.put_be(NFQA_CFG_MASK, std::uint32_t{NFQA_CFG_F_FAIL_OPEN | NFQA_CFG_F_CONNTRACK});
        return send_and_wait(socket, Bytes(room).first(rest.finish()));
    }

    void wait() {
        readable.async_wait(asio::posix::stream_descriptor::wait_read,
                            [this, watch = std::weak_ptr<int>(alive)](auto error) {
                                if (error || watch.expired())
                                    return;
                                read();
                                wait();
                            });
    }

    void read() {
        for (std::size_t n = 0; n < kPerTurn; n++) {
            const ssize_t size = ::recv(socket.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (size < 0 && errno == EINTR)
                continue;
            if (size < 0 && errno == ENOBUFS)
                continue; // packets that did not fit were accepted (FAIL_OPEN)
            if (size <= 0)
                return;
            netlink::Messages m(Bytes(buffer).first(static_cast<std::size_t>(size)));
            while (m.next())
                on_message(m.header().nlmsg_type, m.payload());
        }
    }

    void on_message(std::uint16_t type, Bytes payload) {
        if (type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET))
            return; // errors of verdicts: the packet is already gone
        if (payload.size() < sizeof(nfgenmsg)) {
            counters.unreadable++;
            return;
        }
        const auto family = netlink::load<nfgenmsg>(payload.data()).nfgen_family;
        Bytes header, entry;
        netlink::Attributes a(payload.subspan(sizeof(nfgenmsg)));
        while (a.next())
            if (a.type() == NFQA_PACKET_HDR)
                header = a.value();
            else if (a.type() == NFQA_CT)
                entry = a.value();
        if (header.size() < sizeof(nfqnl_msg_packet_hdr)) {
            counters.unreadable++;
            return;
        }
        const auto id = load_be<std::uint32_t>(header.data()); // packet_id comes first
        counters.packets++;
        waiting.insert(id);
        ctnetlink::Entry parsed;
        if (entry.empty()) {
            counters.without_flow++;
            on_packet(id, nullptr);
            return;
        }
        const auto fault = ctnetlink::parse_entry(entry, family, parsed);
        if (fault != ctnetlink::Fault::none)
            counters.faults[static_cast<std::size_t>(fault)]++;
        // The kernel's timeout of an unconfirmed entry has another meaning.
        parsed.flow.timeout_known = false;
        on_packet(id,
                  fault == ctnetlink::Fault::none && parsed.has_progress ? &parsed.flow : nullptr);
    }

    void accept(std::uint32_t id) {
        if (waiting.erase(id) == 0)
            return;
        std::array<std::uint8_t, 64> room{};
        auto verdict = message(room, NFQNL_MSG_VERDICT, 0, number);
        const nfqnl_msg_verdict_hdr header{network(std::uint32_t{NF_ACCEPT}), network(id)};
        verdict.put(NFQA_VERDICT_HDR, &header, sizeof header);
        if (const int error = socket.send(Bytes(room).first(verdict.finish())); error != 0)
            log::error("the verdict on a deferred packet: {}", std::strerror(error));
    }

    netlink::Socket socket;
    std::uint16_t number;
    asio::posix::stream_descriptor readable;
    OnPacket on_packet;
    PacketQueueCounters counters;
    std::set<std::uint32_t> waiting;
    std::vector<std::uint8_t> buffer = std::vector<std::uint8_t>(kBuffer);
    std::shared_ptr<int> alive = std::make_shared<int>(0);
};

PacketQueue::PacketQueue(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PacketQueue::~PacketQueue() = default;

Result<std::unique_ptr<PacketQueue>> PacketQueue::open(asio::io_context& io, std::uint16_t number) {
    auto socket = netlink::Socket::open(NETLINK_NETFILTER, "packet queue");
    if (!socket)
        return socket.error();
    socket->set_receive_buffer(kSocketBuffer);
    socket->ask_short_errors();
    auto impl = std::make_unique<Impl>(io, std::move(*socket), number);
    if (const int error = impl->configure(); error != 0)
        return Error{fmt::format("packet queue {}: {}", number, why(error, number))};
    return std::unique_ptr<PacketQueue>(new PacketQueue(std::move(impl)));
}

void PacketQueue::start(OnPacket on_packet) {
    impl_->on_packet = std::move(on_packet);
    impl_->wait();
}

void PacketQueue::accept(std::uint32_t id) {
    impl_->accept(id);
}

const PacketQueueCounters& PacketQueue::counters() const {
    return impl_->counters;
}

} // namespace encsync::table
