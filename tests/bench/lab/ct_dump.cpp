// SPDX-License-Identifier: ISC
#include "ct_dump.hpp"

#include "util/fd.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <endian.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <memory>
#include <sched.h>

namespace encsync::bench {
namespace {

// Calls f(type, attribute) for each attribute. (libmnl's own macros for this need C's conversion
// from void*.)
template<class F>
void each_attribute(const void* begin, const void* end, F f) {
    const auto* attr = static_cast<const nlattr*>(begin);
    const auto left = [&] {
        return static_cast<int>(static_cast<const char*>(end) -
                                reinterpret_cast<const char*>(attr));
    };
    for (; mnl_attr_ok(attr, left()); attr = mnl_attr_next(attr))
        f(mnl_attr_get_type(attr), attr);
}

template<class F>
void each_nested(const nlattr* outer, F f) {
    const char* begin = static_cast<const char*>(mnl_attr_get_payload(outer));
    each_attribute(begin, begin + mnl_attr_get_payload_len(outer), f);
}

void read_address(const nlattr* attr, std::array<std::uint8_t, 16>& address) {
    std::memcpy(address.data(), mnl_attr_get_payload(attr),
                std::min<std::size_t>(address.size(), mnl_attr_get_payload_len(attr)));
}

void read_ports(const nlattr* outer, FlowKey& key, FlowKey::Side& side) {
    each_nested(outer, [&](int type, const nlattr* attr) {
        switch (type) {
        case CTA_PROTO_NUM:
            key.protocol = mnl_attr_get_u8(attr);
            break;
        case CTA_PROTO_SRC_PORT:
        case CTA_PROTO_ICMP_ID:
        case CTA_PROTO_ICMPV6_ID:
            side.from_port = ntohs(mnl_attr_get_u16(attr));
            break;
        case CTA_PROTO_DST_PORT:
            side.to_port = ntohs(mnl_attr_get_u16(attr));
            break;
        case CTA_PROTO_ICMP_TYPE:
        case CTA_PROTO_ICMPV6_TYPE:
            side.to_port = static_cast<std::uint16_t>(side.to_port | mnl_attr_get_u8(attr) << 8);
            break;
        case CTA_PROTO_ICMP_CODE:
        case CTA_PROTO_ICMPV6_CODE:
            side.to_port = static_cast<std::uint16_t>(side.to_port | mnl_attr_get_u8(attr));
            break;
        default:
            break;
        }
    });
}

void read_tuple(const nlattr* outer, FlowKey& key, FlowKey::Side& side) {
    each_nested(outer, [&](int type, const nlattr* attr) {
        if (type == CTA_TUPLE_PROTO)
            read_ports(attr, key, side);
        if (type != CTA_TUPLE_IP)
            return;
        each_nested(attr, [&](int ip_type, const nlattr* ip) {
            if (ip_type == CTA_IP_V4_SRC || ip_type == CTA_IP_V6_SRC)
                read_address(ip, side.from);
            else if (ip_type == CTA_IP_V4_DST || ip_type == CTA_IP_V6_DST)
                read_address(ip, side.to);
        });
    });
}

Entry read_entry(const nlmsghdr* message) {
    Entry entry;
    entry.key.family = static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(message))->nfgen_family;
    const void* begin = mnl_nlmsg_get_payload_offset(message, sizeof(nfgenmsg));
    each_attribute(begin, mnl_nlmsg_get_payload_tail(message), [&](int type, const nlattr* attr) {
        switch (type) {
        case CTA_TUPLE_ORIG:
            read_tuple(attr, entry.key, entry.key.original);
            break;
        case CTA_TUPLE_REPLY:
            read_tuple(attr, entry.key, entry.key.reply);
            break;
        case CTA_ZONE:
            entry.key.zone = ntohs(mnl_attr_get_u16(attr));
            break;
        case CTA_TIMESTAMP:
            each_nested(attr, [&](int stamp_type, const nlattr* stamp) {
                if (stamp_type == CTA_TIMESTAMP_START)
                    entry.start_ns = be64toh(mnl_attr_get_u64(stamp));
            });
            break;
        default:
            break;
        }
    });
    return entry;
}

int on_message(const nlmsghdr* message, void* data) {
    static_cast<std::vector<Entry>*>(data)->push_back(read_entry(message));
    return MNL_CB_OK;
}

Error system_error(const char* what) {
    return Error{fmt::format("{}: {}", what, strerror(errno))};
}

} // namespace

Result<std::vector<Entry>> dump(const std::string& netns) {
    const Fd space(open(netns.c_str(), O_RDONLY | O_CLOEXEC));
    if (!space || setns(space.get(), CLONE_NEWNET) != 0)
        return system_error(netns.c_str());

    const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(
        mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), mnl_socket_close);
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0)
        return system_error("netlink socket");

    std::array<char, 256> request{};
    nlmsghdr* header = mnl_nlmsg_put_header(request.data());
    header->nlmsg_type = (NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_GET;
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    header->nlmsg_seq = 1;
    auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
    family->nfgen_family = AF_UNSPEC;
    family->version = NFNETLINK_V0;
    if (mnl_socket_sendto(socket.get(), header, header->nlmsg_len) < 0)
        return system_error("dump request");

    std::vector<Entry> entries;
    std::vector<char> buffer(1 << 18);
    for (int more = MNL_CB_OK; more > MNL_CB_STOP;) {
        const ssize_t size = mnl_socket_recvfrom(socket.get(), buffer.data(), buffer.size());
        if (size < 0)
            return system_error("dump");
        more = mnl_cb_run(buffer.data(), static_cast<std::size_t>(size), 1,
                          mnl_socket_get_portid(socket.get()), on_message, &entries);
        if (more == MNL_CB_ERROR)
            return system_error("dump");
    }
    return entries;
}

} // namespace encsync::bench
