// SPDX-License-Identifier: ISC
#include "metrics/http.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <strings.h>

namespace encsync::metrics {

namespace {

constexpr std::string_view kEnd = "\r\n\r\n";
constexpr std::string_view kOpenMetrics = "application/openmetrics-text";

struct Answer {
    int status;
    std::string_view phrase, name;
};
constexpr std::array<Answer, kRefusals> kAnswers = {{
    {400, "Bad Request", "bad_request"},
    {404, "Not Found", "not_found"},
    {405, "Method Not Allowed", "method_not_allowed"},
    {408, "Request Timeout", "timeout"},
    {431, "Request Header Fields Too Large", "too_large"},
    {503, "Service Unavailable", "too_many"},
}};

const Answer& of(Refusal refusal) {
    return kAnswers[static_cast<std::size_t>(refusal)];
}

bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view trimmed(std::string_view text) {
    const auto blank = [](char c) { return c == ' ' || c == '\t'; };
    while (!text.empty() && blank(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && blank(text.back()))
        text.remove_suffix(1);
    return text;
}

// What is before the separator, and off `text` with both.
std::string_view cut(std::string_view& text, std::string_view separator) {
    const std::size_t at = std::min(text.find(separator), text.size());
    const std::string_view first = text.substr(0, at);
    text.remove_prefix(std::min(at + separator.size(), text.size()));
    return first;
}

bool is_token(std::string_view text) { // RFC 9110 section 5.6.2
    constexpr std::string_view kOther = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::ranges::all_of(text, [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               kOther.find(c) != kOther.npos;
    });
}

bool is_printable(std::string_view text) {
    return std::ranges::none_of(
        text, [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 127; });
}

// The weight of a media range is a number from 0 to 1; 0: not acceptable.
bool is_unwanted(std::string_view parameters) {
    while (!parameters.empty()) {
        std::string_view value = trimmed(cut(parameters, ";"));
        if (same(trimmed(cut(value, "=")), "q"))
            return trimmed(value).find_first_not_of("0.") == value.npos;
    }
    return false;
}

// Who knows it prefers it.
bool accepts_openmetrics(std::string_view accept) {
    while (!accept.empty()) {
        std::string_view range = cut(accept, ",");
        if (same(trimmed(cut(range, ";")), kOpenMetrics) && !is_unwanted(range))
            return true;
    }
    return false;
}

// The header's fields, as far as they matter.
struct Fields {
    unsigned hosts = 0;
    bool content = false;
    bool openmetrics = false;
};

std::optional<Fields> read_fields(std::string_view lines) {
    Fields fields;
    while (!lines.empty()) {
        std::string_view value = cut(lines, "\r\n");
        const std::string_view name = cut(value, ":");
        // A name with a space, or none: also a line that continues the one before (obs-fold).
        if (!is_token(name) || name.data() + name.size() == value.data() || !is_printable(value))
            return std::nullopt;
        value = trimmed(value);
        if (same(name, "Host"))
            fields.hosts++;
        else if (same(name, "Transfer-Encoding"))
            fields.content = true;
        else if (same(name, "Content-Length"))
            fields.content = fields.content || value != "0";
        else if (same(name, "Accept"))
            fields.openmetrics = fields.openmetrics || accepts_openmetrics(value);
    }
    return fields;
}

std::string answer(int status, std::string_view phrase, std::string_view type, std::size_t size,
                   std::string_view more = {}) {
    return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}"
                       "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                       "Connection: close\r\n\r\n",
                       status, phrase, type, size, more);
}

} // namespace

const char* to_string(Refusal refusal) {
    return of(refusal).name.data();
}

std::size_t end_of_request(std::string_view text) {
    const std::size_t at = text.find(kEnd);
    return at == text.npos ? at : at + kEnd.size();
}

std::variant<Request, Refusal> parse_request(std::string_view text) {
    if (!text.ends_with(kEnd))
        return Refusal::bad_request;
    text.remove_suffix(2); // what is left ends in the line end of the last field
    std::string_view line = cut(text, "\r\n");
    const std::string_view method = cut(line, " "), target = cut(line, " "), version = line;
    if (!is_token(method) || target.empty() || !is_printable(target) ||
        (version != "HTTP/1.1" && version != "HTTP/1.0"))
        return Refusal::bad_request;
    const auto fields = read_fields(text);
    if (!fields || fields->content || fields->hosts > 1 ||
        (fields->hosts == 0 && version == "HTTP/1.1"))
        return Refusal::bad_request;
    if (target.substr(0, target.find('?')) != "/metrics")
        return Refusal::not_found;
    if (method != "GET" && method != "HEAD")
        return Refusal::method_not_allowed;
    return Request{method == "HEAD",
                   fields->openmetrics ? Format::openmetrics : Format::prometheus};
}

std::string refuse(Refusal refusal) {
    const Answer& why = of(refusal);
    const std::string text = fmt::format("{}: {}\n", why.status, why.name);
    return answer(why.status, why.phrase, "text/plain; charset=utf-8", text.size(),
                  refusal == Refusal::method_not_allowed ? "Allow: GET, HEAD\r\n" : "") +
           text;
}

std::string answer_header(Format format, std::size_t size) {
    return answer(200, "OK", content_type(format), size);
}

} // namespace encsync::metrics
