// SPDX-License-Identifier: ISC
#include "policy/generation.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace encsync::policy {

namespace {

Error failed(int error) {
    switch (error) {
    case EPERM:
    case EACCES:
        return Error{"nftables: not permitted (it takes CAP_NET_ADMIN)"};
    case EINVAL: // nfnetlink does not know the subsystem
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
    case EAFNOSUPPORT:
        return Error{"nftables: the kernel lacks nf_tables"};
    default:
        return Error{fmt::format("nftables: {}", std::strerror(error))};
    }
}

int take_generation(const nlattr* attribute, void* out) {
    if (mnl_attr_get_type(attribute) == NFTA_GEN_ID &&
        mnl_attr_validate(attribute, MNL_TYPE_U32) == 0)
        *static_cast<std::uint32_t*>(out) = ntohl(mnl_attr_get_u32(attribute));
    return MNL_CB_OK;
}

int take_message(const nlmsghdr* message, void* out) {
    return mnl_attr_parse(message, sizeof(nfgenmsg), take_generation, out);
}

} // namespace

void Generation::Close::operator()(mnl_socket* s) const {
    mnl_socket_close(s);
}

Result<Generation> Generation::open() {
    Generation g;
    g.socket_.reset(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC));
    if (!g.socket_ || mnl_socket_bind(g.socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0)
        return failed(errno);
    // The kernel answers before the request returns; never block for a missing answer.
    const timeval patience{1, 0};
    ::setsockopt(mnl_socket_get_fd(g.socket_.get()), SOL_SOCKET, SO_RCVTIMEO, &patience,
                 sizeof patience);
    if (auto first = g.read(); !first)
        return first.error();
    return g;
}

Result<std::uint32_t> Generation::read() {
    alignas(nlmsghdr) std::array<char, 1024> buffer{};
    nlmsghdr* const request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
    request->nlmsg_flags = NLM_F_REQUEST;
    request->nlmsg_seq = ++seq_;
    const nfgenmsg header{AF_UNSPEC, NFNETLINK_V0, 0};
    std::memcpy(mnl_nlmsg_put_extra_header(request, sizeof header), &header, sizeof header);
    if (mnl_socket_sendto(socket_.get(), request, request->nlmsg_len) < 0)
        return failed(errno);
    const ssize_t n = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (n < 0)
        return failed(errno);
    std::uint32_t generation = 0;
    if (mnl_cb_run(buffer.data(), static_cast<std::size_t>(n), seq_,
                   mnl_socket_get_portid(socket_.get()), take_message, &generation) < 0)
        return failed(errno);
    return generation;
}

} // namespace encsync::policy
