// SPDX-License-Identifier: ISC
// The configuration: an ipsec.conf-style file in, typed and checked values out.
// docs/configuration.md says what each option means; options.cpp is where each is declared.
//
//     Loaded loaded = load("/etc/encsync/encsync.conf");
//     std::fputs(render(loaded.diagnostics).c_str(), stderr);
//     if (!loaded.config)
//         return 1;
//
// All errors are reported at once. There is a Config only without errors; warnings do not matter.
// These functions throw no exceptions.
#pragma once

#include "config/diagnostic.hpp"
#include "ipsec/plugin/peer.hpp"
#include "net/prefix.hpp"
#include "state/nosync.hpp"
#include "util/log.hpp"
#include "util/result.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::config {

// Where a sync link ends.
struct Address {
    net::Address ip{};
    std::string scope{}; // of a link-local address: the name of its interface
    bool operator==(const Address&) const = default;
};
std::string to_string(const Address& address);

enum class Ipsec { automatic, userspace, kernel };
enum class Role { automatic, active, standby };
enum class Wire { encsync, openbsd, freebsd_1301, freebsd_1400, freebsd_1500, automatic };
enum class Auto { start, add, ignore };
enum class KeyExchange { ikev2 };
enum class Type { tunnel, transport };
enum class Authby { pubkey, psk };

// Members are options of the same name. What their defaults are is said once, in options.cpp:
// default_setup() and default_conn() give them.
struct Setup {
    std::string node;
    std::string table; // a value of the option; see table/factory.hpp
    std::string syncdev;
    Ipsec ipsec{};
    std::string keydir;
    Role role{};
    std::uint16_t ikeport = 0, natport = 0; // host order
    std::chrono::seconds joinwait{};
    std::chrono::seconds sweep{};
    std::string charonuser; // empty: the daemon chooses
    bool sandbox = true;
    log::Level loglevel{};
    bool synclocal = false;
    std::vector<net::Prefix> ignore;
    std::vector<state::NoSyncRule> nosync, refuse;
    std::chrono::milliseconds delay{}; // how old a flow must be to be announced
    bool defer = false;
    std::uint16_t deferqueue = 0; // of NFQUEUE
    bool operator==(const Setup&) const = default;
};

// What IKE needs of a peer, whose proposals have no word that is not known to us, and the rest.
struct Conn : ike::Peer {
    Address left, right; // same family
    KeyExchange keyexchange{};
    std::uint32_t lifepackets = 0; // 0: as many as the cipher and the sequence numbers allow
    std::uint8_t maxupd = 0;
    Wire wire{};
    std::vector<state::NoSyncRule> nosync, refuse; // besides those of the setup
    Auto startup{}; // option auto; never Auto::ignore in Config::conns
    Type type{};
    Authby authby{};
    std::array<std::string, ike::kCredentials.size()> files; // of credentials: file()
    std::uint16_t mtu = 0;                                   // bytes, of the outer path
    bool operator==(const Conn&) const = default;

    // The path of the file that holds a credential; empty: none is named.
    std::string& file(ike::CredentialKind kind) { return files[ike::index_of(kind)]; }
    const std::string& file(ike::CredentialKind kind) const { return files[ike::index_of(kind)]; }
    // Whether the peer proves itself with a key of `encsync keys trust`: no file that is named
    // holds anything else for that. It has one way, not a choice of them.
    bool by_trusted_key() const;
};

struct Config {
    Setup setup;
    std::vector<Conn> conns; // in the order of the file; at most kMaxPeers
    bool operator==(const Config&) const = default;
};

// Defaults that follow from other values (names, left and right, margintime) are left empty.
Setup default_setup();
Conn default_conn();

struct Loaded {
    std::optional<Config> config;
    std::vector<Diagnostic> diagnostics; // by place in the files
};

// The environment of parse() besides the text; tests and the fuzzer have their own.
class Environment {
  public:
    virtual ~Environment() = default;
    // The files that an include line names, in order; relative ones are relative to the folder
    // of `including_file`. A pattern may match nothing; a plain name is returned as it is.
    virtual std::vector<std::string> expand(const std::string& pattern,
                                            const std::string& including_file) = 0;
    // The whole file; an error is the reason alone ("No such file or directory").
    virtual Result<std::string> read(const std::string& path) = 0;
    virtual std::string host_name() = 0;
};

inline constexpr std::size_t kMaxFileSize = 1 << 20; // bytes
inline constexpr std::size_t kMaxLineSize = 4096;    // bytes, without the line end
inline constexpr unsigned kMaxIncludeDepth = 8;
inline constexpr unsigned kMaxFiles = 256;
inline constexpr unsigned kMaxSections = 256;
inline constexpr unsigned kMaxDiagnostics = 100;

Loaded load(const std::string& path);
Loaded parse(std::string_view text, const std::string& filename, Environment& environment);

} // namespace encsync::config
