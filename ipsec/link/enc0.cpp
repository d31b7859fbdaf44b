// SPDX-License-Identifier: ISC
#include "ipsec/link/enc0.hpp"
#include "util/fd.hpp"
#include "util/log.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace encsync::link {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(500);
constexpr std::uint16_t kUnclaimedEtherType = 0x88b5;
constexpr unsigned kAllEtherTypes = 0x0003; // ETH_P_ALL
constexpr int kReadsPerTurn = 64;

// One rtnetlink request and its answer: 0 or an errno.
int ask(mnl_socket* socket, nlmsghdr* request) {
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request->nlmsg_seq = 1;
    if (mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
        return errno;
    std::array<char, 8192> answer;
    const ssize_t n = mnl_socket_recvfrom(socket, answer.data(), answer.size());
    if (n < 0)
        return errno;
    return mnl_cb_run(answer.data(), static_cast<std::size_t>(n), 1, mnl_socket_get_portid(socket),
                      nullptr, nullptr) < 0
               ? errno
               : 0;
}

// MTU, no IPv6 address (so that the kernel sends no router solicitations), up.
int configure(unsigned index, std::uint16_t mtu) {
    mnl_socket* socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (socket == nullptr)
        return errno;
    alignas(nlmsghdr) std::array<char, 1024> buffer{};
    const auto begin = [&] {
        nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
        request->nlmsg_type = RTM_NEWLINK;
        auto* info =
            static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)));
        info->ifi_index = static_cast<int>(index);
        return std::pair(request, info);
    };
    int error = mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ? errno : 0;
    if (error == 0) {
        auto [request, info] = begin();
        mnl_attr_put_u32(request, IFLA_MTU, mtu);
        error = ask(socket, request);
    }
    if (error == 0) {
        auto [request, info] = begin();
        nlattr* families = mnl_attr_nest_start(request, IFLA_AF_SPEC);
        nlattr* ipv6 = mnl_attr_nest_start(request, AF_INET6);
        mnl_attr_put_u8(request, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        mnl_attr_nest_end(request, ipv6);
        mnl_attr_nest_end(request, families);
        error = ask(socket, request);
        if (error == EAFNOSUPPORT || error == EOPNOTSUPP) // a kernel without IPv6, or an MTU
            error = 0;                                    // below 1280: nothing to switch off
    }
    if (error == 0) {
        auto [request, info] = begin();
        info->ifi_flags = info->ifi_change = IFF_UP;
        error = ask(socket, request);
    }
    mnl_socket_close(socket);
    return error;
}

// Makes the interface of a descriptor that has none. Returns its index.
Result<unsigned> make_interface(int fd, const std::string& name, std::uint16_t mtu) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    // With packet information (no IFF_NO_PI): it carries the EtherType. TUN_EXCL: fail if the
    // interface already exists.
    request.ifr_flags = static_cast<short>(IFF_TUN | IFF_TUN_EXCL);
    if (ioctl(fd, TUNSETIFF, &request) != 0) {
        const int error = errno;
        if (error == EBUSY)
            return Error{fmt::format("{}: an interface of this name is there already", name)};
        if (error == EPERM)
            return Error{
                fmt::format("{}: no permission to make a TUN device (CAP_NET_ADMIN)", name)};
        return Error{fmt::format("{}: making a TUN device: {}", name, std::strerror(error))};
    }
    const unsigned index = if_nametoindex(name.c_str());
    if (const int error = index == 0 ? errno : configure(index, mtu); error != 0)
        return Error{
            fmt::format("{}: setting it up with mtu {}: {}", name, mtu, std::strerror(error))};
    return index;
}

} // namespace

Result<std::unique_ptr<Enc0>> Enc0::open(boost::asio::io_context& io, const std::string& name,
                                         std::uint16_t mtu) {
    if (name.empty() || name.size() >= IFNAMSIZ)
        return Error{
            fmt::format("{}: no name for an interface (1 to {} characters)", name, IFNAMSIZ - 1)};
    Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!fd)
        return Error{
            fmt::format("{}: /dev/net/tun: {}{}", name, std::strerror(errno),
                        errno == ENOENT || errno == ENODEV ? " (is the tun module loaded?)" : "")};
    const auto index = make_interface(fd.get(), name, mtu);
    if (!index)
        return index.error();
    return std::unique_ptr<Enc0>(new Enc0(io, fd.release(), name, mtu, *index));
}

Enc0::Enc0(boost::asio::io_context& io, int fd, std::string name, std::uint16_t mtu, unsigned index)
    : tun_(io, fd), timer_(io), name_(std::move(name)), mtu_(mtu), index_(index) {
    read();
    look();
}

void Enc0::show(Bytes inner) {
    tun_pi info{};
    info.proto = to_big_endian(kUnclaimedEtherType);
    std::array<iovec, 2> parts{iovec{&info, sizeof info},
                               iovec{const_cast<std::uint8_t*>(inner.data()), inner.size()}};
    if (writev(tun_.native_handle(), parts.data(), static_cast<int>(parts.size())) < 0)
        stats_.not_shown++;
    else
        stats_.shown++;
}

void Enc0::read() {
    tun_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
                        if (error || alive.expired())
                            return;
                        std::array<char, 4> start; // TUN cuts off the rest
                        for (int i = 0; i < kReadsPerTurn; i++) {
                            if (::read(tun_.native_handle(), start.data(), start.size()) < 0)
                                break;
                            stats_.strangers++;
                        }
                        read();
                    });
}

void Enc0::look() {
    uphold();
    watched_ = is_watched();
    timer_.expires_after(kLookEvery);
    timer_.async_wait(
        [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
            if (!error && !alive.expired())
                look();
        });
}

// The descriptor outlives its interface, and can make another one without opening /dev/net/tun,
// which the sandbox forbids.
void Enc0::uphold() {
    ifreq request{};
    if (ioctl(tun_.native_handle(), TUNGETIFF, &request) == 0 || errno != EBADFD)
        return;
    const auto made = make_interface(tun_.native_handle(), name_, mtu_);
    if (made) {
        index_ = *made;
        log::warning("{} is gone; it is made again", name_);
    } else if (!failure_logged_) {
        log::error("{} is gone and cannot be made again: {}", name_, made.error().text);
    }
    failure_logged_ = !made;
}

// Copies cost two microseconds each, so they are made only while a program captures: that is, while
// there is a packet socket (packet(7)) for all EtherTypes, bound to this interface or to all. The
// kernel lists them in /proc/net/packet: socket, references, type, EtherType, interface index (0:
// all), running, ...
bool Enc0::is_watched() const {
    std::FILE* list = std::fopen("/proc/thread-self/net/packet", "re");
    if (list == nullptr)
        return false;
    bool found = false;
    std::array<char, 256> line;
    while (!found && std::fgets(line.data(), line.size(), list) != nullptr) {
        unsigned ether_type = 0, index = 0, running = 0;
        if (std::sscanf(line.data(), "%*s %*u %*u %x %u %u", &ether_type, &index, &running) == 3)
            found = running == 1 && ether_type == kAllEtherTypes && (index == 0 || index == index_);
    }
    std::fclose(list);
    return found;
}

} // namespace encsync::link
