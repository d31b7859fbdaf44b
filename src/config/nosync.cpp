// SPDX-License-Identifier: ISC
// The value of nosync: rules separated by commas, each with conditions joined by "and".
#include "config/text.hpp"
#include "config/values.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace encsync::config {

using state::MarkMatch;
using state::NoSyncRule;

namespace {

constexpr std::size_t kMaxRules = 64; // every event is checked against each of them

constexpr std::array<std::string_view, 7> kConditions = {"mark",  "src",  "dst", "net",
                                                         "proto", "port", "zone"};
constexpr std::array kProtocols = {
    Word{"tcp", IPPROTO_TCP},         Word{"udp", IPPROTO_UDP},   Word{"icmp", IPPROTO_ICMP},
    Word{"icmp6", IPPROTO_ICMPV6},    Word{"sctp", IPPROTO_SCTP}, Word{"dccp", IPPROTO_DCCP},
    Word{"udplite", IPPROTO_UDPLITE}, Word{"gre", IPPROTO_GRE},
};

Verdict moved(Verdict problem, std::size_t by) {
    if (problem)
        problem->offset += by;
    return problem;
}

// 16 or 0x10, without other characters, at most 32 bits.
bool read_bits(std::string_view text, std::uint32_t& out) {
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    if (hex)
        text.remove_prefix(2);
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), out, hex ? 16 : 10);
    return !text.empty() && error == std::errc{} && end == text.data() + text.size();
}

Verdict read_mark(std::string_view text, MarkMatch& out) {
    const std::size_t slash = text.find('/');
    MarkMatch mark;
    if (!read_bits(text.substr(0, slash), mark.value))
        return Problem{fmt::format("'{}' is no mark", text.substr(0, slash)), 0,
                       "write 0x10/0xf0, or a number of 32 bits"};
    if (slash != std::string_view::npos) {
        const std::string_view mask = text.substr(slash + 1);
        if (!read_bits(mask, mark.mask))
            return Problem{fmt::format("'{}' is no mask", mask), slash + 1, "write 0x10/0xf0"};
        // Mask 0 would match everything: a typo would stop all syncing.
        if (mark.mask == 0)
            return Problem{"with the mask 0 every mark fits", slash + 1, {}};
    }
    if ((mark.value & ~mark.mask) != 0)
        return Problem{
            fmt::format("'{}' has bits set beyond its mask", text), 0,
            did_you_mean(fmt::format("0x{:x}/0x{:x}", mark.value & mark.mask, mark.mask))};
    out = mark;
    return {};
}

Verdict read_ports(std::string_view text, net::PortRange& out) {
    const std::size_t dash = text.find('-');
    std::uint32_t first = 0, last = 0;
    const auto read = [](std::string_view number, std::uint32_t& port) -> Verdict {
        if (number.empty() || read_number(number, {1, 65535}, port))
            return Problem{fmt::format("'{}' is no port, 1 to 65535", number), 0, {}};
        return {};
    };
    if (Verdict problem = read(text.substr(0, dash), first))
        return problem;
    last = first;
    if (dash != std::string_view::npos)
        if (Verdict problem = read(text.substr(dash + 1), last))
            return moved(problem, dash + 1);
    if (last < first)
        return Problem{fmt::format("the range '{}' ends before it begins", text), 0, {}};
    out = {static_cast<std::uint16_t>(first), static_cast<std::uint16_t>(last)};
    return {};
}

Verdict read_protocol(std::string_view text, std::uint8_t& out) {
    std::vector<std::string_view> names;
    for (const Word& word : kProtocols) {
        if (word.text == text) {
            out = static_cast<std::uint8_t>(word.value);
            return {};
        }
        names.push_back(word.text);
    }
    std::uint32_t number = 0;
    if (!read_number(text, {0, 255}, number)) {
        out = static_cast<std::uint8_t>(number);
        return {};
    }
    const std::string_view near = nearest(text, names);
    return Problem{fmt::format("'{}' is no protocol", text), 0,
                   near.empty()
                       ? fmt::format("write its number, or one of {}", fmt::join(names, ", "))
                       : did_you_mean(near)};
}

template<class T, class Read>
Verdict read_once(std::optional<T>& member, std::string_view value, Read read) {
    T out{};
    Verdict problem = read(value, out);
    if (!problem)
        member = out;
    return problem;
}

// One rule, read word by word.
class RuleReader {
  public:
    explicit RuleReader(std::string_view text) : text_(text) {}

