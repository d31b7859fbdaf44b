// SPDX-License-Identifier: ISC
// A peer's packet about keys. What is read is written again as it was; whatever it is, it makes
// this node ask for nothing that a peer may not ask for.
#include "keysync/key_sync.hpp"

#include <cstdlib>

using namespace encsync;

namespace {

class NoLink : public sync::Link {
    MutableBytes acquire(PeerId) override { return room_; }
    void commit(PeerId, std::size_t) override {}
    void flush() override {}
    std::array<std::uint8_t, 1400> room_{};
};

class Asked : public keysync::Writer {
    void ask(const keysync::Request& request, std::function<void(const std::string&)>) override {
        using Kind = keysync::Request::Kind;
        if (request.kind != Kind::trust && request.kind != Kind::revoke &&
            request.kind != Kind::retire_peer)
            std::abort();
    }
};

void check_as_written(Bytes payload) {
    const auto messages = keysync::read(payload);
    if (!messages)
        return;
    std::array<std::uint8_t, 65536> room;
    pfsync::Builder packet(room);
    if (messages->state && !keysync::write(packet, *messages->state))
        std::abort();
    for (const std::string& text : messages->texts)
        if (!keysync::write(packet, text))
            return;
    if (packet.empty())
        return;
    const auto again = keysync::read(Bytes(room).first(packet.finish()));
    if (!again || again->state != messages->state || again->texts != messages->texts)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (sodium_init() < 0)
        std::abort();
    const Bytes payload(data, size);
    keysync::is_about_keys(payload);
    check_as_written(payload);
    NoLink link;
    Asked writer;
    keysync::Hooks hooks{[](PeerId, const keys::RawKey&) { return false; },
                         [](PeerId) { return std::nullopt; }, [] {}, [](const std::string&) {}};
    keysync::KeySync sync(link, &writer, hooks, {});
    keys::RawKey key{1};
    sync.set_own({{key}, {}, 0, {}});
    sync.set(0, {"minnie", {key}});
    sync.on_up(0);
    sync.on_packet(0, payload);
    sync.advance(keysync::Instant() + std::chrono::hours(1), 0);
    return 0;
}
