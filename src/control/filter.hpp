// SPDX-License-Identifier: ISC
// Which flows `encsync states FILTER` shows.
//
//     auto filter = control::Filter::parse("tcp port 443 not 10.0.0.0/8");
//     if (filter && filter->matches(flow, owner)) ...
//
// Words, all of which must match; `not` negates the next one. Each is one of:
//     tcp udp icmp icmp6 sctp gre, proto N    the protocol
//     inet inet6                              the family
//     ADDRESS, PREFIX/LENGTH                  either end, in either direction, so also after NAT
//     src ADDRESS, dst ADDRESS                that end of the original direction
//     port N, port N-M                        either end, either direction
//     sport N, dport N                        that end of the original direction
//     state WORD                              either side's progress (state_words)
//     nat snat dnat, assured unreplied        conntrack's view
//     zone N, mark N, id HEX, creatorid HEX
//     own, copy, owner NAME                   whether it is live here, or whose it is
// Case matters in names only. Ports are those of TCP, UDP, UDP-Lite, SCTP and DCCP; flows of other
// protocols never match one.
#pragma once

#include "state/flow.hpp"
#include "util/result.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace encsync::control {

class Filter {
  public:
    static constexpr std::size_t kMaxWords = 64;

    // An empty filter matches all. The error names the word.
    static Result<Filter> parse(std::string_view text);

    // `owner`: the peer whose flow this copy is; empty for a flow that is live here.
    bool matches(const state::Flow& flow, std::string_view owner = {}) const;

  private:
    using Term = std::function<bool(const state::Flow&, std::string_view owner)>;
    friend class FilterParser;
    std::vector<Term> terms_;
};

// "established", "syn_sent", ...: the words for how far each side of the flow has come, by
// protocol; the number where there is no word. time_wait and close are conntrack's.
std::pair<std::string, std::string> state_words(const state::Flow& flow);

} // namespace encsync::control
