// SPDX-License-Identifier: ISC
#include "control/filter.hpp"

#include "net/prefix.hpp"
#include "net/protocol.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <optional>

namespace encsync::control {

using net::Family;
using state::Flow;

namespace {

constexpr std::array<std::string_view, 11> kTcpWords{
    "closed",     "listen",  "syn_sent", "syn_received", "established", "close_wait",
    "fin_wait_1", "closing", "last_ack", "fin_wait_2",   "time_wait"};
constexpr std::array<std::string_view, 3> kDatagramWords{"no_traffic", "single", "multiple"};

// Decimal, or hexadecimal after 0x or if requested; no other characters.
template<class Number>
std::optional<Number> parse_number(std::string_view text, bool hex = false) {
    if (text.starts_with("0x")) {
        text.remove_prefix(2);
        hex = true;
    }
    Number number = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), number, hex ? 16 : 10);
    if (error != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return number;
}

std::optional<net::PortRange> parse_range(std::string_view text) {
    const auto dash = text.find('-');
    const auto low = parse_number<std::uint16_t>(text.substr(0, dash));
    const auto high = dash == text.npos ? low : parse_number<std::uint16_t>(text.substr(dash + 1));
    if (!low || !high || *low > *high)
        return std::nullopt;
    return net::PortRange{*low, *high};
}

bool has_ports(const Flow& flow) {
    return net::has_ports(flow.key.proto);
}

bool contains(const net::Prefix& prefix, const Flow& flow, const state::Address& address) {
    return prefix.contains(with_family(address, flow.key.family));
}

} // namespace

namespace {

std::string side_word(std::uint8_t proto, std::uint8_t progress) {
    if (proto == IPPROTO_TCP && progress < kTcpWords.size())
        return std::string(kTcpWords[progress]);
    if (proto != IPPROTO_TCP && progress < kDatagramWords.size())
        return std::string(kDatagramWords[progress]);
    return fmt::format("{}", progress);
}

} // namespace

std::pair<std::string, std::string> state_words(const Flow& flow) {
    // Pairs of pf states that stand for one conntrack state (table/progress.cpp).
    if (flow.key.proto == IPPROTO_TCP && flow.src_state == flow.dst_state) {
        if (flow.src_state == state::tcp::kFinWait2)
            return {"time_wait", "time_wait"};
        if (flow.src_state == state::tcp::kTimeWait)
            return {"close", "close"};
    }
    return {side_word(flow.key.proto, flow.src_state), side_word(flow.key.proto, flow.dst_state)};
}

