// SPDX-License-Identifier: ISC
// A pairing's peer, as bytes: the first says which side reads, 'c' or another. In pieces it must
// come to the same end as in one, and never to an agreement before the person has said yes.
#include "tests/unit/keys/sides.hpp"

using namespace encsync::keys;

namespace {

void require(bool holds) {
    if (!holds)
        std::abort();
}

// What is seen of a pairing from outside.
struct Seen {
    std::string error, code;
    std::vector<std::uint8_t> sent;
    bool agreed = false;
    bool operator==(const Seen&) const = default;
};

Seen feed(bool connects, encsync::Bytes bytes, std::size_t piece) {
    test::Side side = connects ? test::mickey() : test::minnie();
    Seen seen;
    while (!bytes.empty() && seen.error.empty()) {
        const std::size_t size = std::min(piece, bytes.size());
        if (auto ok = side.pairing.receive(bytes.first(size)); !ok)
            seen.error = ok.error().text;
        bytes = bytes.subspan(size);
    }
    require(!side.pairing.agreed());
    require(!side.pairing.code() || (side.pairing.peer() && side.pairing.opened()));
    seen.code = side.pairing.code().value_or("");
    side.pairing.confirm(side.identity);
    seen.agreed = side.pairing.agreed() != nullptr;
    seen.sent = side.pairing.take();
    return seen;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0)
        return 0;
    const encsync::Bytes bytes(data + 1, size - 1);
    const Seen whole = feed(data[0] == 'c', bytes, size);
    require(whole == feed(data[0] == 'c', bytes, 7));
    // Never more than one message of each kind.
    require(whole.sent.size() <= 4 * Pairing::kHeader + 129 + kMaxPublicText);
    return 0;
}
