// SPDX-License-Identifier: ISC
#include "config/text.hpp"
#include "config/values.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>

namespace encsync::config {

namespace {

constexpr std::string_view kMlKem = "ke1_mlkem768";
constexpr std::string_view kClassic = "aes256gcm16-prfsha384-curve25519";
constexpr std::string_view kHybrid =
    "aes256gcm16-prfsha384-curve25519-ke1_mlkem768,aes256gcm16-prfsha384-curve25519";

enum class Part { cipher, prf, group, esn, additional };
struct Algorithm {
    std::string_view name;
    Part part;
};

// Algorithms that both charon and our ESP support. The names are strongSwan's.
constexpr std::array<Algorithm, 14> kAlgorithms = {{
    {"aes128gcm16", Part::cipher},
    {"aes256gcm16", Part::cipher},
    {"chacha20poly1305", Part::cipher},
    {"prfsha256", Part::prf},
    {"prfsha384", Part::prf},
    {"prfsha512", Part::prf},
    {"curve25519", Part::group},
    {"ecp256", Part::group},
    {"ecp384", Part::group},
    {"modp3072", Part::group},
    {"modp4096", Part::group},
    {"esn", Part::esn},
    {"noesn", Part::esn},
    {kMlKem, Part::additional},
}};

enum class For { ike, esp };

bool belongs(Part part, For use) {
    return use == For::ike ? part != Part::esn : part != Part::prf && part != Part::additional;
}

Problem unknown(std::string_view word, For use) {
    std::vector<std::string_view> known;
    std::string list;
    for (const Algorithm& algorithm : kAlgorithms)
        if (belongs(algorithm.part, use) && (algorithm.name != kMlKem || has_mlkem())) {
            known.push_back(algorithm.name);
            list += fmt::format("{}{}", list.empty() ? "" : ", ", algorithm.name);
        }
    const std::string_view near = nearest(word, known);
    return {fmt::format("unknown algorithm '{}'", word), 0,
            near.empty() ? "known are: " + list : did_you_mean(near)};
}

// One alternative: words joined by '-'.
Verdict check_alternative(std::string_view text, For use) {
    std::vector<std::string_view> seen;
    std::array<bool, 5> has{};
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t dash = std::min(text.find('-', start), text.size());
        const std::string_view word = text.substr(start, dash - start);
        const auto known = std::find_if(kAlgorithms.begin(), kAlgorithms.end(),
                                        [&](const Algorithm& a) { return a.name == word; });
        if (word.empty())
            return Problem{
                "an algorithm is missing beside the '-'", std::min(dash, text.size() - 1), {}};
        if (known == kAlgorithms.end()) {
            Problem problem = unknown(word, use);
            problem.offset = start;
            return problem;
        }
        if (!belongs(known->part, use))
            return Problem{
                fmt::format("'{}' has no place in {}=", word, use == For::ike ? "ike" : "esp"),
                start,
                {}};
        if (word == kMlKem && !has_mlkem())
            return Problem{"charon has no ML-KEM here", start,
                           "strongSwan 6 and OpenSSL 3.5 have it (Debian 13)"};
        if (std::find(seen.begin(), seen.end(), word) != seen.end())
            return Problem{fmt::format("'{}' is named twice", word), start, {}};
        seen.push_back(word);
        has[static_cast<std::size_t>(known->part)] = true;
        start = dash + 1;
    }
    const auto lacks = [&](Part part) { return !has[static_cast<std::size_t>(part)]; };
    if (lacks(Part::cipher))
        return Problem{"the proposal has no cipher", 0, "for example aes256gcm16"};
    if (use == For::ike && lacks(Part::prf))
        return Problem{"the proposal has no pseudo-random function", 0, "for example prfsha384"};
    if (lacks(Part::group))
        return Problem{"the proposal has no key exchange group", 0, "for example curve25519"};
    return {};
}

Verdict read_proposal(std::string_view text, For use, std::string& out) {
    if (text.back() == '!')
        return Problem{
            "leave out the '!': encsync never offers more than is written", text.size() - 1, {}};
    std::string proposals;
    for (std::size_t start = 0; start <= text.size();) {
        const std::size_t comma = std::min(text.find(',', start), text.size());
        const std::string_view item = trim(text.substr(start, comma - start));
        if (item.empty())
            return Problem{
                "a proposal is missing beside the comma", std::min(comma, text.size() - 1), {}};
        if (Verdict problem = check_alternative(item, use)) {
            problem->offset += static_cast<std::size_t>(item.data() - text.data());
            return problem;
        }
        proposals += fmt::format("{}{}", proposals.empty() ? "" : ",", item);
        start = comma + 1;
    }
    out = std::move(proposals);
    return {};
}

} // namespace

Verdict read_ike_proposal(std::string_view text, std::string& out) {
    return read_proposal(text, For::ike, out);
}

Verdict read_esp_proposal(std::string_view text, std::string& out) {
    return read_proposal(text, For::esp, out);
}

bool has_mlkem() {
    return ENCSYNC_MLKEM != 0;
}

std::string_view default_ike() {
    return has_mlkem() ? kHybrid : kClassic;
}

std::string without_mlkem(std::string_view proposals) {
    std::string out;
    for (std::size_t start = 0; start < proposals.size();) {
        const std::size_t comma = std::min(proposals.find(',', start), proposals.size());
        const std::string_view each = proposals.substr(start, comma - start);
        if (each.find(kMlKem) == each.npos)
            out += fmt::format("{}{}", out.empty() ? "" : ",", each);
        start = comma + 1;
    }
    return out.empty() ? std::string(proposals) : out;
}

} // namespace encsync::config
