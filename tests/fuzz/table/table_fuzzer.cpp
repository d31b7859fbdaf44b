// SPDX-License-Identifier: ISC
// conntrack's and rtnetlink's messages, as if the kernel had sent them.
#include "table/conntrack/ctnetlink_build.hpp"
#include "table/conntrack/ctnetlink_expect.hpp"
#include "table/conntrack/ctnetlink_parse.hpp"
#include "table/conntrack/netlink.hpp"
#include "table/conntrack/rtnetlink.hpp"
#include "table/progress.hpp"

#include <array>
#include <cstdlib>

using namespace encsync;
using namespace encsync::table;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Bytes input(data, size);
    LocalAddresses addresses;
    AddressMonitor::apply(input, addresses);

    FilterOptions options;
    options.nosync = state::NoSync({state::NoSyncRule{.mark = state::MarkMatch{0, 1}},
                                    state::NoSyncRule{.ports = net::PortRange{53, 53}}});
    Filter filter(std::move(options));
    for (netlink::Messages m(input); m.next();) {
        if (ctnetlink::ExpectEntry e, again;
            ctnetlink::parse(m.message(), e) == ctnetlink::Fault::none) {
            std::array<std::uint8_t, ctnetlink::kMaxExpectRequest> buffer{};
            const std::size_t n =
                ctnetlink::build(buffer, ctnetlink::ExpectRequest::create, e.expectation, {}, 1);
            if (n == 0 ||
                ctnetlink::parse(Bytes(buffer).first(n), again) != ctnetlink::Fault::none ||
                again.expectation.tuple.dst != e.expectation.tuple.dst ||
                again.expectation.function != e.expectation.function)
                std::abort();
        }
        ctnetlink::Entry entry;
        if (ctnetlink::parse(m.message(), entry) != ctnetlink::Fault::none)
            continue;
        const auto why = filter.ignored(entry.flow);
        if (!why && (entry.flow.mark & 1) == 0)
            std::abort();
        // A parsed entry can be written, and its key reads back.
        std::array<std::uint8_t, ctnetlink::kMaxRequest> buffer{};
        const std::size_t n =
            ctnetlink::build(buffer, ctnetlink::Request::create, entry.flow, 1, 1);
        ctnetlink::Entry again;
        if (n == 0 || ctnetlink::parse(Bytes(buffer).first(n), again) != ctnetlink::Fault::none ||
            again.flow.key.proto != entry.flow.key.proto ||
            again.flow.key.orig.src != entry.flow.key.orig.src ||
            again.flow.key.zone != entry.flow.key.zone ||
            again.flow.extras.reply_zone != entry.flow.extras.reply_zone)
            std::abort();
    }
    return 0;
}
