// SPDX-License-Identifier: ISC
// lab_flood: opens new flows through a firewall, each with one real UDP packet.
//
//     lab_flood --interface DEV --gateway MAC --flows 200000 [--rate 1000] [--first 0]
//
// Every flow has a client address of its own. The load shares its processors with what is measured.
// Prints one JSON object: first_ns, last_ns (CLOCK_REALTIME, as the kernel's conntrack timestamps
// are). The flows and their rate: load.hpp.
#include "frames.hpp"
#include "load.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <netinet/udp.h>
#include <span>
#include <string_view>

namespace {

using namespace encsync::bench;

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
    LoadOptions load;
};

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

    bool run(const LoadOptions& load) {
        Pacer pacer(load.rate);
        for (std::uint64_t sent = 0; sent < load.flows;) {
            const std::uint64_t count = pacer.due(std::min(kBatch, load.flows - sent));
            for (std::uint64_t i = 0; i < count; ++i)
                aim(frames_[i], flow(load.first + sent + i));
            if (!send_all("lab_flood", socket_, std::span(messages_).first(count)))
                return false;
            sent += count;
        }
        return true;
    }

  private:
    static void aim(Frame& frame, const Flow& flow) {
        frame.ip.saddr = htonl(flow.client);
        frame.ip.daddr = htonl(flow.server);
        frame.udp.source = htons(flow.client_port);
        frame.udp.dest = htons(flow.server_port);
        frame.ip.check = 0;
        frame.ip.check = ip_checksum(frame.ip);
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
    const encsync::Fd socket = open_interface("lab_flood", options.interface, own);
    if (!socket)
        return 1;
    Flood flood(socket.get(), own, options.gateway);
    const std::uint64_t first = realtime_ns();
    if (!flood.run(options.load))
        return 1;
    fmt::print("{{\"first_ns\": {}, \"last_ns\": {}}}\n", first, realtime_ns());
    return 0;
}
