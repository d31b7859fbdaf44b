// SPDX-License-Identifier: ISC
#include "ipsec/link/xfrm.hpp"

#include "ipsec/link/inner.hpp"
#include "net/asio.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/core.h>
#include <functional>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/udp.h>
#include <linux/xfrm.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sodium.h>
#include <sys/socket.h>
#include <vector>

namespace encsync::link {
namespace {

using Address = boost::asio::ip::address;
// Of one message or answer; dumps come in pieces of this size at most.
constexpr std::size_t kBuffer = 32768;
constexpr std::uint32_t kPolicyPriority = 1000;
constexpr const char* kKind = "xfrm";

class Request {
  public:
    Request(std::uint16_t type, std::uint16_t flags) : buffer_(kBuffer) {
        header_ = mnl_nlmsg_put_header(buffer_.data());
        header_->nlmsg_type = type;
        header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
        header_->nlmsg_seq = 1;
    }
    ~Request() { sodium_memzero(buffer_.data(), buffer_.size()); } // there may be a key in it
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

    template<class T>
    T* body() {
        return static_cast<T*>(mnl_nlmsg_put_extra_header(header_, sizeof(T)));
    }
    nlmsghdr* header() { return header_; }
    template<class T>
    void put(std::uint16_t type, const T& value) {
        mnl_attr_put(header_, type, sizeof value, &value);
    }
    void put(std::uint16_t type, const void* data, std::size_t size) {
        mnl_attr_put(header_, type, size, data);
    }

