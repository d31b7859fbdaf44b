// SPDX-License-Identifier: ISC
// lab_entries: puts new flows directly into the kernel of the network namespace it runs in.
//
//     lab_entries --flows 200000 [--rate 1000] [--first 0]
//
// The cheaper of two loads: no packets, the same entries and the same events as those of lab_flood.
// With both firewalls and the load on one machine, it leaves more of that machine to the systems
// under test. Prints one JSON object: first_ns, last_ns (CLOCK_REALTIME, as the kernel's conntrack
// timestamps are). The flows and their rate: load.hpp.
#include "load.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <memory>
#include <string_view>

namespace {

using encsync::bench::Flow;

constexpr std::uint64_t kBatch = 64;
constexpr std::uint32_t kTimeoutSeconds = 3600;

struct Side {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    std::uint16_t from_port = 0;
    std::uint16_t to_port = 0;
};

void put_tuple(nlmsghdr* message, std::uint16_t type, const Side& side) {
    nlattr* tuple = mnl_attr_nest_start(message, type);
    nlattr* ip = mnl_attr_nest_start(message, CTA_TUPLE_IP);
    mnl_attr_put_u32(message, CTA_IP_V4_SRC, htonl(side.from));
    mnl_attr_put_u32(message, CTA_IP_V4_DST, htonl(side.to));
    mnl_attr_nest_end(message, ip);
    nlattr* proto = mnl_attr_nest_start(message, CTA_TUPLE_PROTO);
    mnl_attr_put_u8(message, CTA_PROTO_NUM, IPPROTO_UDP);
    mnl_attr_put_u16(message, CTA_PROTO_SRC_PORT, htons(side.from_port));
    mnl_attr_put_u16(message, CTA_PROTO_DST_PORT, htons(side.to_port));
    mnl_attr_nest_end(message, proto);
    mnl_attr_nest_end(message, tuple);
}

std::size_t put_entry(char* at, const Flow& flow) {
    nlmsghdr* message = mnl_nlmsg_put_header(at);
    message->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;
    auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
    family->nfgen_family = AF_INET;
    family->version = NFNETLINK_V0;
    put_tuple(message, CTA_TUPLE_ORIG,
              {flow.client, flow.server, flow.client_port, flow.server_port});
    put_tuple(message, CTA_TUPLE_REPLY,
              {flow.server, flow.client, flow.server_port, flow.client_port});
    mnl_attr_put_u32(message, CTA_TIMEOUT, htonl(kTimeoutSeconds));
    return message->nlmsg_len;
}

int error_of(const nlmsghdr* answer) {
    return answer->nlmsg_type == NLMSG_ERROR
               ? static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer))->error
               : 0;
}

// Without acknowledgements only errors are reported, and they are queued before send() returns.
bool no_error(mnl_socket* socket) {
    alignas(nlmsghdr) std::array<char, 8192> buffer{};
    const ssize_t size =
        recv(mnl_socket_get_fd(socket), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (size < 0)
        return errno == EAGAIN;
    const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer.data());
    if (mnl_nlmsg_ok(answer, static_cast<int>(size)))
        errno = -error_of(answer);
    return errno == 0;
}

bool make_entries(mnl_socket* socket, const encsync::bench::LoadOptions& load) {
    encsync::bench::Pacer pacer(load.rate);
    alignas(nlmsghdr) std::array<char, kBatch * 256> batch{};
    for (std::uint64_t made = 0; made < load.flows;) {
        const std::uint64_t count = pacer.due(std::min(kBatch, load.flows - made));
        std::size_t size = 0;
        for (std::uint64_t i = 0; i < count; ++i)
            size += put_entry(&batch[size], encsync::bench::flow(load.first + made + i));
        if (mnl_socket_sendto(socket, batch.data(), size) < 0 || !no_error(socket))
            return false;
        made += count;
    }
    return true;
}

} // namespace

int main(int argc, char** argv) {
    encsync::bench::LoadOptions load;
    bool good = argc % 2 == 1;
    for (int i = 1; good && i + 1 < argc; i += 2)
        good = load.take(argv[i], argv[i + 1]);
    if (!good || !load.complete()) {
        fmt::print(stderr, "usage: lab_entries --flows N [--rate PER_SECOND] [--first N]\n");
        return 2;
    }
    const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(
        mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), mnl_socket_close);
    const std::uint64_t first = encsync::bench::realtime_ns();
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0 ||
        !make_entries(socket.get(), load)) {
        fmt::print(stderr, "lab_entries: cannot make entries: {}\n", std::strerror(errno));
        return 1;
    }
    fmt::print("{{\"first_ns\": {}, \"last_ns\": {}}}\n", first, encsync::bench::realtime_ns());
    return 0;
}
