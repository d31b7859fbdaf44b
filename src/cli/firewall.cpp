// SPDX-License-Identifier: ISC
#include "cli/firewall.hpp"

#include "net/prefix.hpp"

#include <algorithm>
#include <array>
#include <netinet/in.h>
#include <string_view>
#include <vector>

namespace encsync::cli {

namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 3> kFamilies{"inet", "ip", "ip6"};
constexpr std::array<std::string_view, 9> kOtherProtocols{
    "tcp", "icmp", "icmpv6", "igmp", "sctp", "dccp", "esp", "ah", "udplite"};
// Statements that every packet passes.
constexpr std::array<std::string_view, 2> kHarmless{"counter", "log"};

// Whether something holds; none: nobody can say.
using Truth = std::optional<bool>;

const json::value* member(const json::object& object, std::string_view name) {
    return object.if_contains(name);
}

const json::value* member(const json::value& value, std::string_view name) {
    const json::object* object = value.if_object();
    return object == nullptr ? nullptr : object->if_contains(name);
}

template<class Value>
std::string_view text(const Value& value, std::string_view name) {
    const json::value* found = member(value, name);
    return found != nullptr && found->is_string() ? std::string_view(found->get_string())
                                                  : std::string_view();
}

template<class Value>
const json::object* part(const Value& value, std::string_view name) {
    const json::value* found = member(value, name);
    return found == nullptr ? nullptr : found->if_object();
}

template<class Value>
const json::array* list(const Value& value, std::string_view name) {
    const json::value* found = member(value, name);
    return found == nullptr ? nullptr : found->if_array();
}

// Whether it holds of the value or, if that is a set, of any in it; `one` says so of a single one.
template<class One>
Truth any(const json::value& right, const One& one) {
    const json::array* all = right.if_array();
    if (all == nullptr)
        all = list(right, "set");
    if (all != nullptr) {
        Truth found = false;
        for (const json::value& each : *all)
            if (const Truth holds = any(each, one); holds != false) {
                found = holds;
                if (holds == true)
                    break;
            }
        return found;
    }
    if (const json::object* element = part(right, "elem"))
        if (const json::value* value = element->if_contains("val"))
            return any(*value, one);
    return one(right);
}

Truth is_number(const json::value& right, std::int64_t number) {
    return any(right, [number](const json::value& one) -> Truth {
        if (const std::int64_t* value = one.if_int64())
            return *value == number;
        const json::array* range = list(one, "range");
        if (range == nullptr || range->size() != 2 || !range->at(0).is_int64() ||
            !range->at(1).is_int64())
            return std::nullopt;
        return range->at(0).get_int64() <= number && number <= range->at(1).get_int64();
    });
}

Truth is_word(const json::value& right, std::string_view word) {
    return any(right, [word](const json::value& one) -> Truth {
        if (!one.is_string() || one.get_string().starts_with('@')) // a named set
            return std::nullopt;
        return std::string_view(one.get_string()) == word;
    });
}

Truth is_udp(const json::value& right) {
    return any(right, [](const json::value& one) {
        return one.is_int64() ? Truth(one.get_int64() == IPPROTO_UDP) : is_word(one, "udp");
    });
}

Truth is_address(const json::value& right, const net::Address& address) {
    return any(right, [&](const json::value& one) -> Truth {
        std::string prefix;
        if (const json::object* fields = part(one, "prefix")) {
            const json::value* bits = fields->if_contains("len");
            if (bits == nullptr || !bits->is_int64())
                return std::nullopt;
            prefix = std::string(text(*fields, "addr")) + '/' + std::to_string(bits->get_int64());
        } else if (one.is_string()) {
            prefix = one.get_string();
        }
        const auto parsed = net::parse_prefix(prefix);
        return parsed ? Truth(parsed->contains(address)) : std::nullopt;
    });
}

class Packet {
  public:
    explicit Packet(const Datagram& datagram) : datagram_(datagram) {}

    bool may_pass(const json::array& expressions) const {
        bool accepts = false;
        for (const json::value& each : expressions) {
            if (const json::object* match = part(each, "match")) {
                if (contradicts(*match))
                    return false;
            } else if (const json::object* map = part(each, "vmap")) {
                accepts |= may_accept(*map);
            } else if (const json::object* statement = each.if_object()) {
                // A program behind a queue may accept it, and so may a target of iptables.
                for (const std::string_view verdict : {"accept", "queue", "xt"})
                    accepts |= statement->contains(verdict);
            }
        }
        return accepts;
    }

  private:
    bool contradicts(const json::object& match) const {
        const json::value *left = match.if_contains("left"), *right = match.if_contains("right");
        if (left == nullptr || right == nullptr)
            return false;
        // There is no connection, so nothing else of it matches, whatever it is compared with.
        if (const json::object* ct = part(*left, "ct"); ct && text(*ct, "key") != "state")
            return true;
        const std::string_view op = text(match, "op");
        const Truth holds = is(*left, *right);
        return op == "!=" ? holds == true : (op == "==" || op == "in") && holds == false;
    }

    bool may_accept(const json::object& map) const {
        const json::value *key = map.if_contains("key"), *data = map.if_contains("data");
        const json::array* pairs = data == nullptr ? nullptr : list(*data, "set");
        if (key == nullptr || pairs == nullptr)
            return true;
        return std::ranges::any_of(*pairs, [&](const json::value& each) {
            const json::array* pair = each.if_array();
            if (pair == nullptr || pair->size() != 2 || !pair->at(1).is_object())
                return true;
            return pair->at(1).get_object().contains("accept") && is(*key, pair->at(0)) != false;
        });
    }

