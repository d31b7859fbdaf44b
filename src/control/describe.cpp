// SPDX-License-Identifier: ISC
#include "control/describe.hpp"

#include "control/filter.hpp"
#include "net/protocol.hpp"

#include <boost/json/value_from.hpp>
#include <fmt/format.h>

namespace encsync::control {

namespace {

boost::json::object describe_tuple(const state::Key& key, const state::Tuple& tuple) {
    boost::json::object out{{"src", to_string(with_family(tuple.src, key.family))},
                            {"dst", to_string(with_family(tuple.dst, key.family))}};
    if (net::is_icmp(key.proto)) {
        out["icmp_id"] = tuple.sport;
        out["icmp_type"] = tuple.dport >> 8;
        out["icmp_code"] = tuple.dport & 0xff;
    } else {
        out["sport"] = tuple.sport;
        out["dport"] = tuple.dport;
    }
    return out;
}

} // namespace

boost::json::object describe(const state::Flow& flow, std::string_view owner) {
    boost::json::object out = describe_tuple(flow.key, flow.key.orig);
    out["id"] = fmt::format("{:016x}", flow.id.id);
    out["creatorid"] = fmt::format("{:08x}", flow.id.creatorid);
    out["proto"] = net::protocol_name(flow.key.proto);
    out["reply"] = describe_tuple(flow.key, flow.reply);
    const auto [src_word, dst_word] = state_words(flow);
    out["state"] = src_word + ":" + dst_word;
    out["zone"] = flow.key.zone;
    out["mark"] = flow.mark;
    out["owner"] = owner;
    out["age"] = flow.age;
    out["expires"] = flow.timeout;
    const state::Extras& extras = flow.extras;
    if (extras.reply_zone)
        out["reply_zone"] = *extras.reply_zone;
    if (extras.labels != state::Labels{})
        out["labels"] = boost::json::value_from(state::numbers(extras.labels));
    if (!extras.helper.empty())
        out["helper"] = extras.helper.text();
    if (extras.lifetime != 0)
        out["lifetime"] = extras.lifetime;
    if (extras.seq_adjust != state::SeqAdjusts{}) // the current offsets
        out["seq_adjust"] =
            boost::json::array{static_cast<std::int32_t>(extras.seq_adjust[0].after),
                               static_cast<std::int32_t>(extras.seq_adjust[1].after)};
    return out;
}

} // namespace encsync::control
