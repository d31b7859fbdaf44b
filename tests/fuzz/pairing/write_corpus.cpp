// SPDX-License-Identifier: ISC
// Writes the seed corpus: what each side of a whole pairing reads, and a refusal. Run by hand after
// the messages have changed: pairing_corpus tests/fuzz/corpus/pairing_fuzzer
#include "tests/unit/keys/sides.hpp"

#include <fstream>

using namespace encsync::keys;

namespace {

void write(const std::string& path, char side, const test::Message& message) {
    std::ofstream out(path, std::ios::binary);
    out.put(side);
    out.write(reinterpret_cast<const char*>(message.data()), static_cast<long>(message.size()));
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 2)
        return 2;
    const std::string folder(argv[1]);
    auto mickey = test::mickey(), minnie = test::minnie();
    test::Message from_mickey, from_minnie;
    for (int round = 0; round < 4; round++) {
        const auto a = mickey.pairing.take(), b = minnie.pairing.take();
        from_mickey.insert(from_mickey.end(), a.begin(), a.end());
        from_minnie.insert(from_minnie.end(), b.begin(), b.end());
        if (!mickey.pairing.receive(b) || !minnie.pairing.receive(a))
            return 1;
        mickey.pairing.confirm(mickey.identity);
        minnie.pairing.confirm(minnie.identity);
    }
    if (!mickey.pairing.agreed() || !minnie.pairing.agreed())
        return 1;
    write(folder + "/for-connector", 'c', from_minnie);
    write(folder + "/for-listener", 'l', from_mickey);
    auto other = test::minnie();
    other.pairing.take();
    other.pairing.decline();
    write(folder + "/refusal", 'c', other.pairing.take());
    return 0;
}
