// SPDX-License-Identifier: ISC
#include "daemon/table_view.hpp"

#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

namespace encsync::daemon {
namespace {

TEST(TableView, GroupsBecomeObjects) {
    boost::json::object out{{"events", 7}};
    add(out, {{"dumps", 1}, {"faults.bad_size", 2}, {"more.faults.bad_size", 3}, {"faults.x", 4}});
    EXPECT_EQ(boost::json::serialize(out), R"({"events":7,"dumps":1,"faults":{"bad_size":2,"x":4},)"
                                           R"("more":{"faults":{"bad_size":3}}})");
}

TEST(TableView, OfATableThatCountsNothing) {
    boost::json::object out{{"events", 7}};
    add(out, {});
    EXPECT_EQ(out.size(), 1U);
}

} // namespace
} // namespace encsync::daemon
