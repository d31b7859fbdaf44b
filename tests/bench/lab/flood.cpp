// lab_flood: opens new flows through a firewall, each with one real UDP packet.
//
//     lab_flood --interface DEV --gateway MAC --flows 200000 [--rate 1000] [--first 0]
//
// Whole Ethernet frames go out through a packet socket, so every flow can have a client address of
// its own and the sender costs little: the load shares its processors with what is measured.
// Without --rate the flows are sent as fast as possible. With it, the gaps between flows are
// random (Poisson, fixed seed), as new connections of many clients are; an even pace could fall
// in step with a timer of the system under test.
//
// Flow i (from --first on) goes from a client in 10.64.0.0/10 to a server in 198.18.0.0/15 (the
// benchmark network of RFC 2544). Prints one JSON object: flows, first_ns, last_ns (CLOCK_REALTIME,
// as the kernel's conntrack timestamps are).
#include "util/fd.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fmt/format.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <random>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace {

constexpr std::uint32_t kClients = 0x0a400000 + 16; // 10.64.0.16 and up
constexpr std::uint32_t kClientCount = 1U << 20;
constexpr std::uint32_t kServers = 0xc6120000 + 16; // 198.18.0.16 and up
constexpr std::uint32_t kServerCount = 251;
constexpr std::uint16_t kClientPort = 20000;
constexpr std::uint16_t kServerPort = 4433;
constexpr std::size_t kBatch = 64;
constexpr std::size_t kPayload = 18; // fills the shortest Ethernet frame

struct [[gnu::packed]] Frame {
    ether_header ethernet;
    iphdr ip;
    udphdr udp;
    std::array<char, kPayload> payload;
};

struct Options {
    const char* interface = nullptr;
    std::array<std::uint8_t, ETH_ALEN> gateway{};
    std::uint64_t flows = 0;
    std::uint64_t first = 0;
    double rate = 0; // flows a second; 0: as fast as possible
};

bool parse_mac(std::string_view text, std::array<std::uint8_t, ETH_ALEN>& mac) {
    if (text.size() != ETH_ALEN * 3 - 1)
        return false;
    for (std::size_t i = 0; i < ETH_ALEN; ++i) {
        const char* from = text.data() + i * 3;
        const auto [end, error] = std::from_chars(from, from + 2, mac[i], 16);
        if (error != std::errc() || end != from + 2)
            return false;
        if (i + 1 < ETH_ALEN && *end != ':')
            return false;
    }
    return true;
}

template<class Number>
bool parse_number(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
    return error == std::errc() && end == text.end();
}

bool parse_options(int argc, char** argv, Options& options) {
    bool gateway = false;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        const std::string_view value = argv[i + 1];
        bool good = true;
        if (name == "--interface")
            options.interface = argv[i + 1];
        else if (name == "--gateway")
            good = gateway = parse_mac(value, options.gateway);
        else if (name == "--flows")
            good = parse_number(value, options.flows);
        else if (name == "--first")
            good = parse_number(value, options.first);
        else if (name == "--rate")
            good = parse_number(value, options.rate) && options.rate >= 0;
        else
            good = false;
        if (!good) {
            fmt::print(stderr, "lab_flood: {} {} is not understood\n", name, value);
            return false;
        }
    }
    const std::uint64_t end = options.first + options.flows;
    const std::uint64_t most = std::uint64_t{kClientCount} * (65536 - kClientPort);
    if (argc % 2 == 0 || options.interface == nullptr || !gateway || options.flows == 0 ||
        end > most) {
        fmt::print(stderr, "usage: lab_flood --interface DEV --gateway MAC --flows N "
                           "[--rate PER_SECOND] [--first N]\n");
        return false;
    }
    return true;
}

std::uint64_t now_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