    Truth is(const json::value& left, const json::value& right) const {
        if (const json::object* payload = part(left, "payload"))
            return is_in_header(text(*payload, "protocol"), text(*payload, "field"), right);
        if (const json::object* meta = part(left, "meta")) {
            const std::string_view key = text(*meta, "key");
            if (key == "l4proto")
                return is_udp(right);
            if (key == "nfproto")
                return is_word(right, datagram_.from.is_v6() ? "ipv6" : "ipv4");
            if (key == "iifname" || key == "iif") // another one than lo, but which?
                return any(right, [](const json::value& one) -> Truth {
                    return one.is_string() && one.get_string() == "lo" ? Truth(false)
                                                                       : std::nullopt;
                });
        }
        if (const json::object* ct = part(left, "ct"); ct != nullptr && text(*ct, "key") == "state")
            return is_word(right, "untracked");
        return std::nullopt;
    }

    Truth is_in_header(std::string_view protocol, std::string_view field,
                       const json::value& right) const {
        if (std::ranges::find(kOtherProtocols, protocol) != kOtherProtocols.end())
            return false;
        if (protocol == "udp" || protocol == "th")
            return field == "sport" || field == "dport" ? is_number(right, datagram_.port)
                                                        : std::nullopt;
        if (protocol != "ip" && protocol != "ip6")
            return std::nullopt;
        if ((protocol == "ip6") != datagram_.from.is_v6())
            return false;
        if (field == "protocol" || field == "nexthdr")
            return is_udp(right);
        return field == "saddr"   ? is_address(right, datagram_.from)
               : field == "daddr" ? is_address(right, datagram_.to)
                                  : std::nullopt;
    }

    const Datagram& datagram_;
};

bool drops_all(const json::array& expressions) {
    bool drops = false;
    for (const json::value& each : expressions) {
        const json::object* statement = each.if_object();
        if (statement == nullptr || statement->empty())
            return false;
        const std::string_view what = statement->begin()->key();
        if (what == "drop" || what == "reject")
            drops = true;
        else if (std::ranges::find(kHarmless, what) == kHarmless.end())
            return false;
    }
    return drops;
}

Chain chain_of(const json::object& fields, std::string_view name) {
    return {std::string(text(fields, "family")), std::string(text(fields, "table")),
            std::string(text(fields, name))};
}

// Adds the chains that a rule may continue in; those of a named map are not known.
void add_targets(const json::value& value, std::vector<std::string>& into, bool& unknown) {
    if (const json::array* all = value.if_array()) {
        for (const json::value& each : *all)
            add_targets(each, into, unknown);
    } else if (const json::object* object = value.if_object()) {
        for (const auto& [key, inside] : *object) {
            if (key == "jump" || key == "goto")
                into.emplace_back(text(inside, "target"));
            else if (key == "vmap")
                unknown |= list(inside, "data") == nullptr && part(inside, "data") == nullptr;
            add_targets(inside, into, unknown);
        }
    }
}

class Ruleset {
  public:
    explicit Ruleset(const json::array& all) : all_(all) {}

    // Whether the chain drops what no rule accepts, and no rule that is reached from it may accept
    // the packet.
    bool is_closed(const json::object& base, const Packet& packet) const {
        const Chain chain = chain_of(base, "name");
        bool closed = text(base, "policy") == "drop";
        std::vector<std::string> reached{chain.name};
        for (std::size_t at = 0; at < reached.size(); at++) {
            bool unknown = false;
            for (const json::array* rule : rules({chain.family, chain.table, reached[at]})) {
                if (packet.may_pass(*rule))
                    return false;
                if (at == 0)
                    closed |= drops_all(*rule);
                std::vector<std::string> targets;
                for (const json::value& statement : *rule)
                    add_targets(statement, targets, unknown);
                for (std::string& target : targets)
                    if (std::ranges::find(reached, target) == reached.end())
                        reached.push_back(std::move(target));
            }
            if (unknown)
                return false;
        }
        return closed;
    }

    bool is_dormant(const Chain& chain) const {
        return std::ranges::any_of(all_, [&](const json::value& each) {
            const json::object* table = part(each, "table");
            if (table == nullptr || text(*table, "family") != chain.family ||
                text(*table, "name") != chain.table)
                return false;
            const json::value* flags = table->if_contains("flags");
            return flags != nullptr && is_word(*flags, "dormant") == true;
        });
    }

  private:
    std::vector<const json::array*> rules(const Chain& chain) const {
        std::vector<const json::array*> out;
        for (const json::value& each : all_)
            if (const json::object* rule = part(each, "rule");
                rule != nullptr && chain_of(*rule, "chain") == chain)
                if (const json::array* expressions = list(*rule, "expr"))
                    out.push_back(expressions);
        return out;
    }

    const json::array& all_;
};

} // namespace

std::optional<Chain> closed_chain(const json::value& ruleset, const Datagram& datagram) {
    const json::array* all = list(ruleset, "nftables");
    if (all == nullptr)
        return std::nullopt;
    const Ruleset rules(*all);
    for (const json::value& each : *all) {
        const json::object* base = part(each, "chain");
        if (base == nullptr || text(*base, "hook") != "input")
            continue;
        const Chain chain = chain_of(*base, "name");
        const bool ours = std::ranges::find(kFamilies, chain.family) != kFamilies.end() &&
                          chain.family != (datagram.from.is_v6() ? "ip" : "ip6");
        if (ours && !rules.is_dormant(chain) && rules.is_closed(*base, Packet(datagram)))
            return chain;
    }
    return std::nullopt;
}

} // namespace encsync::cli