  private:
    std::vector<std::uint8_t> buffer_;
    nlmsghdr* header_;
};

using Each = std::function<void(const nlmsghdr*)>;

int hand_over(const nlmsghdr* message, void* each) {
    const auto& f = *static_cast<const Each*>(each);
    if (f)
        f(message);
    return MNL_CB_OK;
}

// Sends it and waits for the answer, which the kernel gives at once. 0, or errno.
int transact(mnl_socket* socket, Request& request, const Each& each = {}) {
    if ((request.header()->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
        request.header()->nlmsg_flags |= NLM_F_ACK;
    if (mnl_socket_sendto(socket, request.header(), request.header()->nlmsg_len) < 0)
        return errno;
    std::vector<std::uint8_t> buffer(kBuffer);
    for (;;) {
        const ssize_t n = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
        if (n < 0)
            return errno;
        const int more =
            mnl_cb_run(buffer.data(), static_cast<std::size_t>(n), 1, mnl_socket_get_portid(socket),
                       hand_over, const_cast<void*>(static_cast<const void*>(&each)));
        sodium_memzero(buffer.data(), buffer.size()); // states come with their keys
        if (more < 0)
            return errno;
        if (more == MNL_CB_STOP)
            return 0;
    }
}

void put_address(xfrm_address_t& to, const Address& address) {
    static_assert(sizeof to == sizeof(net::AddressBytes));
    std::memcpy(&to, net::from_asio(address).bytes.data(), sizeof to);
}

std::uint16_t family(const Address& address) {
    return net::system_family(net::from_asio(address).family);
}

xfrm_selector selector(const Address& src, const Address& dst) {
    xfrm_selector sel{};
    put_address(sel.saddr, src);
    put_address(sel.daddr, dst);
    sel.family = family(src);
    sel.prefixlen_s = sel.prefixlen_d = src.is_v6() ? 128 : 32;
    sel.proto = net::kPfsync;
    return sel;
}

void no_limits(xfrm_lifetime_cfg& limits) {
    limits.soft_byte_limit = limits.hard_byte_limit = XFRM_INF;
    limits.soft_packet_limit = limits.hard_packet_limit = XFRM_INF;
}

const char* kernel_name(esp::Cipher cipher) {
    return cipher == esp::Cipher::chacha20poly1305 ? "rfc7539esp(chacha20,poly1305)"
                                                   : "rfc4106(gcm(aes))";
}

void put_key(Request& request, const esp::SaParams& params) {
    const std::size_t size = esp::key_size(params.cipher) + esp::kSaltSize;
    xfrm_algo_aead head{};
    const char* name = kernel_name(params.cipher);
    std::memcpy(head.alg_name, name, std::strlen(name));
    head.alg_key_len = static_cast<unsigned>(size * 8);
    head.alg_icv_len = esp::kIcvSize * 8;
    std::array<std::uint8_t, sizeof head + esp::kMaxKeymat> whole{};
    std::memcpy(whole.data(), &head, sizeof head);
    std::memcpy(whole.data() + sizeof head, params.keymat.data(), size);
    request.put(XFRMA_ALG_AEAD, whole.data(), sizeof head + size);
    sodium_memzero(whole.data(), whole.size());
}

void put_replay_window(Request& request, const esp::SaParams& params) {
    xfrm_replay_state_esn head{};
    head.replay_window = std::min<std::uint32_t>(params.replay_window, XFRMA_REPLAY_ESN_MAX);
    head.bmp_len = (head.replay_window + 31) / 32;
    std::vector<std::uint8_t> whole(sizeof head + head.bmp_len * sizeof(std::uint32_t)); // zeros
    std::memcpy(whole.data(), &head, sizeof head);
    request.put(XFRMA_REPLAY_ESN_VAL, whole.data(), whole.size());
}

bool is_inbound(const esp::SaParams& params) {
    return params.direction == esp::Direction::inbound;
}

const Address& source(const esp::SaParams& params, const XfrmPair& pair) {
    return is_inbound(params) ? pair.right : pair.left;
}
const Address& destination(const esp::SaParams& params, const XfrmPair& pair) {
    return is_inbound(params) ? pair.left : pair.right;
}

xfrm_usersa_id state_id(const esp::SaParams& params, const XfrmPair& pair) {
    xfrm_usersa_id id{};
    put_address(id.daddr, destination(params, pair));
    id.spi = htonl(params.spi);
    id.family = family(pair.left);
    id.proto = IPPROTO_ESP;
    return id;
}

using EachAttribute = std::function<void(const nlattr*)>;

int hand_attribute_over(const nlattr* attribute, void* each) {
    (*static_cast<const EachAttribute*>(each))(attribute);
    return MNL_CB_OK;
}

void for_each_attribute(const nlmsghdr* message, std::size_t body, EachAttribute each) {
    mnl_attr_parse(message, static_cast<unsigned>(body), hand_attribute_over, &each);
}

void for_each_nested(const nlattr* parent, EachAttribute each) {
    mnl_attr_parse_nested(parent, hand_attribute_over, &each);
}

std::uint32_t if_id_of(const nlmsghdr* message, std::size_t body) {
    std::uint32_t id = 0;
    for_each_attribute(message, body, [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == XFRMA_IF_ID)
            id = mnl_attr_get_u32(attribute);
    });
    return id;
}

std::uint32_t fnv1a(const std::string& text) {
    std::uint32_t hash = 2166136261;
    for (const char c : text)
        hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619;
    return hash;
}

Error failed(std::string_view what, int error) {
    return Error{fmt::format("kernel IPsec: {}: {}", what, std::strerror(error))};
}

} // namespace

std::uint32_t xfrm_if_id(const std::string& interface) {
    return 0xe5000000 | (fnv1a(interface) & 0xffffff);
}

std::uint32_t xfrm_reqid(const std::string& interface, const Address& right) {
    return 0xe5000000 | (fnv1a(interface + right.to_string()) & 0xffffff);
}

void Xfrm::Close::operator()(mnl_socket* socket) const {
    mnl_socket_close(socket);
}

Result<Xfrm::Socket> Xfrm::connect(int protocol) {
    Socket socket(mnl_socket_open2(protocol, SOCK_CLOEXEC));
    if (!socket && protocol == NETLINK_XFRM && errno == EPROTONOSUPPORT)
        return Error{"the kernel has no IPsec user interface (module xfrm_user)"};
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
        return failed("netlink", errno);
    return socket;
}

Xfrm::Xfrm(Socket xfrm, Socket route, std::string interface)
    : xfrm_(std::move(xfrm)), route_(std::move(route)), interface_(std::move(interface)),
      if_id_(xfrm_if_id(interface_)) {}

Result<void> Xfrm::probe(bool ipv6) {
    const std::string name = "encsync-probe";
    auto opened = open(name);
    if (!opened)
        return opened.error();
    if (auto made = opened->make_interface(1400); !made)
        return made;
    XfrmPair pair;
    pair.left = boost::asio::ip::make_address(ipv6 ? "::1" : "127.0.0.1");
    pair.right = boost::asio::ip::make_address(ipv6 ? "2001:db8::e5c" : "192.0.2.240");
    esp::SaParams params;
    do
        randombytes_buf(&params.spi, sizeof params.spi);
    while (params.spi < esp::kMinSpi);
    return opened->add_sa(params, pair); // removed again with `opened`
}

Result<Xfrm> Xfrm::open(const std::string& interface) {
    auto xfrm = connect(NETLINK_XFRM);
    if (!xfrm)
        return xfrm.error();
    auto route = connect(NETLINK_ROUTE);
    if (!route)
        return route.error();
    Xfrm made(std::move(*xfrm), std::move(*route), interface);
    if (auto stale = made.remove_stale_interface(); !stale) {
        made.xfrm_.reset(); // another owner must clean it up
        return stale.error();
    }
    if (auto flushed = made.flush(); !flushed)
        return flushed.error();
    return made;
}

Xfrm::~Xfrm() {
    if (!xfrm_)
        return;
    // Errors can no longer be reported; the states' time limits still apply.
    static_cast<void>(flush());
    static_cast<void>(remove_stale_interface());
}

// ---- the interface -------------------------------------------------------------------------

Result<void> Xfrm::remove_stale_interface() {
    const unsigned index = if_nametoindex(interface_.c_str());
    if (index == 0)
        return {};
    std::string kind;
    std::uint32_t if_id = 0;
    Request ask(RTM_GETLINK, 0);
    ask.body<ifinfomsg>()->ifi_index = static_cast<int>(index);
    const int error = transact(route_.get(), ask, [&](const nlmsghdr* message) {
        for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
            if (mnl_attr_get_type(attribute) != IFLA_LINKINFO)
                return;
            for_each_nested(attribute, [&](const nlattr* info) {
                if (mnl_attr_get_type(info) == IFLA_INFO_KIND)
                    kind = mnl_attr_get_str(info);
                // An interface of another kind has other numbers there.
                if (mnl_attr_get_type(info) != IFLA_INFO_DATA || kind != kKind)
                    return;
                for_each_nested(info, [&](const nlattr* data) {
                    if (mnl_attr_get_type(data) == IFLA_XFRM_IF_ID)
                        if_id = mnl_attr_get_u32(data);
                });
            });
        });
    });
    if (error == ENODEV)
        return {};
    if (error != 0)
        return failed("reading " + interface_, error);
    if (kind != kKind || if_id != if_id_)
        return Error{fmt::format("{}: there is an interface of this name already, and it is not "
                                 "encsync's (syncdev= names another)",
                                 interface_)};
    Request rule(RTM_DELRULE, 0);
    auto* body = rule.body<fib_rule_hdr>();
    body->family = AF_INET6;
    body->action = FR_ACT_TO_TBL;
    rule.put(FRA_OIFNAME, interface_.c_str(), interface_.size() + 1);
    transact(route_.get(), rule); // if there is one
    Request remove(RTM_DELLINK, 0);
    remove.body<ifinfomsg>()->ifi_index = static_cast<int>(index);
    if (const int gone = transact(route_.get(), remove); gone != 0 && gone != ENODEV)
        return failed("removing " + interface_, gone);
    return {};
}

