// SPDX-License-Identifier: ISC
// load: which flows a load has and when each is due; shared by lab_flood and lab_entries.
//
//     Pacer pacer(options.rate);
//     for (uint64_t sent = 0; sent < options.flows;)
//         for (uint64_t n = pacer.due(most); n > 0; --n) make(flow(options.first + sent++));
//
// Flow i goes from a client in 10.64.0.0/10 to a server in 198.18.0.0/15 (the benchmark network of
// RFC 2544) over UDP; no two flows are equal.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string_view>

namespace encsync::bench {

struct Flow {
    std::uint32_t client = 0; // addresses and ports in host byte order
    std::uint32_t server = 0;
    std::uint16_t client_port = 0;
    std::uint16_t server_port = 0;
};

Flow flow(std::uint64_t number);

// The number of flows; larger numbers are no flows.
std::uint64_t flow_limit();

struct LoadOptions {
    std::uint64_t flows = 0;
    std::uint64_t first = 0;
    double rate = 0; // flows a second; 0: as fast as possible

    // Takes one option of the command line, if it is one of --flows, --first, --rate with a valid
    // value.
    bool take(std::string_view name, std::string_view value);
    bool complete() const { return flows > 0 && first + flows <= flow_limit(); }
};

std::uint64_t realtime_ns();

// The gaps between flows are random (Poisson, fixed seed), like new connections of many clients: a
// constant pace could be in phase with a timer of the system under test.
class Pacer {
  public:
    explicit Pacer(double rate);

    // Waits until a flow is due and returns how many are, `most` at the most.
    std::uint64_t due(std::uint64_t most);

  private:
    double rate_;
    double next_; // seconds, CLOCK_MONOTONIC
    std::mt19937_64 random_{1};
    std::exponential_distribution<double> gap_;
};

} // namespace encsync::bench
