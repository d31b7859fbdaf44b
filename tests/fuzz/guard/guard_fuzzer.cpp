// SPDX-License-Identifier: ISC
// Inner packets: whatever is accepted lies within the packet and has the SA's addresses.
#include "policy/guard.hpp"

#include <algorithm>
#include <cstdlib>

using namespace encsync;
using namespace encsync::policy;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes input(data, size);
    // The selectors of the seed corpus.
    const esp::InnerAddress four_from{{192, 168, 1, 101}, false},
        four_to{{192, 168, 1, 100}, false};
    const esp::InnerAddress six_from{{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
                                     true},
        six_to{{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}, true};
    for (const Selectors& s : {Selectors{four_from, four_to}, Selectors{six_from, six_to}}) {
        const Checked c = check(input, s);
        if ((c.verdict == Verdict::accept) == c.payload.empty())
            std::abort();
        if (c.verdict != Verdict::accept)
            continue;
        const std::size_t header = s.source.ipv6 ? 40 : 20;
        if (c.payload.data() != data + header || c.payload.size() != size - header ||
            !std::equal(s.source.bytes.begin(), s.source.bytes.begin() + (s.source.ipv6 ? 16 : 4),
                        data + (s.source.ipv6 ? 8 : 12)))
            std::abort();
    }
    return 0;
}
