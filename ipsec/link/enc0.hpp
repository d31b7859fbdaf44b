// SPDX-License-Identifier: ISC
// The interface enc0: shows the clear packets of the tunnel to tcpdump, in and out.
//
//     auto enc0 = Enc0::open(io, "enc0", 1418);
//     if ((*enc0)->watched())
//         (*enc0)->show(inner);       // tcpdump -n -i enc0 ip proto 240
//
// It is a TUN device (kernel, Documentation/networking/tuntap.rst) that lives as long as this
// object. If somebody deletes it, it is made again within a second. It is for capturing only:
// packets written into it from either side are not forwarded. The kernel gets the copies under an
// EtherType that no protocol has registered (0x88b5, IEEE 802 local experimental): packet sockets
// see them, then the kernel drops them, before IP input and regardless of any ruleset. (Were they
// IP, a firewall without our ruleset would answer the unknown protocol 240 with an ICMP error that
// quotes the packet, in the clear, to the peer.) What other programs send through it is counted and
// dropped.
#pragma once

#include "util/bytes.hpp"
#include "util/result.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <string>

namespace encsync::link {

struct Enc0Stats {
    std::uint64_t shown = 0;
    std::uint64_t not_shown = 0; // the kernel refused the copy
    std::uint64_t strangers = 0; // packets that other programs sent into it
};

class Enc0 {
  public:
    // The error names what is missing: the TUN driver, a privilege, a free name.
    static Result<std::unique_ptr<Enc0>> open(boost::asio::io_context& io, const std::string& name,
                                              std::uint16_t mtu);

    // Whether a packet socket listens there. Checked every half second.
    bool watched() const { return watched_; }
    void show(Bytes inner);

    const Enc0Stats& stats() const { return stats_; }
    unsigned index() const { return index_; }

  private:
    Enc0(boost::asio::io_context& io, int fd, std::string name, std::uint16_t mtu, unsigned index);
    void read();
    void look();
    void uphold();
    bool is_watched() const;

    boost::asio::posix::stream_descriptor tun_;
    boost::asio::steady_timer timer_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
    const std::string name_;
    const std::uint16_t mtu_;
    unsigned index_;
    bool watched_ = false;
    bool failure_logged_ = false; // of making it again
    Enc0Stats stats_;
};

} // namespace encsync::link