Result<void> Xfrm::make_interface(std::uint16_t mtu) {
    Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    request.body<ifinfomsg>();
    nlmsghdr* header = request.header();
    request.put(IFLA_IFNAME, interface_.c_str(), interface_.size() + 1);
    request.put(IFLA_MTU, std::uint32_t{mtu});
    nlattr* info = mnl_attr_nest_start(header, IFLA_LINKINFO);
    mnl_attr_put_strz(header, IFLA_INFO_KIND, kKind);
    nlattr* data = mnl_attr_nest_start(header, IFLA_INFO_DATA);
    mnl_attr_put_u32(header, IFLA_XFRM_IF_ID, if_id_);
    mnl_attr_nest_end(header, data);
    mnl_attr_nest_end(header, info);
    const int error = transact(route_.get(), request);
    if (error == EOPNOTSUPP)
        return Error{"the kernel has no xfrm interfaces (CONFIG_XFRM_INTERFACE, module "
                     "xfrm_interface)"};
    if (error == EPERM)
        return Error{fmt::format("{}: not permitted to make an xfrm interface (it takes "
                                 "CAP_NET_ADMIN)",
                                 interface_)};
    if (error != 0)
        return failed("making " + interface_, error);
    return bring_up();
}

Result<void> Xfrm::bring_up() {
    const auto index = static_cast<int>(if_nametoindex(interface_.c_str()));
    // No link-local address, so the kernel sends nothing by itself. Without IPv6 there is none
    // anyway.
    Request quiet(RTM_SETLINK, 0);
    quiet.body<ifinfomsg>()->ifi_index = index;
    nlattr* families = mnl_attr_nest_start(quiet.header(), IFLA_AF_SPEC);
    nlattr* inet6 = mnl_attr_nest_start(quiet.header(), AF_INET6);
    mnl_attr_put_u8(quiet.header(), IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(quiet.header(), inet6);
    mnl_attr_nest_end(quiet.header(), families);
    transact(route_.get(), quiet);
    Request up(RTM_SETLINK, 0);
    auto* body = up.body<ifinfomsg>();
    body->ifi_index = index;
    body->ifi_flags = body->ifi_change = IFF_UP;
    const int error = transact(route_.get(), up);
    return error == 0 ? Result<void>() : failed("bringing up " + interface_, error);
}

// A socket bound to an interface needs no route with IPv4, but it does with IPv6. The table number
// is the if_id; only sockets bound to the interface use the table.
Result<void> Xfrm::add_route(const boost::asio::ip::address& right) {
    const auto index = static_cast<std::uint32_t>(if_nametoindex(interface_.c_str()));
    Request route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    auto* body = route.body<rtmsg>();
    body->rtm_family = AF_INET6;
    body->rtm_dst_len = 128;
    body->rtm_table = RT_TABLE_UNSPEC;
    body->rtm_protocol = RTPROT_STATIC;
    body->rtm_scope = RT_SCOPE_UNIVERSE;
    body->rtm_type = RTN_UNICAST;
    route.put(RTA_TABLE, if_id_);
    route.put(RTA_DST, right.to_v6().to_bytes());
    route.put(RTA_OIF, index);
    if (const int error = transact(route_.get(), route); error != 0)
        return failed("a route over " + interface_, error);
    Request rule(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    auto* what = rule.body<fib_rule_hdr>();
    what->family = AF_INET6;
    what->action = FR_ACT_TO_TBL;
    rule.put(FRA_TABLE, if_id_);
    rule.put(FRA_PRIORITY, std::uint32_t{240});
    rule.put(FRA_OIFNAME, interface_.c_str(), interface_.size() + 1);
    if (const int error = transact(route_.get(), rule); error != 0 && error != EEXIST)
        return failed("a routing rule for " + interface_, error);
    return {};
}

// ---- policies ------------------------------------------------------------------------------

int Xfrm::policy(const XfrmPair& pair, bool outbound, std::uint32_t spi) {
    const Address& src = outbound ? pair.left : pair.right;
    const Address& dst = outbound ? pair.right : pair.left;
    Request request(XFRM_MSG_UPDPOLICY, 0); // creates it if there is none
    auto* info = request.body<xfrm_userpolicy_info>();
    info->sel = selector(src, dst);
    no_limits(info->lft);
    info->priority = kPolicyPriority;
    info->dir = outbound ? XFRM_POLICY_OUT : XFRM_POLICY_IN;
    info->action = XFRM_POLICY_ALLOW;
    info->share = XFRM_SHARE_ANY;
    xfrm_user_tmpl tmpl{};
    put_address(tmpl.id.daddr, dst);
    put_address(tmpl.saddr, src);
    tmpl.id.proto = IPPROTO_ESP;
    tmpl.id.spi = htonl(spi);
    tmpl.family = family(src);
    tmpl.reqid = pair.reqid;
    tmpl.mode = XFRM_MODE_TUNNEL;
    tmpl.aalgos = tmpl.ealgos = tmpl.calgos = ~0U;
    request.put(XFRMA_TMPL, tmpl);
    request.put(XFRMA_IF_ID, if_id_);
    return transact(xfrm_.get(), request);
}

Result<void> Xfrm::admit(const XfrmPair& pair) {
    const int error = policy(pair, false, 0);
    return error == 0 ? Result<void>() : failed("the inbound policy", error);
}

Result<void> Xfrm::send_on(const XfrmPair& pair, std::uint32_t spi) {
    const int error = policy(pair, true, spi);
    return error == 0 ? Result<void>() : failed("the outbound policy", error);
}

// A request about an existing one. 0, or errno.
int Xfrm::ask_policy(std::uint16_t type, const XfrmPair& pair, bool outbound) const {
    Request request(type, 0);
    auto* id = request.body<xfrm_userpolicy_id>();
    id->sel = outbound ? selector(pair.left, pair.right) : selector(pair.right, pair.left);
    id->dir = outbound ? XFRM_POLICY_OUT : XFRM_POLICY_IN;
    request.put(XFRMA_IF_ID, if_id_);
    return transact(xfrm_.get(), request);
}

bool Xfrm::has_policy(const XfrmPair& pair, bool outbound) const {
    return ask_policy(XFRM_MSG_GETPOLICY, pair, outbound) != ENOENT;
}

void Xfrm::remove_policies(const XfrmPair& pair) {
    for (const bool outbound : {true, false})
        ask_policy(XFRM_MSG_DELPOLICY, pair, outbound);
}

// ---- states --------------------------------------------------------------------------------

int Xfrm::sa(std::uint16_t type, const esp::SaParams& params, const XfrmPair& pair,
             std::uint64_t lifetime) {
    Request request(type, 0);
    auto* info = request.body<xfrm_usersa_info>();
    const Address& src = source(params, pair);
    const Address& dst = destination(params, pair);
    info->sel.family = family(src);
    put_address(info->saddr, src);
    put_address(info->id.daddr, dst);
    info->id.spi = htonl(params.spi);
    info->id.proto = IPPROTO_ESP;
    info->family = family(src);
    info->mode = XFRM_MODE_TUNNEL;
    info->reqid = pair.reqid;
    info->flags = static_cast<std::uint8_t>(params.esn ? XFRM_STATE_ESN : 0);
    no_limits(info->lft);
    info->lft.hard_add_expires_seconds = lifetime;
    if (!is_inbound(params) && pair.lifepackets != 0)
        info->lft.hard_packet_limit = pair.lifepackets;
    put_key(request, params);
    put_replay_window(request, params);
    xfrm_encap_tmpl encap{};
    encap.encap_type = UDP_ENCAP_ESPINUDP;
    encap.encap_sport = encap.encap_dport = htons(pair.natport);
    request.put(XFRMA_ENCAP, encap);
    request.put(XFRMA_IF_ID, if_id_);
    return transact(xfrm_.get(), request);
}

Result<void> Xfrm::add_sa(const esp::SaParams& params, const XfrmPair& pair) {
    const int error =
        sa(XFRM_MSG_NEWSA, params, pair, static_cast<std::uint64_t>(kSaLease.count()));
    if (error == EPROTONOSUPPORT)
        return Error{fmt::format("the kernel has no ESP for IPv{0} (CONFIG_INET{1}_ESP, module "
                                 "esp{0})",
                                 pair.left.is_v6() ? 6 : 4, pair.left.is_v6() ? "6" : "")};
    if (error == ENOSYS || error == ENOENT)
        return Error{fmt::format("the kernel has no {}", kernel_name(params.cipher))};
    return error == 0 ? Result<void>() : failed("a state", error);
}

bool Xfrm::keep_sa(const esp::SaParams& params, const XfrmPair& pair, const XfrmState& now) {
    // The kernel counts from the time of creation, by wall-clock time.
    const auto wall =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                       std::chrono::system_clock::now().time_since_epoch())
                                       .count());
    const std::uint64_t age = wall > now.added ? wall - now.added : 0;
    return sa(XFRM_MSG_UPDSA, params, pair, age + static_cast<std::uint64_t>(kSaLease.count())) ==
           0;
}

