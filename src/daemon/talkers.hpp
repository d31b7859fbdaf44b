// SPDX-License-Identifier: ISC
// Which hosts or services have the most states.
//
//     Talkers talkers(TalkersBy::source);
//     for each flow: talkers.add(key);
//     for (const auto& [name, states] : talkers.top(20)) ...
//
// In a fixed amount of memory, however many there are (Misra and Gries, "Finding repeated
// elements"): if all places are taken, another name takes one from each count. So a count may be
// too low, by at most a kPlaces-th of all flows, and who has more than that is never missing.
#pragma once

#include "state/flow.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace encsync::daemon {

enum class TalkersBy : std::uint8_t { source, destination, service };

class Talkers {
  public:
    static constexpr std::size_t kPlaces = 4096;

    explicit Talkers(TalkersBy by) : by_(by) {}
    void add(const state::Key& key);
    // Those with the most states first: "10.0.0.2", "2001:db8::1", "tcp 443", "icmp".
    std::vector<std::pair<std::string, std::uint64_t>> top(std::size_t most) const;

  private:
    struct Who {
        state::Address address{}; // of a host
        state::Family family{};
        std::uint8_t proto = 0; // of a service
        std::uint16_t port = 0;
        auto operator<=>(const Who&) const = default;
    };
    Who who(const state::Key& key) const;
    std::string name(const Who& who) const;

    TalkersBy by_;
    std::map<Who, std::uint64_t> counts_; // ordered: no one can choose names that collide
};

} // namespace encsync::daemon
