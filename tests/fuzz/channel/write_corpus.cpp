// SPDX-License-Identifier: ISC
// Writes the seed corpus: one packet of each kind of message. Run by hand after the channel has
// changed: channel_corpus tests/fuzz/corpus/channel_fuzzer
#include "tests/unit/plugin/messages.hpp"

#include <cstdio>
#include <fmt/core.h>
#include <fstream>

int main(int argc, char** argv) {
    if (argc != 2)
        return 2;
    for (const auto& message : encsync::channel::test::one_of_each()) {
        const auto packet = encsync::channel::encode(message);
        if (!packet)
            return 1;
        std::ofstream out(fmt::format("{}/{:02}", argv[1], message.index() + 1), std::ios::binary);
        out.write(reinterpret_cast<const char*>(packet->data()), static_cast<long>(packet->size()));
    }
    return 0;
}
