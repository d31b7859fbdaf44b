// SPDX-License-Identifier: ISC
// Inner packets: an accepted payload is inside the packet, which has the SA's addresses. Its
// messages are judged one by one, and each refusal is counted.
#include "policy/trial.hpp"

#include <cstdlib>

using namespace encsync;
using namespace encsync::policy;

namespace {

void judge(Bytes payload) {
    static const table::Filter filter{{}};
    Verdict verdict({.creators = {1, 2}, .max_inserts = 2, .max_states = 100}, 7);
    Trial trial(verdict, filter, payload.size() % 2 == 0);
    std::uint64_t refused = 0, counted = 0;
    for (const Judged& each : trial.messages(payload, std::nullopt, Time{}))
        refused += each.why != Reason::accept ? 1 : 0;
    for (const std::uint64_t n : verdict.counters().refused)
        counted += n;
    if (refused != counted)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes input(data, size);
    // The selectors of the seed corpus.
    static const Selectors four{{net::Address{{192, 168, 1, 101}}}, {{192, 168, 1, 100}}};
    static const Selectors six{{net::parse_address("2001:db8::1").value()},
                               net::parse_address("2001:db8::2").value()};
    for (const Selectors& s : {four, six}) {
        const Checked c = check(input, s);
        if ((c.why == Reason::accept) == c.payload.empty())
            std::abort();
        if (c.why != Reason::accept)
            continue;
        const bool v6 = s.sources[0].is_v6();
        const std::size_t header = v6 ? 40 : 20;
        if (c.payload.data() != data + header || c.payload.size() != size - header ||
            s.sources[0] != net::Address::read(data + (v6 ? 8 : 12), s.sources[0].family))
            std::abort();
        judge(c.payload);
    }
    return 0;
}
