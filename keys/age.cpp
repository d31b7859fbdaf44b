// SPDX-License-Identifier: ISC
#include "keys/age.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

using namespace std::chrono_literals;

constexpr UnixTime kDay = 86400;
// A rotation waits for peers that are away, so it may end later than it began.
constexpr UnixTime kLeastDelay = 7 * kDay;

std::string days(UnixTime seconds) {
    const UnixTime n = seconds / kDay;
    return n == 0 ? "less than a day" : n == 1 ? "1 day" : fmt::format("{} days", n);
}

} // namespace

bool is_valid(const Validity& validity, UnixTime now) {
    return validity.from <= now && now <= validity.until;
}

std::string complaint(const std::string& what, const Validity& validity, UnixTime now) {
    if (now < validity.from)
        return fmt::format("{} is not valid before {}, and it is {} now", what,
                           to_text(validity.from), to_text(now));
    if (now > validity.until)
        return fmt::format("{} expired {} ago, at {}", what, days(now - validity.until),
                           to_text(validity.until));
    if (validity.until - now < kExpiryNotice / 1s)
        return fmt::format("{} expires in {}, at {}", what, days(validity.until - now),
                           to_text(validity.until));
    return {};
}

std::string overdue(UnixTime created, std::chrono::seconds rotate, UnixTime now) {
    const UnixTime limit = rotate / 1s;
    if (limit == 0 || now - created < limit + std::max(kLeastDelay, limit / 10))
        return {};
    return fmt::format("this node's identity is {} old, and should have been replaced after {}; "
                       "'encsync keys status' shows who has not accepted another",
                       days(now - created), days(limit));
}

} // namespace encsync::keys
