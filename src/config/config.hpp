// SPDX-License-Identifier: ISC
// The configuration: an ipsec.conf-style file in, typed and checked values out.
// docs/configuration.md says what each option means; options.cpp is where each is declared.
//
//     Loaded loaded = load("/etc/encsync/encsync.conf");
//     std::fputs(render(loaded.diagnostics).c_str(), stderr);
//     if (!loaded.config)
//         return 1;
//
// All errors are reported at once. There is a Config only without errors; warnings do not prevent
// it. These functions throw no exceptions.
#pragma once

#include "config/diagnostic.hpp"
#include "ipsec/plugin/peer.hpp"
#include "net/listen.hpp"
#include "net/mac.hpp"
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
enum class DeferAck { far, near };
enum class Wire { encsync, openbsd, freebsd_1301, freebsd_1400, freebsd_1500, automatic };
enum class Auto { start, add, ignore };
enum class KeyExchange { ikev2 };
enum class Type { tunnel, transport, cable };
enum class Authby { pubkey, psk };
using ike::PpkUse;

// Of the option ifmap.
struct InterfacePair {
    std::string theirs; // as the firewall on the cable calls it
    std::string shared; // as all sites do
    bool operator==(const InterfacePair&) const = default;
};

// Members are options of the same name. Their defaults are only in options.cpp: default_setup() and
// default_conn() return them.
struct Setup {
    std::string node;
    std::string table; // a value of the option; see table/factory.hpp
    std::string syncdev;
    Ipsec ipsec{};
    std::string keydir;
    std::string keypassphrase; // a file; empty: the credential, if any
    Role role{};
    std::uint16_t ikeport = 0, natport = 0; // host order
    std::chrono::seconds joinwait{};
    std::chrono::seconds sweep{};
    std::string charonuser; // empty: the daemon chooses
    bool keysync = true;
    std::chrono::seconds rotate{};
    bool sandbox = true;
    log::Level loglevel{};
    bool synclocal = false;
    std::vector<net::Prefix> ignore;
    std::vector<state::NoSyncRule> nosync, refuse;
    std::chrono::milliseconds delay{}; // how old a flow must be to be announced
    bool defer = false;
    std::uint16_t deferqueue = 0; // of NFQUEUE
    DeferAck deferack{};
    std::uint8_t reserve = 0; // percent of the table
    net::Listen metricslisten;
    bool operator==(const Setup&) const = default;
};

// The value of an option that names a file of a certificate.
inline constexpr std::string_view kStored = "store";

// A peer for IKE, with proposals that have been checked, and the options that IKE does not use.
struct Conn : ike::Peer {
    Address left, right; // same family; right may be the group of pfsync: is_group()
    KeyExchange keyexchange{};
    std::uint32_t lifepackets = 0; // 0: limited by cipher and sequence numbers only
    std::uint8_t maxupd = 0;
    std::uint32_t maxstates = 0; // 0: no limit
    std::uint32_t maxpackets = 0, maxinserts = 0, maxrequests = 0,
                  maxclears = 0;         // a second; 0: any
    std::uint8_t maxshare = 0;           // percent of the table
    std::vector<std::uint32_t> creators; // empty: all
    Wire wire{};
    std::vector<state::NoSyncRule> nosync, refuse; // besides those of the setup
    std::vector<state::NoSyncRule> accept;         // empty: all
    Auto startup{}; // option auto; never Auto::ignore in Config::conns
    Type type{};
    std::string syncdev;              // of a cable: its interface
    bool multicast = false;           // of a cable: to the group instead of right
    std::vector<Address> speakers;    // of a cable to the group: who is heard; at most kMaxSpeakers
    std::vector<net::Mac> mac;        // of a cable: empty, or one for each of senders()
    std::vector<InterfacePair> ifmap; // of a cable with table=relay: no name twice on its side
    Authby authby{};
    std::chrono::seconds ppkrotate{};                        // 0: never
    std::array<std::string, ike::kCredentials.size()> files; // of credentials: file()
    std::uint16_t mtu = 0;                                   // bytes, of the outer path
    bool operator==(const Conn&) const = default;

    // Plain pfsync; else through the tunnel, and IKE knows the peer.
    bool is_cable() const { return type == Type::cable; }
    // Several firewalls on one cable: right=%multicast.
    bool is_group() const { return right.ip.is_multicast(); }
    // Whose packets are accepted: the speakers, or right alone.
    std::vector<Address> senders() const;
    // The path of the file that holds a credential; empty: none is named; of a certificate,
    // kStored: the key store has it.
    std::string& file(ike::CredentialKind kind) { return files[ike::index_of(kind)]; }
    const std::string& file(ike::CredentialKind kind) const { return files[ike::index_of(kind)]; }
    // Whether the peer authenticates with a key of `encsync keys trust`: it is not on a cable, and
    // none of its files has credentials for that. A peer has one way to authenticate, not a choice.
    bool by_trusted_key() const;
    // Whether the key store has that credential, under the peer's IKE id: a preshared key of
    // `encsync keys psk`, or a certificate of `encsync keys cert`.
    bool in_store(ike::CredentialKind kind) const;
};

struct Config {
    Setup setup;
    std::vector<Conn> conns; // in the order of the file; at most kMaxPeers
    bool operator==(const Config&) const = default;
};

// Whether the peer is an encsync node with a trusted key and nothing else: such nodes tell each
// other of their keys inside the tunnel. Another peer must be told by hand.
bool is_told_of_keys(const Setup& setup, const Conn& conn);

// Defaults that follow from other values (names, left and right, margintime) are left empty.
Setup default_setup();
Conn default_conn();

struct Loaded {
    std::optional<Config> config;
    std::vector<Diagnostic> diagnostics; // by place in the files
};

// What parse() reads besides the text; tests and the fuzzer have their own.
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

inline constexpr std::size_t kMaxSpeakers = 16;      // of one conn
inline constexpr std::size_t kMaxFileSize = 1 << 20; // bytes
inline constexpr std::size_t kMaxLineSize = 4096;    // bytes, without the line end
inline constexpr unsigned kMaxIncludeDepth = 8;
inline constexpr unsigned kMaxFiles = 256;
inline constexpr unsigned kMaxSections = 256;
inline constexpr unsigned kMaxDiagnostics = 100;

Loaded load(const std::string& path);
Loaded parse(std::string_view text, const std::string& filename, Environment& environment);

} // namespace encsync::config