    Verdict read(NoSyncRule& out) {
        for (;;) {
            if (Verdict problem = condition())
                return problem;
            const std::string_view word = next();
            if (word.empty())
                break;
            if (word != "and")
                return at(word, fmt::format("expected 'and' or a comma before '{}'", word), {});
        }
        if (Verdict problem = agrees())
            return problem;
        out = std::move(rule_);
        return {};
    }

  private:
    // Empty at the end.
    std::string_view next() {
        const std::size_t begin = std::min(text_.find_first_not_of(" \t", used_), text_.size());
        used_ = std::min(text_.find_first_of(" \t", begin), text_.size());
        return text_.substr(begin, used_ - begin);
    }
    std::size_t offset(std::string_view word) const {
        return word.empty() ? text_.size() : static_cast<std::size_t>(word.data() - text_.data());
    }
    Problem at(std::string_view word, std::string message, std::string hint) const {
        // A missing word is reported at the last character.
        const std::size_t place = word.empty() ? text_.size() - 1 : offset(word);
        return {std::move(message), place, std::move(hint)};
    }

    Verdict condition() {
        const std::string_view name = next();
        if (name.empty())
            return at(name, "a condition is missing after 'and'", {});
        if (name == "and")
            return at(name, "a condition is missing before 'and'", {});
        if (std::find(kConditions.begin(), kConditions.end(), name) == kConditions.end()) {
            const std::string_view near = nearest(name, kConditions);
            return at(name, fmt::format("'{}' is no condition", name),
                      near.empty()
                          ? fmt::format("a condition is one of {}", fmt::join(kConditions, ", "))
                          : did_you_mean(near));
        }
        const bool again = std::find(seen_.begin(), seen_.end(), name) != seen_.end();
        if (again && name != "net")
            return at(name, fmt::format("'{}' is there twice in one rule", name),
                      "part alternatives by commas");
        seen_.push_back(name);
        const std::string_view text = next();
        if (text.empty() || text == "and")
            return at(text, fmt::format("'{}' has no value", name), {});
        return moved(value(name, text), offset(text));
    }

    Verdict value(std::string_view name, std::string_view text) {
        if (name == "mark")
            return read_once(rule_.mark, text, read_mark);
        if (name == "src")
            return read_once(rule_.src, text, read_prefix);
        if (name == "dst")
            return read_once(rule_.dst, text, read_prefix);
        if (name == "port")
            return read_once(rule_.ports, text, read_ports);
        if (name == "proto")
            return read_once(rule_.proto, text, read_protocol);
        if (name == "net") {
            net::Prefix prefix;
            Verdict problem = read_prefix(text, prefix);
            if (!problem)
                rule_.nets.push_back(prefix);
            return problem;
        }
        return read_once(rule_.zone, text, [](std::string_view number, std::uint16_t& out) {
            std::uint32_t zone = 0;
            Verdict problem = read_number(number, {0, 65535}, zone);
            if (!problem)
                out = static_cast<std::uint16_t>(zone);
            return problem;
        });
    }

    // Conditions that no flow can meet are an error.
    Verdict agrees() const {
        if (rule_.ports && rule_.proto && !net::has_ports(*rule_.proto))
            return Problem{"no flow fits: this protocol has no ports", 0, {}};
        std::vector<net::Prefix> prefixes = rule_.nets;
        for (const auto& end : {rule_.src, rule_.dst})
            if (end)
                prefixes.push_back(*end);
        const auto ipv6 = [](const net::Prefix& prefix) { return prefix.network.is_v6(); };
        if (std::any_of(prefixes.begin(), prefixes.end(), ipv6) &&
            !std::all_of(prefixes.begin(), prefixes.end(), ipv6))
            return Problem{"no flow fits: these are addresses of two families", 0,
                           "part alternatives by commas"};
        return {};
    }

    std::string_view text_;
    std::size_t used_ = 0;
    NoSyncRule rule_;
    std::vector<std::string_view> seen_;
};

} // namespace

Verdict read_nosync(std::string_view text, std::vector<NoSyncRule>& out) {
    std::vector<NoSyncRule> rules;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        const std::string_view item = trim(text.substr(start, comma - start));
        if (item.empty())
            return Problem{
                "a rule is missing beside the comma", std::min(comma, text.size() - 1), {}};
        const auto offset = static_cast<std::size_t>(item.data() - text.data());
        if (rules.size() == kMaxRules)
            return Problem{fmt::format("there are more than {} rules", kMaxRules), offset, {}};
        NoSyncRule rule;
        if (Verdict problem = RuleReader(item).read(rule))
            return moved(problem, offset);
        rules.push_back(std::move(rule));
        start = comma + 1;
    }
    out = std::move(rules);
    return {};
}

} // namespace encsync::config
