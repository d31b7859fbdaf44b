// SPDX-License-Identifier: ISC
// Any packet is either refused, or is a message that is encoded to exactly the same packet.
#include "ipsec/plugin/channel.hpp"

#include <algorithm>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto message = encsync::channel::decode({data, size});
    if (!message)
        return 0;
    const auto packet = encsync::channel::encode(*message);
    if (!packet || !std::equal(packet->begin(), packet->end(), data, data + size))
        std::abort();
    return 0;
}
