// SPDX-License-Identifier: ISC
#include "policy/sections.hpp"

namespace encsync::policy {

namespace ext = pfsync::extension;

std::size_t extension_size(const pfsync::Section& section) {
    if (!traits(section.layout).extensible())
        return 0;
    switch (section.action) {
    case ext::kHello:
        return ext::hello::size;
    case ext::kSeq:
        return ext::seq::size;
    case ext::kAck:
        return ext::ack::bitmap + 4;
    case ext::kRoot:
        return ext::root::size;
    case ext::kAsk:
        return ext::ask::size;
    case ext::kSums:
        return ext::sums::size;
    case ext::kList:
        return ext::list::size;
    case ext::kAbsent:
        return ext::absent::size;
    case ext::kExpect:
        return ext::expect::size;
    default:
        return 0;
    }
}

} // namespace encsync::policy
