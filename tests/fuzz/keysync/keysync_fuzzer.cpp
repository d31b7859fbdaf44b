// SPDX-License-Identifier: ISC
// A peer's packet about keys. What is read is written again as it was; whatever it is, it makes
// this node ask for nothing that a peer may not ask for.
#include "keysync/key_sync.hpp"
#include "keysync/ppk_request.hpp"

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
            request.kind != Kind::retire_peer && request.kind != Kind::mix_ppk &&
            request.kind != Kind::offer_ppk && request.kind != Kind::settle_ppk)
            std::abort();
        if (request.kind == Kind::mix_ppk && !keysync::read_mix(request.text))
            std::abort();
        if (request.kind == Kind::offer_ppk && !keysync::read_offer(request.text))
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
    if (messages->ppk && !keysync::write(packet, *messages->ppk))
        std::abort();
    for (const std::string& text : messages->texts)
        if (!keysync::write(packet, text))
            return;
    if (packet.empty())
        return;
    const auto again = keysync::read(Bytes(room).first(packet.finish()));
    if (!again || again->state != messages->state || again->ppk != messages->ppk ||
        again->texts != messages->texts)
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
                         [](PeerId) { return std::nullopt; },
                         [] {},
                         [](const std::string&) {},
                         [](PeerId) { return std::nullopt; },
                         [](PeerId) {}};
    keysync::KeySync sync(link, &writer, hooks, {});
    keys::RawKey key{1};
    // To one it leads, to the other it does not.
    for (const std::string name : {"mickey", "zoe"}) {
        sync.set_own({name, {key}, {}, 0, {}});
        keysync::OwnPpks ppks{true, {{{keys::PpkId{1}, 1}, 0, {}}}, 0, {}};
        sync.set(0, {"minnie", {key}, ppks});
        sync.on_up(0);
        sync.on_packet(0, payload);
        sync.advance(keysync::Instant() + std::chrono::hours(1), 0);
    }
    return 0;
}
