// SPDX-License-Identifier: ISC
// What is said of certificates and identities that grow old, and when.
#include "keys/age.hpp"

#include <gtest/gtest.h>

namespace encsync::keys {
namespace {

constexpr UnixTime kDay = 86400;
const UnixTime kNow = *parse_time("2026-06-15T12:00:00Z");

TEST(Age, ComplainsOfCertificatesInTime) {
    const auto said = [](UnixTime from, UnixTime until) {
        return complaint("a.pem", {from, until}, kNow);
    };
    EXPECT_EQ(said(kNow - kDay, kNow + 30 * kDay), "");
    EXPECT_EQ(said(kNow, kNow + 400 * kDay), "");
    EXPECT_EQ(said(kNow - kDay, kNow + 30 * kDay - 1),
              "a.pem expires in 29 days, at 2026-07-15T11:59:59Z");
    EXPECT_EQ(said(kNow - kDay, kNow + kDay), "a.pem expires in 1 day, at 2026-06-16T12:00:00Z");
    EXPECT_EQ(said(kNow - kDay, kNow), "a.pem expires in less than a day, at 2026-06-15T12:00:00Z");
    EXPECT_EQ(said(kNow - 9 * kDay, kNow - 2 * kDay),
              "a.pem expired 2 days ago, at 2026-06-13T12:00:00Z");
    EXPECT_EQ(said(kNow + 1, kNow + 400 * kDay),
              "a.pem is not valid before 2026-06-15T12:00:01Z, and it is 2026-06-15T12:00:00Z now");
    EXPECT_TRUE(is_valid({kNow, kNow}, kNow));
    EXPECT_FALSE(is_valid({kNow + 1, kNow + 2}, kNow));
    EXPECT_FALSE(is_valid({kNow - 2, kNow - 1}, kNow));
}

TEST(Age, ComplainsOfARotationThatDoesNotEnd) {
    const auto said = [](UnixTime age, std::chrono::days rotate) {
        return overdue(kNow - age, rotate, kNow);
    };
    EXPECT_EQ(said(10000 * kDay, std::chrono::days(0)), ""); // never rotated
    EXPECT_EQ(said(90 * kDay, std::chrono::days(90)), "");
    EXPECT_EQ(said(99 * kDay - 1, std::chrono::days(90)), "");
    EXPECT_EQ(said(99 * kDay, std::chrono::days(90)),
              "this node's identity is 99 days old, and should have been replaced after 90 days; "
              "'encsync keys status' shows who has not accepted another");
    EXPECT_EQ(said(7 * kDay, std::chrono::days(1)), ""); // who was away comes back
    EXPECT_NE(said(8 * kDay, std::chrono::days(1)), "");
    EXPECT_EQ(said(-kDay, std::chrono::days(1)), ""); // a clock in the past
}

} // namespace
} // namespace encsync::keys