void sleep_until_ns(std::uint64_t when) {
    timespec until{};
    until.tv_sec = static_cast<time_t>(when / 1'000'000'000);
    until.tv_nsec = static_cast<long>(when % 1'000'000'000);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
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
    Flood(encsync::Fd socket, const Options& options, const std::array<std::uint8_t, ETH_ALEN>& own)
        : socket_(std::move(socket)), options_(options) {
        for (std::size_t i = 0; i < kBatch; ++i) {
            Frame& frame = frames_[i];
            std::memset(&frame, 0, sizeof(frame));
            std::memcpy(frame.ethernet.ether_dhost, options.gateway.data(), ETH_ALEN);
            std::memcpy(frame.ethernet.ether_shost, own.data(), ETH_ALEN);
            frame.ethernet.ether_type = htons(ETHERTYPE_IP);
            frame.ip.version = 4;
            frame.ip.ihl = 5;
            frame.ip.ttl = 64;
            frame.ip.protocol = IPPROTO_UDP;
            frame.ip.tot_len = htons(sizeof(frame) - sizeof(frame.ethernet));
            frame.udp.dest = htons(kServerPort);
            // A UDP checksum of zero means none (RFC 768).
            frame.udp.len = htons(sizeof(frame.udp) + kPayload);
            parts_[i] = {&frame, sizeof(frame)};
            messages_[i].msg_hdr.msg_iov = &parts_[i];
            messages_[i].msg_hdr.msg_iovlen = 1;
        }
    }

    bool run() {
        std::mt19937_64 random(1);
        std::exponential_distribution<double> gap(options_.rate > 0 ? options_.rate : 1.0);
        double due = static_cast<double>(now_ns(CLOCK_MONOTONIC)) * 1e-9;
        std::uint64_t sent = 0;
        while (sent < options_.flows) {
            std::size_t ready = 0;
            if (options_.rate <= 0) {
                ready = std::min<std::uint64_t>(kBatch, options_.flows - sent);
            } else {
                sleep_until_ns(static_cast<std::uint64_t>(due * 1e9));
                const double now = static_cast<double>(now_ns(CLOCK_MONOTONIC)) * 1e-9;
                for (; ready < kBatch && sent + ready < options_.flows && due <= now; ++ready)
                    due += gap(random);
            }
            for (std::size_t i = 0; i < ready; ++i)
                aim(frames_[i], options_.first + sent + i);
            if (!send(ready))
                return false;
            sent += ready;
        }
        return true;
    }

  private:
    static void aim(Frame& frame, std::uint64_t flow) {
        frame.ip.saddr = htonl(kClients + static_cast<std::uint32_t>(flow % kClientCount));
        frame.ip.daddr = htonl(kServers + static_cast<std::uint32_t>(flow % kServerCount));
        frame.udp.source = htons(static_cast<std::uint16_t>(kClientPort + flow / kClientCount));
        frame.ip.check = 0;
        frame.ip.check = ip_checksum(frame.ip);
    }

    bool send(std::size_t count) {
        for (std::size_t done = 0; done < count;) {
            const int sent =
                sendmmsg(socket_.get(), &messages_[done], static_cast<unsigned>(count - done), 0);
            if (sent > 0) {
                done += static_cast<std::size_t>(sent);
            } else if (errno != ENOBUFS && errno != EINTR) {
                fmt::print(stderr, "lab_flood: cannot send: {}\n", std::strerror(errno));
                return false;
            }
        }
        return true;
    }

    encsync::Fd socket_;
    const Options& options_;
    std::array<Frame, kBatch> frames_{};
    std::array<iovec, kBatch> parts_{};
    std::array<mmsghdr, kBatch> messages_{};
};

} // namespace

int main(int argc, char** argv) {
    Options options;
    if (!parse_options(argc, argv, options))
        return 2;

    encsync::Fd socket(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::strncpy(request.ifr_name, options.interface, IFNAMSIZ - 1);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_ifindex = static_cast<int>(if_nametoindex(options.interface));
    const int bypass = 1;
    if (!socket || address.sll_ifindex == 0 || ioctl(socket.get(), SIOCGIFHWADDR, &request) != 0 ||
        setsockopt(socket.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) != 0 ||
        bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        fmt::print(stderr, "lab_flood: cannot open {}: {}\n", options.interface,
                   std::strerror(errno));
        return 1;
    }
    std::array<std::uint8_t, ETH_ALEN> own{};
    std::memcpy(own.data(), request.ifr_hwaddr.sa_data, own.size());

    Flood flood(std::move(socket), options, own);
    const std::uint64_t first = now_ns(CLOCK_REALTIME);
    if (!flood.run())
        return 1;
    fmt::print("{{\"flows\": {}, \"first_ns\": {}, \"last_ns\": {}}}\n", options.flows, first,
               now_ns(CLOCK_REALTIME));
    return 0;
}