// Turns words into terms, one after the other.
class FilterParser {
  public:
    explicit FilterParser(std::string_view text) : text_(text), rest_(text_) {
        std::ranges::transform(text_, text_.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        as_written_ = text;
    }

    Result<Filter> parse() {
        Filter filter;
        for (auto word = next(); !word.empty(); word = next()) {
            if (filter.terms_.size() == Filter::kMaxWords)
                return Error{fmt::format("filter: more than {} words", Filter::kMaxWords)};
            const bool negated = word == "not";
            if (negated && (word = next()).empty())
                return Error{"filter: 'not' needs a word after it"};
            auto term = parse_term(word);
            if (!term)
                return term.error();
            if (negated)
                filter.terms_.push_back([inner = std::move(*term)](const Flow& f, auto owner) {
                    return !inner(f, owner);
                });
            else
                filter.terms_.push_back(std::move(*term));
        }
        return filter;
    }

  private:
    using Term = Filter::Term;

    std::string_view next() {
        const auto begin = std::min(rest_.find_first_not_of(" \t,"), rest_.size());
        rest_.remove_prefix(begin);
        const auto word = rest_.substr(0, rest_.find_first_of(" \t,"));
        rest_.remove_prefix(word.size());
        return word;
    }

    Result<Term> parse_term(std::string_view word) {
        if (auto term = plain_word(word))
            return std::move(*term);
        static constexpr std::array<std::string_view, 11> kWithValue{
            "proto", "src",  "dst",  "port", "sport",    "dport",
            "state", "zone", "mark", "id",   "creatorid"};
        if (word == "owner" || std::ranges::find(kWithValue, word) != kWithValue.end()) {
            auto value = next();
            if (word == "owner") // a name
                value = as_written_.substr(static_cast<std::size_t>(value.data() - text_.data()),
                                           value.size());
            if (value.empty())
                return Error{fmt::format("filter: '{}' needs a value after it", word)};
            if (auto term = with_value(word, value))
                return std::move(*term);
            return Error{fmt::format("filter: '{}' is no value for '{}'", value, word)};
        }
        if (const auto prefix = net::parse_prefix(word))
            return Term([prefix = *prefix](const Flow& f, std::string_view) {
                return contains(prefix, f, f.key.orig.src) || contains(prefix, f, f.key.orig.dst) ||
                       contains(prefix, f, f.reply.src) || contains(prefix, f, f.reply.dst);
            });
        return Error{fmt::format("filter: '{}' is neither an address nor a known word", word)};
    }

    static std::optional<Term> plain_word(std::string_view word) {
        if (const auto proto = net::protocol_of(word))
            return
                [proto = *proto](const Flow& f, std::string_view) { return f.key.proto == proto; };
        if (word == "inet" || word == "inet6")
            return [family = word == "inet" ? Family::inet : Family::inet6](
                       const Flow& f, std::string_view) { return f.key.family == family; };
        if (word == "snat")
            return [](const Flow& f, std::string_view) { return state::has_snat(f); };
        if (word == "dnat")
            return [](const Flow& f, std::string_view) { return state::has_dnat(f); };
        if (word == "nat")
            return [](const Flow& f, std::string_view) {
                return state::has_snat(f) || state::has_dnat(f);
            };
        if (word == "assured")
            return [](const Flow& f, std::string_view) { return (f.flags & state::kAssured) != 0; };
        if (word == "unreplied")
            return
                [](const Flow& f, std::string_view) { return (f.flags & state::kSeenReply) == 0; };
        if (word == "own")
            return [](const Flow&, std::string_view owner) { return owner.empty(); };
        if (word == "copy")
            return [](const Flow&, std::string_view owner) { return !owner.empty(); };
        return std::nullopt;
    }

    static std::optional<Term> with_value(std::string_view word, std::string_view value) {
        if (word == "src" || word == "dst") {
            const auto prefix = net::parse_prefix(value);
            if (!prefix)
                return std::nullopt;
            return [prefix = *prefix, source = word == "src"](const Flow& f, std::string_view) {
                return contains(prefix, f, source ? f.key.orig.src : f.key.orig.dst);
            };
        }
        if (word == "port" || word == "sport" || word == "dport")
            return port_term(word, value);
        if (word == "state")
            return state_term(value);
        if (word == "owner")
            return [name = std::string(value)](const Flow&, std::string_view owner) {
                return owner == name;
            };
        if (word == "proto")
            return equal_term<std::uint8_t>(value, [](const Flow& f) { return f.key.proto; });
        if (word == "zone")
            return equal_term<std::uint16_t>(value, [](const Flow& f) { return zone_id(f); });
        if (word == "mark")
            return equal_term<std::uint32_t>(value, [](const Flow& f) { return f.mark; });
        if (word == "creatorid")
            return equal_term<std::uint32_t>(
                value, [](const Flow& f) { return f.id.creatorid; }, true);
        return equal_term<std::uint64_t>(
            value, [](const Flow& f) { return f.id.id; }, true);
    }

    static std::optional<Term> port_term(std::string_view word, std::string_view value) {
        const auto range = parse_range(value);
        if (!range)
            return std::nullopt;
        if (word == "sport")
            return [range = *range](const Flow& f, std::string_view) {
                return has_ports(f) && range.contains(f.key.orig.sport);
            };
        if (word == "dport")
            return [range = *range](const Flow& f, std::string_view) {
                return has_ports(f) && range.contains(f.key.orig.dport);
            };
        return [range = *range](const Flow& f, std::string_view) {
            return has_ports(f) &&
                   (range.contains(f.key.orig.sport) || range.contains(f.key.orig.dport) ||
                    range.contains(f.reply.sport) || range.contains(f.reply.dport));
        };
    }

    static std::optional<Term> state_term(std::string_view value) {
        const auto known = [value](const auto& words) {
            return std::ranges::find(words, value) != words.end();
        };
        if (!known(kTcpWords) && !known(kDatagramWords) && value != "close")
            return std::nullopt;
        return [word = std::string(value)](const Flow& f, std::string_view) {
            const auto [src, dst] = state_words(f);
            return src == word || dst == word;
        };
    }

    template<class Number, class Get>
    static std::optional<Term> equal_term(std::string_view value, Get get, bool hex = false) {
        const auto number = parse_number<Number>(value, hex);
        if (!number)
            return std::nullopt;
        return
            [number = *number, get](const Flow& f, std::string_view) { return get(f) == number; };
    }

    std::string text_;            // in lower case, as all words except names
    std::string_view rest_;       // the rest of text_
    std::string_view as_written_; // the rest of the original text
};

Result<Filter> Filter::parse(std::string_view text) {
    return FilterParser(text).parse();
}

bool Filter::matches(const Flow& flow, std::string_view owner) const {
    return std::ranges::all_of(terms_, [&](const Term& term) { return term(flow, owner); });
}

} // namespace encsync::control
