// SPDX-License-Identifier: ISC
#include "policy/watch.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string_view>
#include <sys/socket.h>

namespace encsync::policy {

namespace {

struct Search {
    std::string_view table;
    bool found = false;
};

// In each event about a table, a chain, a rule, a set or an object, the first attribute is the name
// of its table.
static_assert(NFTA_TABLE_NAME == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1 &&
              NFTA_SET_TABLE == 1 && NFTA_SET_ELEM_LIST_TABLE == 1 && NFTA_OBJ_TABLE == 1 &&
              NFTA_FLOWTABLE_TABLE == 1);

int look_at_attribute(const nlattr* attribute, void* data) {
    auto& search = *static_cast<Search*>(data);
    if (mnl_attr_get_type(attribute) == NFTA_TABLE_NAME &&
        mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
        search.found = search.found || mnl_attr_get_str(attribute) == search.table;
    return MNL_CB_OK;
}

int look_at_message(const nlmsghdr* message, void* data) {
    if ((message->nlmsg_type & 0xff) == NFT_MSG_NEWGEN) // the end of a transaction
        return MNL_CB_OK;
    return mnl_attr_parse(message, sizeof(nfgenmsg), look_at_attribute, data);
}

} // namespace

void Watch::Close::operator()(mnl_socket* s) const {
    mnl_socket_close(s);
}

Result<Watch> Watch::open(std::string table) {
    Watch watch;
    watch.table_ = std::move(table);
    watch.socket_.reset(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK));
    int group = NFNLGRP_NFTABLES;
    if (!watch.socket_ || mnl_socket_bind(watch.socket_.get(), 0, MNL_SOCKET_AUTOPID) != 0 ||
        mnl_socket_setsockopt(watch.socket_.get(), NETLINK_ADD_MEMBERSHIP, &group, sizeof group) !=
            0)
        return Error{
            fmt::format("nftables: its changes cannot be watched: {}", std::strerror(errno))};
    return watch;
}

int Watch::fd() const {
    return mnl_socket_get_fd(socket_.get());
}

bool Watch::take() {
    Search search{table_};
    alignas(nlmsghdr) std::array<char, 1 << 16> buffer;
    for (;;) {
        const ssize_t n = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return search.found;
        if (n < 0 && errno == EINTR)
            continue;
        // ENOBUFS: more was said than there was room for.
        if (n < 0 || mnl_cb_run(buffer.data(), static_cast<std::size_t>(n), 0, 0, look_at_message,
                                &search) < 0)
            search.found = true;
        if (n < 0 && errno != ENOBUFS)
            return true;
    }
}

} // namespace encsync::policy
