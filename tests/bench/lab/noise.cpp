// SPDX-License-Identifier: ISC
// lab_noise: what a host on the sync network can send to a firewall, as fast as it can, until it is
// told to end (SIGTERM).
//
//     lab_noise --interface DEV --to MAC --victim ADDRESS --peer ADDRESS --spi HEX [--kind NAME]
//
// All in the peer's name; of one kind, or of all in turns: ESP of unknown SAs, in UDP and bare; ESP
// with the SPI and a near number of an SA that is there, which it takes its key to refuse; what is
// too short; IKE that is none; and protocol 240 in clear. --to is where the frames go: the
// firewall, or a host that throws them away, to measure what sending costs. Prints one JSON object:
// sent, seconds.
#include "frames.hpp"
#include "load.hpp"
#include "util/bytes.hpp"

#include <arpa/inet.h>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <netinet/udp.h>
#include <string_view>
#include <vector>

namespace {

using namespace encsync;
using namespace encsync::bench;
using Buffer = std::vector<std::uint8_t>;

constexpr std::uint16_t kIke = 500, kIkeNatT = 4500;
constexpr std::uint8_t kPfsync = 240;
constexpr std::size_t kOfEach = 32; // in a row
constexpr std::size_t kText = 120;

volatile std::sig_atomic_t ended = 0;

struct Options {
    const char* interface = nullptr;
    Mac to{};
    in_addr victim{}, peer{};
    std::uint32_t spi = 0;
    unsigned given = 0;
    std::string_view kind; // empty: all
};

bool parse_options(int argc, char** argv, Options& options) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i], value = argv[i + 1];
        bool good = false;
        if (name == "--kind") {
            options.kind = value;
            continue;
        }
        if (name == "--interface") {
            options.interface = argv[i + 1];
            good = true;
        } else if (name == "--to") {
            good = parse_mac(value, options.to);
        } else if (name == "--victim") {
            good = inet_pton(AF_INET, argv[i + 1], &options.victim) == 1;
        } else if (name == "--peer") {
            good = inet_pton(AF_INET, argv[i + 1], &options.peer) == 1;
        } else if (name == "--spi") {
            const auto [end, error] =
                std::from_chars(value.data(), value.data() + value.size(), options.spi, 16);
            good = error == std::errc() && end == value.data() + value.size();
        }
        if (!good) {
            fmt::print(stderr, "lab_noise: {} {} is not understood\n", name, value);
            return false;
        }
        options.given++;
    }
    if (argc % 2 == 0 || options.given != 5 || options.interface == nullptr) {
        fmt::print(stderr, "usage: lab_noise --interface DEV --to MAC --victim ADDRESS --peer "
                           "ADDRESS --spi HEX [--kind NAME]\n");
        return false;
    }
    return true;
}

class Kinds {
  public:
    Kinds(const Options& options, const Mac& own) : options_(options), own_(own) {
        const Buffer text(kText, 0x5a), unknown{0xde, 0xad, 0xbe, 0xef};
        Buffer known(8); // SPI and sequence number
        store_be(known.data(), options.spi);
        store_be(&known[4], std::uint32_t{0x007f0000});
        add("unknown_spi", IPPROTO_UDP, udp(kIkeNatT, join(unknown, text)));
        add("bare_esp", IPPROTO_ESP, join(unknown, text));
        add("forged_esp", IPPROTO_UDP, udp(kIkeNatT, join(known, text)));
        add("short", IPPROTO_UDP, udp(kIkeNatT, {1, 2, 3}));
        add("ike_nat", IPPROTO_UDP, udp(kIkeNatT, join(Buffer(4), text))); // after its mark
        add("ike", IPPROTO_UDP, udp(kIke, text));
        add("pfsync", kPfsync, text);
    }
    std::vector<Buffer>& frames() { return frames_; }

  private:
    static Buffer join(Buffer first, const Buffer& second) {
        first.insert(first.end(), second.begin(), second.end());
        return first;
    }
    static Buffer udp(std::uint16_t port, const Buffer& body) {
        udphdr header{};
        header.source = header.dest = htons(port);
        header.len = htons(static_cast<std::uint16_t>(sizeof(header) + body.size()));
        Buffer payload(sizeof(header));
        std::memcpy(payload.data(), &header, sizeof(header));
        return join(std::move(payload), body);
    }
    void add(std::string_view kind, std::uint8_t protocol, const Buffer& payload) {
        if (!options_.kind.empty() && options_.kind != kind)
            return;
        ether_header ethernet{};
        std::memcpy(ethernet.ether_dhost, options_.to.data(), options_.to.size());
        std::memcpy(ethernet.ether_shost, own_.data(), own_.size());
        ethernet.ether_type = htons(ETHERTYPE_IP);
        iphdr header{};
        header.version = 4;
        header.ihl = 5;
        header.ttl = 255;
        header.protocol = protocol;
        header.tot_len = htons(static_cast<std::uint16_t>(sizeof(header) + payload.size()));
        header.saddr = options_.peer.s_addr;
        header.daddr = options_.victim.s_addr;
        header.check = ip_checksum(header);
        Buffer frame(sizeof(ethernet) + sizeof(header));
        std::memcpy(frame.data(), &ethernet, sizeof(ethernet));
        std::memcpy(&frame[sizeof(ethernet)], &header, sizeof(header));
        frames_.push_back(join(std::move(frame), payload));
    }

    const Options& options_;
    const Mac& own_;
    std::vector<Buffer> frames_;
};

} // namespace

int main(int argc, char** argv) {
    Options options;
    if (!parse_options(argc, argv, options))
        return 2;
    Mac own{};
    const Fd socket = open_interface("lab_noise", options.interface, own);
    if (!socket)
        return 1;
    struct sigaction action {};
    action.sa_handler = [](int) { ended = 1; };
    sigaction(SIGTERM, &action, nullptr);

    Kinds kinds(options, own);
    if (kinds.frames().empty()) {
        fmt::print(stderr, "lab_noise: there is no kind '{}'\n", options.kind);
        return 2;
    }
    std::vector<iovec> parts;
    for (Buffer& frame : kinds.frames())
        parts.insert(parts.end(), kOfEach, {frame.data(), frame.size()});
    std::vector<mmsghdr> messages(parts.size());
    for (std::size_t i = 0; i < parts.size(); i++) {
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    const std::uint64_t began = realtime_ns();
    std::uint64_t sent = 0;
    for (; ended == 0; sent += messages.size())
        if (!send_all("lab_noise", socket.get(), messages))
            return 1;
    fmt::print("{{\"sent\": {}, \"seconds\": {:.3f}}}\n", sent,
               static_cast<double>(realtime_ns() - began) * 1e-9);
    return 0;
}
