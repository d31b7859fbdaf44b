// SPDX-License-Identifier: ISC
// A line as the control socket takes it, and the filter in it; and the bytes as a filter. Every
// refusal has a reason, and every accepted request is one that is accepted again.
#include "control/filter.hpp"
#include "control/request.hpp"

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
    } else if (std::get_if<control::Refused>(&parsed)->text.empty()) {
        std::abort();
    }
    filter_on(line);
    return 0;
}
