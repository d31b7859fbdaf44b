// SPDX-License-Identifier: ISC
// Inner packets: an accepted payload is inside the packet, which has the SA's addresses.
#include "policy/guard.hpp"

#include <cstdlib>

using namespace encsync;
using namespace encsync::policy;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes input(data, size);
    // The selectors of the seed corpus.
    static const Selectors four{{net::Address{{192, 168, 1, 101}}}, {{192, 168, 1, 100}}};
    static const Selectors six{{net::parse_address("2001:db8::1").value()},
                               net::parse_address("2001:db8::2").value()};
    for (const Selectors& s : {four, six}) {
        const Checked c = check(input, s);
        if ((c.verdict == Verdict::accept) == c.payload.empty())
            std::abort();
        if (c.verdict != Verdict::accept)
            continue;
        const bool v6 = s.sources[0].is_v6();
        const std::size_t header = v6 ? 40 : 20;
        if (c.payload.data() != data + header || c.payload.size() != size - header ||
            s.sources[0] != net::Address::read(data + (v6 ? 8 : 12), s.sources[0].family))
            std::abort();
    }
    return 0;
}
