// SPDX-License-Identifier: ISC
#include "control/vrrp_notice.hpp"

#include <gtest/gtest.h>

namespace encsync::control {
namespace {

using State = VrrpNotice::State;

TEST(VrrpNotice, TakesWhatKeepalivedWrites) {
    const auto group = VrrpNotice::parse("GROUP \"firewall\" MASTER 0");
    ASSERT_TRUE(group);
    EXPECT_TRUE(group->group);
    EXPECT_EQ(group->name, "firewall");
    EXPECT_EQ(group->word, "MASTER");
    EXPECT_EQ(group->state, State::master);
    const auto instance = VrrpNotice::parse("INSTANCE \"a \"b\" c\" BACKUP 255");
    ASSERT_TRUE(instance);
    EXPECT_FALSE(instance->group);
    EXPECT_EQ(instance->name, "a \"b\" c");
    EXPECT_EQ(instance->state, State::backup);
    for (const auto& [word, state] :
         {std::pair{"FAULT", State::fault}, std::pair{"STOP", State::stop},
          std::pair{"DELETED", State::deleted}, std::pair{"MASTER_RX_LOWER_PRI", State::none},
          std::pair{"MASTER_PRIORITY", State::none}, std::pair{"BACKUP_PRIORITY", State::none}}) {
        const auto notice = VrrpNotice::parse(std::string("INSTANCE \"x\" ") + word + " 100");
        ASSERT_TRUE(notice) << word;
        EXPECT_EQ(notice->state, state) << word;
    }
}

TEST(VrrpNotice, NamesWhatIsNotKnown) {
    for (const auto& [line, why] :
         {std::pair{"", "neither of a GROUP nor of an INSTANCE"},
          std::pair{"VS [192.0.2.1]:tcp:80 UP", "neither of a GROUP nor of an INSTANCE"},
          std::pair{"GROUP", "neither of a GROUP nor of an INSTANCE"},
          std::pair{"GROUP ", "without a name in quotes"},
          std::pair{"GROUP \"", "without a name in quotes"},
          std::pair{"GROUP \"\" MASTER 0", "without a name in quotes"},
          std::pair{"GROUP firewall MASTER 0", "without a name in quotes"},
          std::pair{"GROUP \"firewall\"", "without a state"},
          std::pair{"GROUP \"firewall\"MASTER 0", "without a state"},
          std::pair{"GROUP \"firewall\" {UNKNOWN} 0", "of a state that encsync does not know"},
          std::pair{"GROUP \"firewall\" master 0", "of a state that encsync does not know"},
          std::pair{"GROUP \"firewall\" MASTER", "without a priority"},
          std::pair{"GROUP \"firewall\" MASTER ", "without a priority"},
          std::pair{"GROUP \"firewall\" MASTER -1", "without a priority"},
          std::pair{"GROUP \"firewall\" MASTER 0 ", "without a priority"}}) {
        const auto notice = VrrpNotice::parse(line);
        ASSERT_FALSE(notice) << line;
        EXPECT_EQ(notice.error().text, why) << line;
    }
}

} // namespace
} // namespace encsync::control
