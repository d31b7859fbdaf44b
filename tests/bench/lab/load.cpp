// SPDX-License-Identifier: ISC
#include "load.hpp"

#include <cerrno>
#include <charconv>
#include <ctime>

namespace encsync::bench {
namespace {

constexpr std::uint32_t kClients = 0x0a400000 + 16; // 10.64.0.16 and up
constexpr std::uint32_t kClientCount = 1U << 20;
constexpr std::uint32_t kServers = 0xc6120000 + 16; // 198.18.0.16 and up
constexpr std::uint32_t kServerCount = 251;
constexpr std::uint16_t kClientPort = 20000;
constexpr std::uint16_t kServerPort = 4433;

template<class Number>
bool parse(std::string_view text, Number& number) {
    const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
    return error == std::errc() && end == text.end();
}

double monotonic() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void sleep_until(double when) {
    timespec until{};
    until.tv_sec = static_cast<time_t>(when);
    until.tv_nsec = static_cast<long>((when - static_cast<double>(until.tv_sec)) * 1e9);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
}

} // namespace

Flow flow(std::uint64_t number) {
    Flow result;
    result.client = kClients + static_cast<std::uint32_t>(number % kClientCount);
    result.server = kServers + static_cast<std::uint32_t>(number % kServerCount);
    result.client_port = static_cast<std::uint16_t>(kClientPort + number / kClientCount);
    result.server_port = kServerPort;
    return result;
}

std::uint64_t flow_limit() {
    return std::uint64_t{kClientCount} * (65536 - kClientPort);
}

bool LoadOptions::take(std::string_view name, std::string_view value) {
    if (name == "--flows")
        return parse(value, flows) && flows <= flow_limit();
    if (name == "--first")
        return parse(value, first) && first <= flow_limit();
    return name == "--rate" && parse(value, rate) && rate >= 0;
}

std::uint64_t realtime_ns() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

Pacer::Pacer(double rate) : rate_(rate), next_(monotonic()), gap_(rate > 0 ? rate : 1.0) {}

std::uint64_t Pacer::due(std::uint64_t most) {
    if (rate_ <= 0)
        return most;
    sleep_until(next_);
    const double now = monotonic();
    std::uint64_t count = 0;
    for (; count < most && next_ <= now; ++count)
        next_ += gap_(random_);
    return count;
}

} // namespace encsync::bench
