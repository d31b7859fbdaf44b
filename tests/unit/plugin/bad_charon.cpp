// SPDX-License-Identifier: ISC
// Replaces a charon with a fault: sends invalid messages on the channel, and keeps running. Linked
// statically, so that the plugin is not loaded into it.
#include <cstdint>
#include <initializer_list>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

int main() {
    const auto say = [](std::initializer_list<std::uint8_t> bytes) {
        const std::vector<std::uint8_t> packet(bytes);
        return ::send(3, packet.data(), packet.size(), MSG_NOSIGNAL) >= 0;
    };
    static const char line[] = "I am not charon\n";
    bool ok = ::write(2, line, sizeof line - 1) > 0;
    ok = ok && say({16, 0, 0, 0, 1});                  // Pong before Hello
    ok = ok && say({9, 0, 0, 0, 1, 0, 0, 0, 1, 'x'});  // Hello
    ok = ok && say({9, 0, 0, 0, 1, 0, 0, 0, 1, 'x'});  // again
    ok = ok && say({99}) && say({99}) && say({12, 0}); // unknown, unknown, half a DeleteSa
    ok = ok && say({8});                               // Shutdown, a message of the other direction
    for (;;)
        ::pause(); // answers no ping
    return ok ? 0 : 1;
}
