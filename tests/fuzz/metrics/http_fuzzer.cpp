// SPDX-License-Identifier: ISC
// Any input as what a client of metricslisten sends. What is answered asks for nothing but
// /metrics, and every refusal is a whole answer; what follows the header changes nothing.
#include "metrics/http.hpp"

#include <cstdlib>

namespace {

using namespace encsync::metrics;

void check(bool holds) {
    if (!holds)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::size_t end = end_of_request(text);
    if (end == text.npos) {
        const auto parsed = parse_request(text); // cut short
        check(std::holds_alternative<Refusal>(parsed));
        return 0;
    }
    check(end <= size);
    const auto parsed = parse_request(text.substr(0, end));
    if (const auto* refusal = std::get_if<Refusal>(&parsed)) {
        const std::string answer = refuse(*refusal);
        check(answer.starts_with("HTTP/1.1 4") && end_of_request(answer) < answer.size());
        return 0;
    }
    const Request& request = *std::get_if<Request>(&parsed);
    check(text.starts_with(request.head ? "HEAD /metrics" : "GET /metrics"));
    return 0;
}
