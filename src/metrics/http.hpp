// SPDX-License-Identifier: ISC
// As much of HTTP/1.1 (RFC 9110, RFC 9112) as GET /metrics needs. One request a connection; one
// with content, or with anything that is not understood without doubt, is refused.
//
//     const auto parsed = parse_request("GET /metrics HTTP/1.1\r\nHost: mickey\r\n\r\n");
//     if (const auto* refusal = std::get_if<Refusal>(&parsed))
//         send(refuse(*refusal));
#pragma once

#include "metrics/exposition.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace encsync::metrics {

inline constexpr std::size_t kMaxRequest = 8192; // bytes, with the empty line at its end

// Why a request was not answered. One counter each, by its name (to_string).
enum class Refusal : std::uint8_t {
    bad_request,        // 400: no HTTP/1 request, or one with content
    not_found,          // 404: of something else than /metrics
    method_not_allowed, // 405: neither GET nor HEAD
    timeout,            // 408: it did not come whole in time
    too_large,          // 431: more than kMaxRequest
    too_many,           // 503: its place went to a later connection
};
inline constexpr std::size_t kRefusals = 6;
const char* to_string(Refusal refusal);

struct Request {
    bool head = false; // HEAD: only the header of the answer is wanted
    Format format = Format::prometheus;
};

// Where the empty line ends that ends a request's header; npos: it has not come yet.
std::size_t end_of_request(std::string_view text);
// Of a whole header.
std::variant<Request, Refusal> parse_request(std::string_view text);

// A whole answer.
std::string refuse(Refusal refusal);
// The header of the answer; the content is `size` bytes.
std::string answer_header(Format format, std::size_t size);

} // namespace encsync::metrics
