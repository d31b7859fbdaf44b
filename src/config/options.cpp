// SPDX-License-Identifier: ISC
#include "config/options.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <type_traits>

namespace encsync::config {

namespace {

// T is Setup, or what a Conn consists of.
template<class T>
T* section_of(Target target) {
    if constexpr (std::is_same_v<T, Setup>)
        return target.setup;
    else
        return target.conn;
}

Verdict read_text(const Option& option, std::string_view text, std::string& out) {
    switch (option.type) {
    case ValueType::word: {
        int value = 0;
        Verdict problem = read_word(text, option.words, value);
        if (!problem)
            out = text;
        return problem;
    }
    case ValueType::name:
        return read_name(text, out);
    case ValueType::interface:
        return read_interface(text, out);
    case ValueType::path:
        return read_path(text, out);
    case ValueType::user:
        return read_user(text, out);
    case ValueType::ike_proposal:
        return read_ike_proposal(text, out);
    case ValueType::esp_proposal:
        return read_esp_proposal(text, out);
    default:
        return Problem{"no reader for this option", 0, {}};
    }
}

template<class Section, class T>
Verdict store_in(T Section::*member, const Option& option, std::string_view text, Target target) {
    T& out = section_of<Section>(target)->*member;
    if constexpr (std::is_same_v<T, std::chrono::seconds> ||
                  std::is_same_v<T, std::chrono::milliseconds>) {
        return read_duration(text, option.limits, out);
    } else if constexpr (std::is_same_v<T, Address>) {
        return read_address(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<net::Prefix>>) {
        return read_prefixes(text, out);
    } else if constexpr (std::is_same_v<T, std::vector<state::NoSyncRule>>) {
        return read_nosync(text, out);
    } else if constexpr (std::is_same_v<T, std::string>) {
        return read_text(option, text, out);
    } else if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
        int value = 0;
        Verdict problem = read_word(text, option.words, value);
        if (!problem)
            out = static_cast<T>(value);
        return problem;
    } else {
        std::uint32_t value = 0;
        Verdict problem = read_number(text, option.limits, value);
        if (!problem)
            out = static_cast<T>(value);
        return problem;
    }
}

template<auto kMember>
Verdict store(const Option& option, std::string_view text, Target target) {
    return store_in(kMember, option, text, target);
}

template<ike::CredentialKind kKind>
Verdict store_file(const Option&, std::string_view text, Target target) {
    return read_path(text, target.conn->file(kKind));
}

template<class E>
constexpr Word word(std::string_view text, E value) {
    return {text, static_cast<int>(value), false};
}
constexpr Word later(std::string_view text) {
    return {text, 0, true};
}

constexpr std::array kTableWords = {Word{"conntrack"}, Word{"memory"}, later("relay")};
constexpr std::array kIpsecWords = {word("auto", Ipsec::automatic),
                                    word("userspace", Ipsec::userspace),
                                    word("kernel", Ipsec::kernel)};
constexpr std::array kRoleWords = {word("auto", Role::automatic), word("active", Role::active),
                                   word("standby", Role::standby)};
constexpr std::array kLevelWords = {
    word("error", log::Level::error), word("warning", log::Level::warning),
    word("notice", log::Level::notice), word("info", log::Level::info),
    word("debug", log::Level::debug)};
constexpr std::array kYesNo = {word("yes", true), word("no", false)};
constexpr std::array kKeyExchangeWords = {word("ikev2", KeyExchange::ikev2)};
constexpr std::array kWireWords = {
    word("encsync", Wire::encsync),           word("openbsd", Wire::openbsd),
    word("freebsd-1301", Wire::freebsd_1301), word("freebsd-1400", Wire::freebsd_1400),
    word("freebsd-1500", Wire::freebsd_1500), word("auto", Wire::automatic)};
constexpr std::array kAutoWords = {word("start", Auto::start), word("add", Auto::add),
                                   word("ignore", Auto::ignore)};
constexpr std::array kTypeWords = {word("tunnel", Type::tunnel),
                                   word("transport", Type::transport)};
constexpr std::array kAuthbyWords = {word("pubkey", Authby::pubkey), word("psk", Authby::psk),
                                     word("secret", Authby::psk)};

using enum ike::CredentialKind;
constexpr SectionKind kSetup = SectionKind::setup;
constexpr SectionKind kConn = SectionKind::conn;
constexpr std::uint32_t kMinute = 60, kHour = 3600, kDay = 86400;

constexpr std::array kOptions = {
    // ---- config setup ----------------------------------------------------------------------
    Option{"node", kSetup, ValueType::name, "", "the host's name", "mickey",
           "The name of this firewall. It is the IKE identity that the peers know it by, so it "
           "must differ from theirs.",
           store<&Setup::node>},
    Option{"table",
           kSetup,
           ValueType::word,
           "conntrack",
           "",
           "conntrack",
           "Where this node's states live: `conntrack` is the Linux kernel's own table; `memory` "
           "is a table in the process, for trying things out. `relay`, for a pf firewall behind "
           "this node, is not supported yet.",
           store<&Setup::table>,
           {},
           kTableWords},
    Option{"syncdev", kSetup, ValueType::interface, "enc0", "", "enc0",
           "The interface on which the clear pfsync packets of all tunnels can be watched: "
           "`tcpdump -i enc0`. What other programs write into it is dropped.",
           store<&Setup::syncdev>},
    Option{
        "ipsec",
        kSetup,
        ValueType::word,
        "auto",
        "",
        "userspace",
        "Who encrypts. `userspace`: encsyncd itself; it needs a TUN device and nothing else of "
        "the kernel, is faster, and hides the sizes of packets. `kernel`: the kernel's ESP behind "
        "an xfrm interface named by `syncdev`, in tunnel mode only. Both are the same on the "
        "wire, so one end may use this and the other that. `auto` takes `userspace` wherever it "
        "can, else `kernel`; the log and `encsync status` say which, and why.",
        store<&Setup::ipsec>,
        {},
        kIpsecWords},
    Option{"keydir", kSetup, ValueType::path, "/var/lib/encsync/keys", "", "/var/lib/encsync/keys",
           "The directory of this node's secret key and of the public keys it trusts. It belongs "
           "to root and nobody else may read it.",
           store<&Setup::keydir>},
    Option{"role",
           kSetup,
           ValueType::word,
           "auto",
           "",
           "auto",
           "Whether this node forwards traffic (`active`) or waits to take over (`standby`). With "
           "`auto` it is told at run time, by keepalived or by `encsync role`; until then, what "
           "passes through it shows it. A role that was told stays until the next boot, whatever "
           "this says.",
           store<&Setup::role>,
           {},
           kRoleWords},
    Option{"ikeport",
           kSetup,
           ValueType::number,
           "500",
           "",
           "500",
           "The UDP port of IKE, the same on all nodes.",
           store<&Setup::ikeport>,
           {1, 65535}},
    Option{"natport",
           kSetup,
           ValueType::number,
           "4500",
           "",
           "4500",
           "The UDP port of ESP in UDP (RFC 3948) and of IKE after its first exchange, the same "
           "on all nodes.",
           store<&Setup::natport>,
           {1, 65535}},
    Option{"joinwait",
           kSetup,
           ValueType::duration,
           "30s",
           "",
           "30s",
           "How long a node that has just started waits for a peer to bring it up to date. After "
           "this time without any peer it counts as in step, so that a lone survivor of a power "
           "cut can serve.",
           store<&Setup::joinwait>,
           {1, kHour}},
    Option{
        "sweep",
        kSetup,
        ValueType::duration,
        "1m",
        "",
        "10s",
        "How often all entries of the kernel are compared with what encsyncd knows, whatever the "
        "kernel's events said: copies that are missing are put back, and changes and ends of "
        "which no event told reach the peers. Less often where that would cost more than half a "
        "percent of one core's time.",
        store<&Setup::sweep>,
        {5, kDay}},
    Option{"charonuser", kSetup, ValueType::user, "",
           "`encsync` if there is such a user, else `nobody`", "encsync",
           "The unprivileged user that charon, strongSwan's IKE daemon, runs as.",
           store<&Setup::charonuser>},
    Option{"sandbox",
           kSetup,
           ValueType::word,
           "yes",
           "",
           "no",
           "Whether encsyncd, once everything is open, gives up all capabilities but "
           "`CAP_NET_ADMIN` and `CAP_NET_BIND_SERVICE` (with `ipsec=kernel` also `CAP_NET_RAW`), "
           "and all system calls that it does not need (seccomp). `no` is for finding out whether "
           "the sandbox is what is in the way: "
           "the kernel's log names what it refused.",
           store<&Setup::sandbox>,
           {},
           kYesNo},
    Option{"loglevel",
           kSetup,
           ValueType::word,
           "info",
           "",
           "notice",
           "The least important messages that are still logged.",
           store<&Setup::loglevel>,
           {},
           kLevelWords},
    Option{"synclocal",
           kSetup,
           ValueType::word,
           "no",
           "",
           "no",
           "Whether flows that begin or end on the firewall itself are kept in step too. A peer "
           "that takes over does not have their sockets, so `no` is what one wants, unless such "
           "flows belong to a shared address.",
           store<&Setup::synclocal>,
           {},
           kYesNo},
    Option{"ignore", kSetup, ValueType::prefixes, "", "nothing", "10.9.0.0/24, 2001:db8:9::/64",
           "Flows with an address in one of these prefixes are not kept in step: a management "
           "network, say, or a link that is each node's own. No peer is told of them, and what a "
           "peer tells of them is not taken.",
           store<&Setup::ignore>},
    Option{"nosync", kSetup, ValueType::nosync, "", "nothing",
           "mark 0x10/0x10, proto udp and port 53",
           "Flows that no peer is told of, by rules that are explained above. As far as they can "
           "be, they are left out by the kernel already. What a peer tells of such a flow is "
           "taken nonetheless, as in pf: `nosync` is about what this node sends, `refuse` about "
           "what it takes.",
           store<&Setup::nosync>},
    Option{"refuse", kSetup, ValueType::nosync, "", "nothing", "dst 10.9.0.0/24, zone 7",
           "Flows that are taken from no peer, by rules like those of `nosync`. Such a flow is "
           "not put into the state table, also not by a takeover. `encsync peers --json` counts "
           "what is not taken, by reason (`refused_states`). Whatever is said here, no peer can "
           "make a state of a flow that begins or ends on this firewall itself (but with "
           "`synclocal=yes`, and never of its IKE and ESP), of loopback, multicast or unspecified "
           "addresses, or of the protocols of firewalls (VRRP, pfsync, ESP, AH, IGMP).",
           store<&Setup::refuse>},
    Option{
        "delay",
        kSetup,
        ValueType::fine_duration,
        "0",
        "",
        "500ms",
        "How long a flow must have lived before the peers are told of it. Most flows are over "
        "within a second: not to announce those saves half of the traffic and more. A connection "
        "that is closed by then is not announced at all; of UDP it takes the kernel's timer "
        "(`nf_conntrack_udp_timeout`) to end one. When a node dies, its flows that are younger "
        "die with it; one that is made `standby` tells of them at once.",
        store<&Setup::delay>,
        {0, kMinute}},
    Option{"defer",
           kSetup,
           ValueType::word,
           "no",
           "",
           "no",
           "Whether the first packet of a new flow is held back until all peers in step have "
           "acknowledged the flow, or 20 ms have passed (pfsync(4)). It is for two nodes that "
           "forward at the same time, where the answer may come through the other one. At most 128 "
           "packets wait at a time; further ones, and all while encsyncd is down, go at once. It "
           "takes a kernel with nft_queue and nfnetlink_queue, without which encsyncd does not "
           "start, and does not go together with `delay`.",
           store<&Setup::defer>,
           {},
           kYesNo},
    Option{"deferqueue",
           kSetup,
           ValueType::number,
           "240",
           "",
           "240",
           "The number of the NFQUEUE that `defer` uses. No other program may use it in this "
           "network namespace.",
           store<&Setup::deferqueue>,
           {0, 65535}},
    // ---- conn ------------------------------------------------------------------------------
    Option{"left", kConn, ValueType::address, "", "none: it must be given", "192.168.1.100",
           "This firewall's address towards the peer. It must be on one of its interfaces, and "
           "not an address that moves on a takeover. A link-local one is written with its "
           "interface, `fe80::1%sync`; it takes `ipsec=userspace`, and a `right` on the same "
           "interface.",
           store<&Conn::left>},
    Option{"right",
           kConn,
           ValueType::address,
           "",
           "none: it must be given",
           "192.168.1.101",
           "The peer's address, of the same family as `left`. Two peers differ in it, whatever "
           "the interface.",
           store<&Conn::right>,
           {},
           {},
           "syncpeer"},
    Option{"leftid", kConn, ValueType::name, "", "`node`", "mickey",
           "The IKE identity that this node shows to the peer.", store<&Conn::leftid>},
    Option{"rightid", kConn, ValueType::name, "", "the name of the conn", "minnie",
           "The IKE identity that the peer must prove: the `node` of its own configuration, and "
           "the name under which its public key is trusted here.",
           store<&Conn::rightid>},
    Option{"keyexchange",
           kConn,
           ValueType::word,
           "ikev2",
           "",
           "ikev2",
           "Accepted so that a conn can be brought over from strongSwan. There is nothing but "
           "IKEv2.",
           store<&Conn::keyexchange>,
           {},
           kKeyExchangeWords},
    Option{"ike", kConn, ValueType::ike_proposal, "aes256gcm16-prfsha384-curve25519", "",
           "chacha20poly1305-prfsha512-curve25519",
           "What protects IKE itself: a cipher, a pseudo-random function and a key exchange "
           "group, in strongSwan's notation. Ciphers: `aes128gcm16`, `aes256gcm16`, "
           "`chacha20poly1305`. Functions: `prfsha256`, `prfsha384`, `prfsha512`. Groups: "
           "`curve25519`, `ecp256`, `ecp384`, `modp3072`, `modp4096`. Alternatives are parted by "
           "commas.",
           store<&Conn::ike>},
    Option{"esp", kConn, ValueType::esp_proposal, "aes256gcm16-curve25519-esn", "",
           "chacha20poly1305-curve25519-esn",
           "What protects the states: a cipher and a key exchange group, of those that `ike` "
           "lists, and `esn` or `noesn` for 64-bit or 32-bit sequence numbers. The group makes "
           "every rekeying a key exchange of its own.",
           store<&Conn::esp>},
    Option{"ikelifetime",
           kConn,
           ValueType::duration,
           "4h",
           "",
           "8h",
           "How long an IKE SA lives before a new one takes its place. It is not shorter than "
           "`lifetime`.",
           store<&Conn::ikelifetime>,
           {2, 7 * kDay}},
    Option{"lifetime",
           kConn,
           ValueType::duration,
           "1h",
           "",
           "30m",
           "How long the keys that encrypt the states live.",
           store<&Conn::lifetime>,
           {2, kDay}},
    Option{"margintime",
           kConn,
           ValueType::duration,
           "",
           "a tenth of `lifetime`",
           "3m",
           "How long before the end of a lifetime its successor is negotiated.",
           store<&Conn::margintime>,
           {1, kDay}},
    Option{"lifepackets",
           kConn,
           ValueType::number,
           "0",
           "",
           "1000000000",
           "How many packets the keys that encrypt the states may seal. A successor is negotiated "
           "after three quarters of them; if there is none at the end, nothing more is sent. With "
           "`ipsec=kernel` it is the kernel that stops, and encsyncd looks every three seconds "
           "how many are left. `0` is as many as are safe: 2^34 packets until the successor, with "
           "`noesn` three quarters of 2^32.",
           store<&Conn::lifepackets>,
           {0, 4'000'000'000}},
    Option{"dpddelay",
           kConn,
           ValueType::duration,
           "1s",
           "",
           "1s",
           "How long a peer may be silent before it is asked whether it is alive (dead peer "
           "detection).",
           store<&Conn::dpddelay>,
           {1, kHour}},
    Option{"dpdtimeout",
           kConn,
           ValueType::duration,
           "5s",
           "",
           "5s",
           "How long a peer may leave such a question unanswered before it counts as gone. It is "
           "not shorter than `dpddelay`.",
           store<&Conn::dpdtimeout>,
           {1, kHour}},
    Option{
        "maxupd",
        kConn,
        ValueType::number,
        "128",
        "",
        "128",
        "How many changes of one state may be merged into one message to the peer (pfsync(4)). "
        "What the peer does not know yet does not wait, nor does what ends, becomes established, "
        "or moves to another node or address; other changes wait for further ones of the same "
        "state, but never longer than 20 ms. With `1` or `0` none waits.",
        store<&Conn::maxupd>,
        {0, 255}},
    Option{
        "wire",
        kConn,
        ValueType::word,
        "encsync",
        "",
        "openbsd",
        "The dialect of pfsync spoken with this peer. `encsync`: standard version 6, and "
        "messages of our own once the peer has said that it knows them. `openbsd`: the "
        "standard and nothing else. `freebsd-1301`, `freebsd-1400`, `freebsd-1500`: version 5, "
        "with states of the size that FreeBSD's `version` option calls by that number. "
        "`auto`: learned from what the peer sends. OpenBSD and FreeBSD before 14 speak pfsync over "
        "IPv4 only.",
        store<&Conn::wire>,
        {},
        kWireWords},
    Option{
        "nosync", kConn, ValueType::nosync, "", "nothing", "net 10.9.0.0/24, zone 7",
        "Flows that this peer is not told of, besides those of `nosync` in `config setup`. "
        "The rules are explained above. They are held against a flow when it begins or comes to "
        "this node, and whenever its mark or its addresses change: what the peer may no longer "
        "hear of it is told to drop. A flow of the peer's own that fits stays the peer's, whatever "
        "of it passes through this node, as long as the peer is there.",
        store<&Conn::nosync>},
    Option{"refuse", kConn, ValueType::nosync, "", "nothing", "proto udp and port 53",
           "Flows that are not taken from this peer, besides those of `refuse` in `config setup`. "
           "They are held against what the peer tells whenever it changes. After a `reload` the "
           "copies that are there and fit are removed once the peer names them again.",
           store<&Conn::refuse>},
    Option{"auto",
           kConn,
           ValueType::word,
           "start",
           "",
           "start",
           "What happens to the conn at the start: `start` calls the peer, again and again until "
           "it answers; `add` waits for the peer to call; `ignore` leaves it out, which is for "
           "conns that only serve others through `also`.",
           store<&Conn::startup>,
           {},
           kAutoWords},
    Option{"type",
           kConn,
           ValueType::word,
           "tunnel",
           "",
           "tunnel",
           "The mode of ESP, the same on both ends. `tunnel` seals whole IP packets. `transport` "
           "seals what is behind the IP header, 20 bytes less in each packet (IPv6: 40), and not "
           "with `ipsec=kernel`. It is there for peers that are set up that way; encsync's own "
           "gain nothing else by it.",
           store<&Conn::type>,
           {},
           kTypeWords},
    Option{"authby",
           kConn,
           ValueType::word,
           "pubkey",
           "",
           "pubkey",
           "How the nodes prove who they are: `pubkey` is by the Ed25519 keys of `encsync keys`, "
           "or by certificates, see `rightca`; `psk`, which is also called `secret`, is by a "
           "preshared key, for peers that know no better.",
           store<&Conn::authby>,
           {},
           kAuthbyWords},
    Option{"secretfile",
           kConn,
           ValueType::path,
           "",
           "none",
           "/etc/encsync/minnie.psk",
           "The file that holds the preshared key of `authby=psk`: its whole content, but for a "
           "line end after it; 16 bytes at least. It belongs to root and nobody else may read it. "
           "Make it with `openssl rand -base64 32`.",
           store_file<psk>,
           {},
           {},
           {},
           CredentialFile{psk, Authby::psk, true}},
    Option{"leftcert",
           kConn,
           ValueType::path,
           "",
           "none: the raw public key",
           "/etc/encsync/mickey.pem",
           "The file of a certificate (X.509, PEM or DER) for this node's key, shown to a peer "
           "that wants one. `encsync keys export --pem` has the public key to certify; `leftid` "
           "must be among its alternative names.",
           store_file<certificate>,
           {},
           {},
           {},
           CredentialFile{certificate, Authby::pubkey, false}},
    Option{"rightca",
           kConn,
           ValueType::path,
           "",
           "none: trusted raw public keys",
           "/etc/encsync/ca.pem",
           "The file of the certificate of an authority (X.509, PEM or DER). With it the peer "
           "proves itself by a certificate that this authority has issued for `rightid`, and not "
           "by a key of `encsync keys trust`. Revocation lists are not asked for.",
           store_file<ca>,
           {},
           {},
           {},
           CredentialFile{ca, Authby::pubkey, false}},
    Option{"mtu",
           kConn,
           ValueType::number,
           "1500",
           "",
           "1400",
           "The largest packet, in bytes, that the path to the peer carries whole. Encrypted "
           "packets are made to fit. IPv6 needs 1280 at least. A path that carries less is "
           "recognised by its ICMP errors and, between encsync nodes with `ipsec=userspace`, by "
           "probes; towards others, say it here.",
           store<&Conn::mtu>,
           {640, 9000}},
};

std::string list_words(std::span<const Word> words) {
    std::string list;
    for (const Word& word : words)
        if (!word.later)
            list += fmt::format("{}`{}`", list.empty() ? "" : " or ", word.text);
    return list;
}

} // namespace

std::span<const Option> options() {
    return kOptions;
}

const Option* find_option(SectionKind section, std::string_view name) {
    for (const Option& option : kOptions)
        if (option.section == section &&
            (option.name == name || (!option.alias.empty() && option.alias == name)))
            return &option;
    return nullptr;
}

std::vector<std::string_view> option_names(SectionKind section) {
    std::vector<std::string_view> names;
    for (const Option& option : kOptions)
        if (option.section == section) {
            names.push_back(option.name);
            if (!option.alias.empty())
                names.push_back(option.alias);
        }
    if (section == SectionKind::conn)
        names.push_back("also");
    return names;
}

std::optional<pfsync::Dialect> dialect_of(Wire wire) {
    const auto* word = std::ranges::find(kWireWords, static_cast<int>(wire), &Word::value);
    return pfsync::dialect_named(word->text);
}

std::string_view word_of(Authby authby) {
    return std::ranges::find(kAuthbyWords, static_cast<int>(authby), &Word::value)->text;
}

bool Conn::by_trusted_key() const {
    return std::ranges::none_of(ike::kCredentials, [this](const ike::CredentialTraits& kind) {
        return kind.admits && !file(kind.kind).empty();
    });
}

std::string describe_type(const Option& option) {
    const auto seconds = [](std::uint32_t count) {
        return format_duration(std::chrono::seconds(count));
    };
    switch (option.type) {
    case ValueType::word:
        return list_words(option.words);
    case ValueType::number:
        return fmt::format("number, {} to {}", option.limits.min, option.limits.max);
    case ValueType::duration:
        return fmt::format("duration, {} to {}", seconds(option.limits.min),
                           seconds(option.limits.max));
    case ValueType::address:
        return "IPv4 or IPv6 address";
    case ValueType::fine_duration:
        return fmt::format("duration, {} to {}, to the millisecond", seconds(option.limits.min),
                           seconds(option.limits.max));
    case ValueType::prefixes:
        return "prefixes, parted by commas";
    case ValueType::nosync:
        return "rules, parted by commas";
    case ValueType::name:
        return "name";
    case ValueType::interface:
        return "name of an interface";
    case ValueType::path:
        return "absolute path";
    case ValueType::user:
        return "name of a user";
    case ValueType::ike_proposal:
    case ValueType::esp_proposal:
        return "proposal";
    }
    return {};
}

Setup default_setup() {
    Setup setup;
    for (const Option& option : kOptions)
        if (option.section == kSetup && !option.default_value.empty())
            (void)option.store(option, option.default_value, {&setup, nullptr});
    return setup;
}

Conn default_conn() {
    Conn conn;
    for (const Option& option : kOptions)
        if (option.section == kConn && !option.default_value.empty())
            (void)option.store(option, option.default_value, {nullptr, &conn});
    return conn;
}

} // namespace encsync::config
