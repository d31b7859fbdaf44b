// SPDX-License-Identifier: ISC
// lab_flood: opens new flows through a firewall, each with one real UDP packet.
//
//     lab_flood --interface DEV --gateway MAC --flows 200000 [--rate 1000] [--first 0]
//
// Sends whole Ethernet frames through a packet socket, so every flow can have a client address of
// its own and the sender costs little: the load shares its processors with what is measured.
// Prints one JSON object: first_ns, last_ns (CLOCK_REALTIME, as the kernel's conntrack timestamps
// are). The flows and their rate: load.hpp.
#include "load.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace {

using Mac = std::array<std::uint8_t, ETH_ALEN>;

constexpr std::uint64_t kBatch = 64;
constexpr std::size_t kPayload = 18; // fills the shortest Ethernet frame

struct [[gnu::packed]] Frame {
    ether_header ethernet;
    iphdr ip;
    udphdr udp;
    std::array<char, kPayload> payload;
};

struct Options {
    const char* interface = nullptr;
    bool has_gateway = false;
    Mac gateway{};
    encsync::bench::LoadOptions load;
};

bool parse_mac(std::string_view text, Mac& mac) {
    if (text.size() != mac.size() * 3 - 1)
        return false;
    for (std::size_t i = 0; i < mac.size(); ++i) {
        const char* from = text.data() + i * 3;
        const auto [end, error] = std::from_chars(from, from + 2, mac[i], 16);
        if (error != std::errc() || end != from + 2 || (i + 1 < mac.size() && *end != ':'))
            return false;
    }
    return true;
}

bool parse_options(int argc, char** argv, Options& options) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        bool good = true;
        if (name == "--interface")
            options.interface = argv[i + 1];
        else if (name == "--gateway")
            good = options.has_gateway = parse_mac(argv[i + 1], options.gateway);
        else
            good = options.load.take(name, argv[i + 1]);
        if (!good) {
            fmt::print(stderr, "lab_flood: {} {} is not understood\n", name, argv[i + 1]);
            return false;
        }
    }
    if (argc % 2 == 0 || options.interface == nullptr || !options.has_gateway ||
        !options.load.complete()) {
        fmt::print(stderr, "usage: lab_flood --interface DEV --gateway MAC --flows N "
                           "[--rate PER_SECOND] [--first N]\n");
        return false;
    }
    return true;
}

// A packet socket on the interface, and the interface's own address.
encsync::Fd open_interface(const char* interface, Mac& own) {
    encsync::Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, interface, IFNAMSIZ - 1);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = static_cast<int>(if_nametoindex(interface));
    const int bypass = 1;
    if (!socket || address.sll_ifindex == 0 || ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0 ||
        setsockopt(socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) != 0 ||
        bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        fmt::print(stderr, "lab_flood: cannot open {}: {}\n", interface, std::strerror(errno));
        return encsync::Fd();
    }
    std::memcpy(own.data(), request.ifr_hwaddr.sa_data, own.size());
    return socket;
}

std::uint16_t ip_checksum(const iphdr& header) {
    std::array<std::uint16_t, sizeof(iphdr) / 2> words{};
    std::memcpy(words.data(), &header, sizeof(header));
    std::uint32_t sum = 0;
    for (const std::uint16_t word : words)
        sum += word;
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return static_cast<std::uint16_t>(~sum);
}

class Flood {
  public:
    Flood(int socket, const Mac& own, const Mac& gateway) : socket_(socket) {
        for (std::size_t i = 0; i < kBatch; ++i) {
            Frame& frame = frames_[i];
            std::memcpy(frame.ethernet.ether_dhost, gateway.data(), gateway.size());
            std::memcpy(frame.ethernet.ether_shost, own.data(), own.size());
            frame.ethernet.ether_type = htons(ETHERTYPE_IP);
            frame.ip.version = 4;
            frame.ip.ihl = 5;
            frame.ip.ttl = 64;
            frame.ip.protocol = IPPROTO_UDP;
            frame.ip.tot_len = htons(sizeof(frame) - sizeof(frame.ethernet));
            // A UDP checksum of zero means none (RFC 768).
            frame.udp.len = htons(sizeof(frame.udp) + kPayload);
            parts_[i] = {&frame, sizeof(frame)};
            messages_[i].msg_hdr.msg_iov = &parts_[i];
            messages_[i].msg_hdr.msg_iovlen = 1;
        }
    }

    bool run(const encsync::bench::LoadOptions& load) {
        encsync::bench::Pacer pacer(load.rate);
        for (std::uint64_t sent = 0; sent < load.flows;) {
            const std::uint64_t count = pacer.due(std::min(kBatch, load.flows - sent));
            for (std::uint64_t i = 0; i < count; ++i)
                aim(frames_[i], encsync::bench::flow(load.first + sent + i));
            if (!send(count))
                return false;
            sent += count;
        }
        return true;
    }

  private:
    static void aim(Frame& frame, const encsync::bench::Flow& flow) {
        frame.ip.saddr = htonl(flow.client);
        frame.ip.daddr = htonl(flow.server);
        frame.udp.source = htons(flow.client_port);
        frame.udp.dest = htons(flow.server_port);
        frame.ip.check = 0;
        frame.ip.check = ip_checksum(frame.ip);
    }

    bool send(std::uint64_t count) {
        for (std::uint64_t done = 0; done < count;) {
            const int sent =
                sendmmsg(socket_, &messages_[done], static_cast<unsigned>(count - done), 0);
            if (sent > 0) {
                done += static_cast<std::uint64_t>(sent);
            } else if (errno != ENOBUFS && errno != EINTR) {
                fmt::print(stderr, "lab_flood: cannot send: {}\n", std::strerror(errno));
                return false;
            }
        }
        return true;
    }

    int socket_;
    std::array<Frame, kBatch> frames_{};
    std::array<iovec, kBatch> parts_{};
    std::array<mmsghdr, kBatch> messages_{};
};

} // namespace

int main(int argc, char** argv) {
    Options options;
    if (!parse_options(argc, argv, options))
        return 2;
    Mac own{};
    const encsync::Fd socket = open_interface(options.interface, own);
    if (!socket)
        return 1;
    Flood flood(socket.get(), own, options.gateway);
    const std::uint64_t first = encsync::bench::realtime_ns();
    if (!flood.run(options.load))
        return 1;
    fmt::print("{{\"first_ns\": {}, \"last_ns\": {}}}\n", first, encsync::bench::realtime_ns());
    return 0;
}
