// SPDX-License-Identifier: ISC
#include "ipsec/plugin/charon_launcher.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/core.h>

namespace encsync::supervisor {

namespace {

// strongSwan's own key derivation, which its openssl plugin cannot do with Debian 12's OpenSSL. It
// can with Debian 13's, where this plugin is in a package that nothing else here needs.
const char* kdf(const CharonOptions& options) {
    const auto plugins = std::filesystem::path(options.charon).parent_path() / "plugins";
    std::error_code error;
    return std::filesystem::exists(plugins / "libstrongswan-kdf.so", error) ? "kdf " : "";
}

} // namespace

std::string charon_config(const CharonOptions& options) {
    // A request is sent at once and then every second; it times out one second after the last try,
    // so that everything fits into dpdtimeout, including up to a second of DPD's own delay.
    const auto tries = std::clamp<long>(options.dpdtimeout.count() - 2, 1, 600);
    return fmt::format(R"(charon {{
    # What is not needed is not there: no files, no other sockets, no kernel.
    load = random nonce openssl {}pubkey constraints encsync!
    threads = 8
    replay_window = 4096
    # Of IKE messages, which are never cut into IP fragments on port 4500: what any path carries
    # (576 bytes, IPv6: 1280).
    fragment_size = 0

    retransmit_timeout = 1.0
    retransmit_base = 1.0
    retransmit_tries = {}
    half_open_timeout = 10
    # Whoever can forge a peer's address shall not be able to lock the peer out, so the limit by
    # address is none in effect; cookies keep those out who cannot also receive there.
    cookie_threshold_ip = 3
    cookie_threshold = 20
    block_threshold = 1000
    init_limit_half_open = 1000

    # A new authentication takes over before the old SAs go; SAs that were rekeyed go on receiving.
    make_before_break = yes
    delete_rekeyed_delay = 5
    close_ike_on_child_failure = yes
    keep_alive = 0
    install_routes = no
    install_virtual_ip = no
    process_route = no

    plugins {{
        encsync {{
            log = {}
        }}
    }}
    # Only what goes wrong before the plugin can speak.
    filelog {{
        stderr {{
            default = -1
            dmn = 1
            lib = 1
        }}
    }}
    syslog {{
        daemon {{
            default = -1
        }}
        auth {{
            default = -1
        }}
    }}
}}
)",
                       kdf(options), tries, options.debug ? 1 : -1);
}

} // namespace encsync::supervisor