std::optional<XfrmState> Xfrm::read_sa(const esp::SaParams& params, const XfrmPair& pair) const {
    Request request(XFRM_MSG_GETSA, 0);
    *request.body<xfrm_usersa_id>() = state_id(params, pair);
    std::optional<XfrmState> found;
    const int error = transact(xfrm_.get(), request, [&](const nlmsghdr* message) {
        if (mnl_nlmsg_get_payload_len(message) < sizeof(xfrm_usersa_info))
            return;
        const auto* info = static_cast<const xfrm_usersa_info*>(mnl_nlmsg_get_payload(message));
        found = XfrmState{info->curlft.packets, info->curlft.bytes,
                          std::uint64_t{info->stats.replay} + info->stats.replay_window,
                          info->stats.integrity_failed, info->curlft.add_time};
    });
    return error == 0 ? found : std::nullopt;
}

void Xfrm::remove_sa(const esp::SaParams& params, const XfrmPair& pair) {
    Request request(XFRM_MSG_DELSA, 0);
    *request.body<xfrm_usersa_id>() = state_id(params, pair);
    transact(xfrm_.get(), request);
}

// Everything with our if_id, and nothing else.
Result<void> Xfrm::flush() {
    std::vector<xfrm_usersa_id> states;
    Request list_states(XFRM_MSG_GETSA, NLM_F_DUMP);
    list_states.body<xfrm_usersa_id>();
    int error = transact(xfrm_.get(), list_states, [&](const nlmsghdr* message) {
        const auto* info = static_cast<const xfrm_usersa_info*>(mnl_nlmsg_get_payload(message));
        if (if_id_of(message, sizeof *info) != if_id_)
            return;
        xfrm_usersa_id id{};
        id.daddr = info->id.daddr;
        id.spi = info->id.spi;
        id.family = info->family;
        id.proto = info->id.proto;
        states.push_back(id);
    });
    if (error != 0)
        return failed("listing states", error);
    for (const xfrm_usersa_id& id : states) {
        Request remove(XFRM_MSG_DELSA, 0);
        *remove.body<xfrm_usersa_id>() = id;
        transact(xfrm_.get(), remove);
    }
    std::vector<xfrm_userpolicy_id> policies;
    Request list_policies(XFRM_MSG_GETPOLICY, NLM_F_DUMP);
    list_policies.body<xfrm_userpolicy_id>();
    error = transact(xfrm_.get(), list_policies, [&](const nlmsghdr* message) {
        const auto* info = static_cast<const xfrm_userpolicy_info*>(mnl_nlmsg_get_payload(message));
        if (if_id_of(message, sizeof *info) != if_id_)
            return;
        xfrm_userpolicy_id id{};
        id.sel = info->sel;
        id.index = info->index;
        id.dir = info->dir;
        policies.push_back(id);
    });
    if (error != 0)
        return failed("listing policies", error);
    for (const xfrm_userpolicy_id& id : policies) {
        Request remove(XFRM_MSG_DELPOLICY, 0);
        *remove.body<xfrm_userpolicy_id>() = id;
        remove.put(XFRMA_IF_ID, if_id_);
        transact(xfrm_.get(), remove);
    }
    return {};
}

} // namespace encsync::link
