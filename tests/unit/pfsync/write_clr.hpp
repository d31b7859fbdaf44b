// SPDX-License-Identifier: ISC
// CLR, which pf peers send and encsync only reads.
#pragma once

#include "pfsync/build.hpp"
#include "pfsync/common.hpp"

#include <algorithm>
#include <string_view>

namespace encsync::pfsync {

// A long name is truncated instead of omitted: no name means every interface.
inline void write_clr(std::uint8_t* m, std::string_view ifname, std::uint32_t creatorid) {
    ifname = ifname.substr(0, common::kIfnameSize - 1);
    std::copy(ifname.begin(), ifname.end(), m + common::clr::ifname);
    store_be(m + common::clr::creatorid, creatorid);
}

} // namespace encsync::pfsync
