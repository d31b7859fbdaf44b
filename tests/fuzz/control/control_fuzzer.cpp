// SPDX-License-Identifier: ISC
// Any input as a request on the control socket, and the filter or order in it; as a filter; as a
// line of keepalived. Every refusal has a reason, and what is accepted is accepted again.
#include "control/filter.hpp"
#include "control/request.hpp"
#include "control/role_order.hpp"
#include "control/vrrp_notice.hpp"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace encsync;
    const std::string_view line(reinterpret_cast<const char*>(data), size);
    const auto filter_on = [](std::string_view text) {
        state::Flow flow;
        flow.key.proto = 6;
        flow.key.orig.sport = 40000;
        if (const auto filter = control::Filter::parse(text))
            filter->matches(flow, "minnie");
        else if (filter.error().text.empty())
            std::abort();
    };
    const auto parsed = control::parse_request(line);
    if (const auto* request = std::get_if<control::Request>(&parsed)) {
        const auto again = control::parse_request(boost::json::serialize(request->fields));
        if (!request->command || !std::holds_alternative<control::Request>(again))
            std::abort();
        filter_on(control::text(request->fields, "filter"));
        if (const auto order = control::RoleOrder::parse(control::text(request->fields, "order"));
            order && *control::RoleOrder::parse(order->text()) != *order)
            std::abort();
    } else if (std::get_if<control::Refused>(&parsed)->text.empty()) {
        std::abort();
    }
    filter_on(line);
    if (const auto notice = control::VrrpNotice::parse(line);
        notice ? notice->name.empty() || notice->word.empty() : notice.error().text.empty())
        std::abort();
    return 0;
}
