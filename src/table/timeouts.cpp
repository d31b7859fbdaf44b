// SPDX-License-Identifier: ISC
#include "table/timeouts.hpp"

#include "table/progress.hpp"
#include "table/table.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <netinet/in.h>

namespace encsync::table {

namespace {

struct File {
    const char* name; // between "nf_conntrack_" and the end
    std::uint32_t fallback;
};

// TCP, SCTP and DCCP: in the order of conntrack's states.
constexpr std::size_t kTcp = 0, kSctp = kTcp + 10, kDccp = kSctp + 9, kUdp = kDccp + 8,
                      kUdpStream = kUdp + 1, kIcmp = kUdpStream + 1, kIcmp6 = kIcmp + 1,
                      kGre = kIcmp6 + 1, kGreStream = kGre + 1, kGeneric = kGreStream + 1;
static_assert(kGeneric + 1 == Timeouts::kFiles);
constexpr std::array<File, Timeouts::kFiles> kNames{{
    {"tcp_timeout_syn_sent", 120}, // NONE lives as long as SYN_SENT
    {"tcp_timeout_syn_sent", 120},
    {"tcp_timeout_syn_recv", 60},
    {"tcp_timeout_established", 432000},
    {"tcp_timeout_fin_wait", 120},
    {"tcp_timeout_close_wait", 60},
    {"tcp_timeout_last_ack", 30},
    {"tcp_timeout_time_wait", 120},
    {"tcp_timeout_close", 10},
    {"tcp_timeout_syn_sent2", 120},
    {"sctp_timeout_closed", 10}, // NONE
    {"sctp_timeout_closed", 10},
    {"sctp_timeout_cookie_wait", 3},
    {"sctp_timeout_cookie_echoed", 3},
    {"sctp_timeout_established", 210},
    {"sctp_timeout_shutdown_sent", 3},
    {"sctp_timeout_shutdown_recd", 3},
    {"sctp_timeout_shutdown_ack_sent", 3},
    {"sctp_timeout_heartbeat_sent", 30},
    {"dccp_timeout_request", 240}, // NONE
    {"dccp_timeout_request", 240},
    {"dccp_timeout_respond", 480},
    {"dccp_timeout_partopen", 480},
    {"dccp_timeout_open", 43200},
    {"dccp_timeout_closereq", 64},
    {"dccp_timeout_closing", 64},
    {"dccp_timeout_timewait", 240},
    {"udp_timeout", 30},
    {"udp_timeout_stream", 120},
    {"icmp_timeout", 30},
    {"icmpv6_timeout", 30},
    {"gre_timeout", 30},
    {"gre_timeout_stream", 180},
    {"generic_timeout", 600},
}};

// Reads the number in the file; false on failure.
bool read_number(const std::string& path, std::uint32_t& out) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, 32> text{};
    const ssize_t n = fd ? ::read(fd.get(), text.data(), text.size()) : -1;
    return n > 0 && std::from_chars(text.data(), text.data() + n, out).ec == std::errc{};
}

} // namespace

Timeouts::Timeouts(std::string directory) : directory_(std::move(directory)) {
    reload();
}

void Timeouts::reload() {
    for (std::size_t i = 0; i < kFiles; i++) {
        const bool there = read_number(directory_ + "/nf_conntrack_" + kNames[i].name, seconds_[i]);
        if (!there)
            seconds_[i] = kNames[i].fallback;
        if (i == kDccp)
            follows_dccp_ = there;
    }
}

std::uint32_t Timeouts::natural(const state::Flow& flow) const {
    const Progress progress{flow.src_state, flow.dst_state};
    const std::uint8_t flags = implied_flags(flow);
    switch (flow.key.proto) {
    case IPPROTO_TCP:
        return seconds_[kTcp + tcp_conntrack(progress)];
    case IPPROTO_SCTP:
        return seconds_[kSctp + sctp_conntrack(progress)];
    case IPPROTO_DCCP:
        return seconds_[follows_dccp_ ? kDccp + dccp_conntrack(progress) : kGeneric];
    case IPPROTO_UDP:
    case IPPROTO_UDPLITE:
        return seconds_[(flags & state::kAssured) != 0 ? kUdpStream : kUdp];
    case IPPROTO_ICMP:
        return seconds_[kIcmp];
    case IPPROTO_ICMPV6:
        return seconds_[kIcmp6];
    case IPPROTO_GRE:
        return seconds_[(flags & state::kSeenReply) != 0 ? kGreStream : kGre];
    default:
        return seconds_[kGeneric];
    }
}

std::uint32_t Timeouts::longest(const state::Flow& flow) const {
    const bool udp = flow.key.proto == IPPROTO_UDP || flow.key.proto == IPPROTO_UDPLITE;
    const std::uint32_t usual = natural(flow);
    return udp ? std::max(usual, seconds_[kUdpStream]) : usual;
}

bool Timeouts::is_untouched(const state::Flow& flow) const {
    // Two seconds: the kernel counts in ticks and reports whole seconds.
    const std::uint32_t usual = longest(flow) + 2;
    return flow.timeout > usual && flow.timeout - usual <= kCopyExtra;
}

} // namespace encsync::table
