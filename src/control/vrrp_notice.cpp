// SPDX-License-Identifier: ISC
#include "control/vrrp_notice.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

namespace encsync::control {

namespace {

using State = VrrpNotice::State;

struct Word {
    std::string_view word;
    State state;
};
constexpr Word kWords[] = {
    {"MASTER", State::master},        {"BACKUP", State::backup},
    {"FAULT", State::fault},          {"STOP", State::stop},
    {"DELETED", State::deleted},      {"MASTER_RX_LOWER_PRI", State::none},
    {"MASTER_PRIORITY", State::none}, {"BACKUP_PRIORITY", State::none},
};

bool digits(std::string_view text) {
    return !text.empty() && text.size() <= 3 &&
           std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

} // namespace

Result<VrrpNotice> VrrpNotice::parse(std::string_view line) {
    VrrpNotice notice;
    std::string_view rest = line;
    if (rest.starts_with("GROUP "))
        notice.group = true;
    else if (!rest.starts_with("INSTANCE "))
        return Error{"neither of a GROUP nor of an INSTANCE"};
    rest.remove_prefix(rest.find(' ') + 1);
    // keepalived does not escape quotes in the name; state and priority contain none.
    const auto quote = rest.rfind('"');
    if (!rest.starts_with('"') || quote < 2)
        return Error{"without a name in quotes"};
    notice.name = rest.substr(1, quote - 1);
    rest.remove_prefix(quote + 1);
    if (!rest.starts_with(' '))
        return Error{"without a state"};
    rest.remove_prefix(1);
    const auto space = rest.find(' ');
    notice.word = rest.substr(0, space);
    const auto* row = std::ranges::find(kWords, std::string_view(notice.word), &Word::word);
    if (row == std::end(kWords))
        return Error{"of a state that encsync does not know"};
    if (space == rest.npos || !digits(rest.substr(space + 1)))
        return Error{"without a priority"};
    notice.state = row->state;
    return notice;
}

} // namespace encsync::control
