// SPDX-License-Identifier: ISC
#include "config/options.hpp"

#include "config/store.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>

namespace encsync::config {

namespace {

template<class E>
constexpr Word word(std::string_view text, E value) {
    return {text, static_cast<int>(value), false};
}

constexpr std::array kTableWords = {Word{"conntrack"}, Word{"memory"}, Word{"relay"}};
constexpr std::array kIpsecWords = {word("auto", Ipsec::automatic),
                                    word("userspace", Ipsec::userspace),
                                    word("kernel", Ipsec::kernel)};
constexpr std::array kRoleWords = {word("auto", Role::automatic), word("active", Role::active),
                                   word("standby", Role::standby)};
constexpr std::array kDeferAckWords = {word("far", DeferAck::far), word("near", DeferAck::near)};
constexpr std::array kLevelWords = {
    word("error", log::Level::error), word("warning", log::Level::warning),
    word("notice", log::Level::notice), word("info", log::Level::info),
    word("debug", log::Level::debug)};
constexpr std::array kYesNo = {word("yes", true), word("no", false)};
constexpr std::array kPpkWords = {word("auto", PpkUse::automatic),
                                  word("optional", PpkUse::optional),
                                  word("required", PpkUse::required), word("no", PpkUse::no)};
constexpr std::array kKeyExchangeWords = {word("ikev2", KeyExchange::ikev2)};
constexpr std::array kWireWords = {
    word("encsync", Wire::encsync),           word("openbsd", Wire::openbsd),
    word("freebsd-1301", Wire::freebsd_1301), word("freebsd-1400", Wire::freebsd_1400),
    word("freebsd-1500", Wire::freebsd_1500), word("auto", Wire::automatic)};
constexpr std::array kAutoWords = {word("start", Auto::start), word("add", Auto::add),
                                   word("ignore", Auto::ignore)};
constexpr std::array kTypeWords = {word("tunnel", Type::tunnel), word("transport", Type::transport),
                                   word("cable", Type::cable)};
constexpr std::array kAuthbyWords = {word("pubkey", Authby::pubkey), word("psk", Authby::psk),
                                     word("secret", Authby::psk)};

using enum ike::CredentialKind;
constexpr SectionKind kSetup = SectionKind::setup;
constexpr SectionKind kConn = SectionKind::conn;
constexpr std::uint32_t kMinute = 60, kHour = 3600, kDay = 86400;

constexpr std::array kOptions = {
    // ---- config setup ----------------------------------------------------------------------
    Option{"node", kSetup, ValueType::name, "", "the host's name", "mickey",
           "The name of this firewall. It is this node's IKE identity unless a conn has `leftid`, "
           "so it must differ from the names of the peers.",
           store<&Setup::node>},
    Option{
        "table",
        kSetup,
        ValueType::word,
        "conntrack",
        "",
        "conntrack",
        "The state table of this node: `conntrack` is the Linux kernel's own; `memory` is a "
        "table in the process, for experiments. `relay` is for a node that is no firewall itself: "
        "it passes pfsync on between the pf firewalls on its cables and the nodes of other "
        "sites that do the same; see docs/gateway.md.",
        store<&Setup::table>,
        {},
        kTableWords},
    Option{"syncdev", kSetup, ValueType::interface, "enc0", "", "enc0",
           "The interface that shows the pfsync packets of all tunnels in clear: `tcpdump -i "
           "enc0`. Packets that other programs send into it are dropped.",
           store<&Setup::syncdev>},
    Option{"ipsec",
           kSetup,
           ValueType::word,
           "auto",
           "",
           "userspace",
           "What encrypts and decrypts. `userspace`: encsyncd itself; it needs a TUN device and "
           "nothing else of the kernel, is faster, and hides the sizes of packets. `kernel`: the "
           "kernel's ESP behind an xfrm interface named by `syncdev`, in tunnel mode only. Both "
           "are the same on the wire, so the two ends may differ. `auto` uses `userspace` if "
           "possible, else `kernel`; the log and `encsync status` show which, and why.",
           store<&Setup::ipsec>,
           {},
           kIpsecWords},
    Option{"keydir", kSetup, ValueType::path, "/var/lib/encsync/keys", "", "/var/lib/encsync/keys",
           "The directory of this node's secret key and of the public keys that it trusts. It must "
           "belong to root, and nobody else may read it.",
           store<&Setup::keydir>},
    Option{"keypassphrase", kSetup, ValueType::path, "",
           "the systemd credential `encsync.passphrase`, if there is one",
           "/etc/encsync/keys.passphrase",
           "The file with the passphrase of a key directory that `encsync keys seal` has sealed. "
           "It must belong to root, with mode 0600. See docs/keys.md.",
           store<&Setup::keypassphrase>},
    Option{"role",
           kSetup,
           ValueType::word,
           "auto",
           "",
           "auto",
           "Whether this node forwards traffic (`active`) or waits to take over (`standby`). With "
           "`auto`, keepalived or `encsync role` sets the role at run time; until then, a flow "
           "belongs to the node that last saw it change. A role that was set at run time is kept "
           "until the next boot, whatever this option is.",
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
           "this time without any peer it counts as in step, so that the only survivor of a power "
           "cut can become active.",
           store<&Setup::joinwait>,
           {1, kHour}},
    Option{"sweep",
           kSetup,
           ValueType::duration,
           "1m",
           "",
           "10s",
           "How often all entries of the kernel are compared with what encsyncd knows, to find "
           "changes that caused no event: missing copies are put back, and the changes and ends "
           "found are sent to the peers. The interval is longer if this would take more than half "
           "a percent of one core's time.",
           store<&Setup::sweep>,
           {5, kDay}},
    Option{"charonuser", kSetup, ValueType::user, "",
           "`encsync` if there is such a user, else an unused user id from 61184 to 65519",
           "encsync",
           "The unprivileged user that charon, strongSwan's IKE daemon, runs as. No other program "
           "may run as this user: it could kill charon.",
           store<&Setup::charonuser>},
    Option{
        "keysync",
        kSetup,
        ValueType::word,
        "yes",
        "",
        "no",
        "Whether encsync nodes tell each other of new and of revoked keys inside the tunnel: the "
        "next identity of a node (`encsync keys rotate --what identity`) is trusted by its peers "
        "because the older one has signed it, and the older one is retired when all trust the "
        "newer; a key that is revoked on one node (`encsync keys revoke`) is refused by all. "
        "With `no`, keys are only what the administrator of this node makes them.",
        store<&Setup::keysync>,
        {},
        kYesNo},
    Option{"rotate",
           kSetup,
           ValueType::duration,
           "0",
           "",
           "90d",
           "The age at which this node rotates its identity by itself, as `encsync keys rotate "
           "--what identity` does. `0`: never. Needs `keysync`.",
           store<&Setup::rotate>,
           {0, 3650 * kDay}},
    Option{"sandbox",
           kSetup,
           ValueType::word,
           "yes",
           "",
           "no",
           "Whether encsyncd, once everything is open, drops all capabilities except "
           "`CAP_NET_ADMIN` and `CAP_NET_BIND_SERVICE` (with `ipsec=kernel` or a cable also "
           "`CAP_NET_RAW`), "
           "and all system calls that it does not need (seccomp). Use `no` only to find out "
           "whether the sandbox causes a problem: the kernel's log shows what it refused.",
           store<&Setup::sandbox>,
           {},
           kYesNo},
    Option{"loglevel",
           kSetup,
           ValueType::word,
           "info",
           "",
           "notice",
           "The lowest level of messages that are logged.",
           store<&Setup::loglevel>,
           {},
           kLevelWords},
    Option{"synclocal",
           kSetup,
           ValueType::word,
           "no",
           "",
           "no",
           "Whether flows that begin or end on the firewall itself are synced, too. A peer that "
           "takes over does not have their sockets, so use `yes` only if such flows belong to a "
           "shared address.",
           store<&Setup::synclocal>,
           {},
           kYesNo},
    Option{"ignore", kSetup, ValueType::prefixes, "", "nothing", "10.9.0.0/24, 2001:db8:9::/64",
           "Flows with an address in one of these prefixes are not synced, for example those of a "
           "management network, or of a link that only this node has. They are not sent to any "
           "peer, and not accepted from one.",
           store<&Setup::ignore>},
    Option{"nosync", kSetup, ValueType::nosync, "", "nothing",
           "mark 0x10/0x10, proto udp and port 53",
           "Flows that are not sent to any peer, by the rules explained above. Where possible, the "
           "kernel already filters them out. Such flows are still accepted from peers, as in pf: "
           "`nosync` applies to what this node sends, `refuse` to what it accepts.",
           store<&Setup::nosync>},
    Option{
        "refuse", kSetup, ValueType::nosync, "", "nothing", "dst 10.9.0.0/24, zone 7",
        "Flows that are not accepted from any peer, by rules like those of `nosync`. Such a flow "
        "is not put into the state table, not even by a takeover. `encsync peers --json` counts "
        "refused states by reason (`refused_states`). Regardless of this option, no peer can "
        "create a state for a flow that begins or ends on this firewall itself (except with "
        "`synclocal=yes`, and never for its IKE and ESP), that has a loopback, multicast or "
        "unspecified address, or that uses a protocol of firewalls (VRRP, pfsync, ESP, AH, IGMP).",
        store<&Setup::refuse>},
    Option{"delay",
           kSetup,
           ValueType::fine_duration,
           "0",
           "",
           "500ms",
           "How old a flow must be before it is sent to the peers. Most flows last less than a "
           "second, so leaving these out saves half of the traffic or more. A connection that has "
           "closed by then is not sent at all; UDP flows end only when the kernel's timer "
           "(`nf_conntrack_udp_timeout`) runs out. When a node dies, its flows that are younger "
           "are lost; a node that is made `standby` sends them at once.",
           store<&Setup::delay>,
           {0, kMinute}},
    Option{"defer",
           kSetup,
           ValueType::word,
           "no",
           "",
           "no",
           "Whether the first packet of a new flow is held until all peers in step have "
           "acknowledged the flow, or 20 ms have passed (pfsync(4)). This is for two nodes that "
           "forward at the same time, where the reply may arrive through the other node. At most "
           "128 packets are held at a time; further packets, and all packets while encsyncd is "
           "down, pass at once. It needs a kernel with nft_queue and nfnetlink_queue, without "
           "which encsyncd does not start, and cannot be combined with `delay`.",
           store<&Setup::defer>,
           {},
           kYesNo},
    Option{"deferqueue",
           kSetup,
           ValueType::number,
           "240",
           "",
           "240",
           "The number of the NFQUEUE that `defer` uses. No other program in this network "
           "namespace may use it.",
           store<&Setup::deferqueue>,
           {0, 65535}},
    Option{"deferack",
           kSetup,
           ValueType::word,
           "far",
           "",
           "near",
           "With `table=relay`, who acknowledges the states of a pf firewall that defers packets "
           "(pfsync(4)). `far`: a firewall of another site, so that a packet is let go when a "
           "firewall that could take over has its state. `near`: this gateway, which is as fast as "
           "the cable; a state may then be lost if both this gateway and the firewall fail before "
           "it has been sent on.",
           store<&Setup::deferack>,
           {},
           kDeferAckWords},
    Option{"reserve",
           kSetup,
           ValueType::number,
           "5",
           "",
           "5",
           "Percent of the kernel's state table (`net.netfilter.nf_conntrack_max`) that states of "
           "peers leave free for this firewall's own new connections. A copy that finds no room "
           "is tried again once a minute. Where own connections use up the rest, copies leave the "
           "table, those of the peer with the most states first.",
           store<&Setup::reserve>,
           {0, 90}},
    Option{"metricslisten", kSetup, ValueType::listen, "", "nowhere", "127.0.0.1:9240",
           "Where encsyncd answers `GET /metrics` over HTTP, for Prometheus: on a TCP port of one "
           "address, or at the path of a unix socket, which everyone can read who may enter its "
           "directory. There is no encryption and no password: use an address that only the "
           "monitoring can reach. See docs/metrics.md.",
           store<&Setup::metricslisten>},
    // ---- conn ------------------------------------------------------------------------------
    Option{"left", kConn, ValueType::address, "", "none: it must be given", "192.168.1.100",
           "This firewall's address towards the peer. It must be on one of its interfaces, and "
           "must not move on a takeover. A link-local address is written with its interface, "
           "`fe80::1%sync`; it needs `ipsec=userspace`, and a `right` on the same interface.",
           store<&Conn::left>},
    Option{"right",
           kConn,
           ValueType::right,
           "",
           "none: it must be given",
           "192.168.1.101",
           "The peer's address, of the same family as `left`. Each peer needs a different one, "
           "even on different interfaces. `%multicast` is for several firewalls on one "
           "`type=cable`, with `table=relay`: see `speakers`.",
           store<&Conn::right>,
           {},
           {},
           "syncpeer"},
    Option{"leftid", kConn, ValueType::name, "", "`node`", "mickey",
           "The IKE identity that this node sends to the peer.", store<&Conn::leftid>},
    Option{"rightid", kConn, ValueType::name, "", "the name of the conn", "minnie",
           "The IKE identity that the peer must prove: the `node` of the peer's configuration, and "
           "the name under which its public key is trusted here.",
           store<&Conn::rightid>},
    Option{"keyexchange",
           kConn,
           ValueType::word,
           "ikev2",
           "",
           "ikev2",
           "Accepted so that conns can be copied from strongSwan. Only IKEv2 is supported.",
           store<&Conn::keyexchange>,
           {},
           kKeyExchangeWords},
    Option{"ike", kConn, ValueType::ike_proposal, "",
           "`aes256gcm16-prfsha384-curve25519`; where charon has ML-KEM (Debian 13), "
           "`aes256gcm16-prfsha384-curve25519-ke1_mlkem768` before it",
           "chacha20poly1305-prfsha512-curve25519",
           "The algorithms of IKE: a cipher, a pseudo-random function and a key exchange group, in "
           "strongSwan's notation. Ciphers: `aes128gcm16`, `aes256gcm16`, `chacha20poly1305`. "
           "Functions: `prfsha256`, `prfsha384`, `prfsha512`. Groups: `curve25519`, `ecp256`, "
           "`ecp384`, `modp3072`, `modp4096`. `ke1_mlkem768` after the group adds ML-KEM-768 as "
           "another key exchange (RFC 9370), against quantum computers; it needs strongSwan 6 and "
           "OpenSSL 3.5 (Debian 13). Alternatives are separated by commas; the peer takes its own "
           "first that is among them.",
           store<&Conn::ike>},
    Option{"esp", kConn, ValueType::esp_proposal, "aes256gcm16-curve25519-esn", "",
           "chacha20poly1305-curve25519-esn",
           "The algorithms of ESP: a cipher and a key exchange group, from those listed for `ike`, "
           "and `esn` or `noesn` for 64-bit or 32-bit sequence numbers. With the group, every "
           "rekeying has its own key exchange.",
           store<&Conn::esp>},
    Option{
        "ikelifetime",
        kConn,
        ValueType::duration,
        "4h",
        "",
        "8h",
        "How long an IKE SA lives before it is replaced. It must not be shorter than `lifetime`.",
        store<&Conn::ikelifetime>,
        {2, 7 * kDay}},
    Option{"lifetime",
           kConn,
           ValueType::duration,
           "1h",
           "",
           "30m",
           "How long an ESP SA and its keys live before they are replaced.",
           store<&Conn::lifetime>,
           {2, kDay}},
    Option{"margintime",
           kConn,
           ValueType::duration,
           "",
           "a tenth of `lifetime`",
           "3m",
           "How long before the end of a lifetime the new SA is negotiated.",
           store<&Conn::margintime>,
           {1, kDay}},
    Option{"lifepackets",
           kConn,
           ValueType::number,
           "0",
           "",
           "1000000000",
           "How many packets may be encrypted with the keys of one ESP SA. A new SA is negotiated "
           "after three quarters of them; if there is none at the end, nothing more is sent. With "
           "`ipsec=kernel` the kernel enforces the limit, and encsyncd checks every three seconds "
           "how many are left. `0` means as many as are safe: 2^34 packets until a new SA is "
           "negotiated, with `noesn` three quarters of 2^32.",
           store<&Conn::lifepackets>,
           {0, 4'000'000'000}},
    Option{
        "ppk",
        kConn,
        ValueType::word,
        "auto",
        "",
        "required",
        "Whether a post-quantum preshared key (RFC 8784) goes into the keys of the tunnel, so that "
        "a recording of it cannot be opened with a quantum computer. encsync nodes make one with "
        "each other inside the tunnel, and `encsync keys ppk` carries one by hand. `auto`: as soon "
        "as the two have used one, there is no tunnel without; a peer that makes none never gets "
        "that far. `optional`: it is used whenever both have one in common. "
        "`required`: not even the first tunnel comes up without, so one must be carried. `no`: "
        "none is used or made. See docs/keys.md.",
        store<&Conn::ppk>,
        {},
        kPpkWords},
    Option{
        "ppkrotate",
        kConn,
        ValueType::duration,
        "1d",
        "",
        "1h",
        "The age at which the two nodes make the next preshared key of the last one, as `encsync "
        "keys rotate --what ppk` does. Each time adds two lines to the key log. `0`: never. Needs "
        "`keysync`.",
        store<&Conn::ppkrotate>,
        {0, 3650 * kDay}},
    Option{"dpddelay",
           kConn,
           ValueType::duration,
           "1s",
           "",
           "1s",
           "How long a peer may be silent before it is sent a dead peer detection request.",
           store<&Conn::dpddelay>,
           {1, kHour}},
    Option{"dpdtimeout",
           kConn,
           ValueType::duration,
           "5s",
           "",
           "5s",
           "How long a peer may leave dead peer detection requests unanswered before it counts as "
           "gone. It must not be shorter than `dpddelay`.",
           store<&Conn::dpdtimeout>,
           {1, kHour}},
    Option{"maxupd",
           kConn,
           ValueType::number,
           "128",
           "",
           "128",
           "How many changes of one state may be merged into one message to the peer (pfsync(4)). "
           "A change waits up to 20 ms for further changes of the same state. A state that the "
           "peer does not know yet does not wait, nor does one that ends, becomes established, or "
           "moves to another node or address. With `1` or `0` nothing waits.",
           store<&Conn::maxupd>,
           {0, 255}},
    Option{"maxstates",
           kConn,
           ValueType::number,
           "0",
           "",
           "100000",
           "How many states the peer may bring here at most; more are refused, and this node is "
           "not in step with it. With `0` there is no limit but `reserve`. With `table=relay`, how "
           "many of its states are kept for bulk updates and repairs; more are passed on all the "
           "same, and counted.",
           store<&Conn::maxstates>,
           {0, 8'000'000}},
    Option{"wire",
           kConn,
           ValueType::word,
           "encsync",
           "",
           "openbsd",
           "The dialect of pfsync for this peer. `encsync`: standard version 6, and encsync's own "
           "messages once the peer has announced that it knows them. `openbsd`: the standard only. "
           "`freebsd-1301`, `freebsd-1400`, `freebsd-1500`: version 5, with states of the size "
           "that FreeBSD's `version` option selects by this number. `auto`: determined by what the "
           "peer sends. OpenBSD and FreeBSD before 14 support pfsync over IPv4 only. With "
           "`table=relay` each conn has its own dialect, the same at both of its ends, and what "
           "differs is translated (docs/gateway.md).",
           store<&Conn::wire>,
           {},
           kWireWords},
    Option{
        "nosync", kConn, ValueType::nosync, "", "nothing", "net 10.9.0.0/24, zone 7",
        "Flows that are not sent to this peer, in addition to those of `nosync` in `config setup`. "
        "The rules are explained above. They are checked when a flow begins or moves to this node, "
        "and whenever its mark or its addresses change: if the peer may no longer have the flow, "
        "it is told to drop its copy. A matching flow that the peer owns remains the peer's as "
        "long as the peer is reachable, even if packets of it pass through this node.",
        store<&Conn::nosync>},
    Option{"refuse", kConn, ValueType::nosync, "", "nothing", "proto udp and port 53",
           "Flows that are not accepted from this peer, in addition to those of `refuse` in "
           "`config setup`. The rules are checked whenever the peer sends a change. After a "
           "`reload`, existing copies that match are removed when the peer sends them again.",
           store<&Conn::refuse>},
    Option{
        "accept", kConn, ValueType::nosync, "", "all that `refuse` leaves",
        "src 10.1.0.0/16 and dst 10.2.0.0/16, src 10.2.0.0/16",
        "If it is given, the only flows that are accepted from this peer, by rules like those of "
        "`nosync`. `refuse` still applies, and so does what no peer may ever create a state for "
        "(docs/policy.md).",
        store<&Conn::accept>},
    Option{"creators", kConn, ValueType::creatorids, "", "all", "a1b2c3d4, 0badcafe",
           "Whose states this peer may speak of, by creatorid (`encsync keys show`): its own, and "
           "those of each node whose states it may take over, with this one. What it says of any "
           "other creator's states is refused.",
           store<&Conn::creators>},
    Option{
        "maxpackets",
        kConn,
        ValueType::number,
        "0",
        "",
        "20000",
        "How many packets a second are read from this peer; more are dropped, and an encsync node "
        "sends again what was in them. With `0` there is no limit: how fast a bulk update comes "
        "depends on the machines.",
        store<&Conn::maxpackets>,
        {0, 100'000'000}},
    Option{"maxinserts",
           kConn,
           ValueType::number,
           "0",
           "",
           "20000",
           "How many new states a second are taken from this peer. An encsync node sends the rest "
           "again, a pf firewall with its next update of them. With `0` there is no limit but "
           "`maxstates`, `maxshare` and `reserve`.",
           store<&Conn::maxinserts>,
           {0, 100'000'000}},
    Option{"maxrequests",
           kConn,
           ValueType::number,
           "10000",
           "",
           "1000",
           "How many requests for states a second are answered to this peer; `0`: any number. An "
           "answer is larger than a request.",
           store<&Conn::maxrequests>,
           {0, 100'000'000}},
    Option{"maxclears",
           kConn,
           ValueType::number,
           "10",
           "",
           "2",
           "How many CLR a second are taken from this peer; `0`: any number. Each of them means a "
           "look at every state.",
           store<&Conn::maxclears>,
           {0, 100'000'000}},
    Option{"maxshare",
           kConn,
           ValueType::number,
           "100",
           "",
           "60",
           "Percent of what the kernel's state table may hold of all peers together (all but "
           "`reserve` and own connections) that this peer may fill. Regardless of it, a peer that "
           "holds more than an even part makes room for one that holds less and has none.",
           store<&Conn::maxshare>,
           {1, 100}},
    Option{"auto",
           kConn,
           ValueType::word,
           "start",
           "",
           "start",
           "What happens to the conn at the start: `start` calls the peer, and retries until it "
           "answers; `add` waits for the peer to call; `ignore` leaves the conn out, for conns "
           "that others only include through `also`.",
           store<&Conn::startup>,
           {},
           kAutoWords},
    Option{"type",
           kConn,
           ValueType::word,
           "tunnel",
           "",
           "tunnel",
           "How pfsync reaches the peer: in IPsec, with ESP in `tunnel` mode or `transport` mode, "
           "the same on both ends, or in clear on a `cable`. `tunnel` encrypts whole IP packets. "
           "`transport` encrypts what follows the IP header, which saves 20 bytes in each packet "
           "(IPv6: 40), and is not available with `ipsec=kernel`. It is meant for peers that are "
           "configured that way; between encsync nodes it has no other advantage. `cable` is for a "
           "firewall that has no IPsec for pfsync, at the other end of a cable of its own: see "
           "`syncdev`. Options of IKE and ESP do not apply to it.",
           store<&Conn::type>,
           {},
           kTypeWords},
    Option{"syncdev", kConn, ValueType::interface, "", "none", "eth2",
           "The interface of a `type=cable`, which must be given. Packets of protocol 240 are "
           "accepted there from `right` or the `speakers` only, to `left` or with `multicast=yes` "
           "to the group, with a TTL of 255 and unfragmented. Nothing protects them: whoever can "
           "send on that cable can read, insert, change and clear states, so nothing but the "
           "firewalls may be on it.",
           store<&Conn::syncdev>},
    Option{"speakers", kConn, ValueType::addresses, "", "none", "172.16.0.2, 172.16.0.3",
           "With `right=%multicast`: the addresses of the firewalls on the `type=cable` that are "
           "heard, at most 16, all of the family of `left`. What this node sends goes once to the "
           "multicast group, for all of them. `multicast=yes` is implied, `wire` must name their "
           "dialect, and there is no other conn on that interface.",
           store<&Conn::speakers>},
    Option{"mac", kConn, ValueType::macs, "", "any", "52:54:00:12:34:56",
           "The MAC address from which `right` sends on a `type=cable`; with `speakers`, one for "
           "each of them, in the same order. Packets in frames from another one are dropped and "
           "counted (`wrong_mac`). Whoever is on the cable can forge it, too, so it keeps out "
           "mistakes, and attackers only if a switch ties MAC addresses to its ports. Of a CARP "
           "pair it is the address of the network card, not that of CARP.",
           store<&Conn::mac>},
    Option{"multicast",
           kConn,
           ValueType::word,
           "no",
           "",
           "yes",
           "Whether packets on a `type=cable` go to the multicast group of pfsync (224.0.0.240, "
           "over IPv6 ff12::f0) instead of `right`, and are accepted when `right` sends them "
           "there. That is what pf firewalls do that have a `syncdev` and no `syncpeer`.",
           store<&Conn::multicast>,
           {},
           kYesNo},
    Option{
        "ifmap", kConn, ValueType::interface_map, "", "names pass as they are", "em0:wan,em1:lan",
        "Names of interfaces, for a `type=cable` with `table=relay`. A state that is bound to an "
        "interface has its name, and the firewalls may call theirs differently. Left of each "
        "colon is the name that the firewall on this cable uses, right of it the name that all "
        "sites use between them: in what comes from the firewall, the left name becomes the "
        "right one, and in what goes to it, the right one becomes the left one. Other names "
        "pass as they are, and are counted (`unmapped_interface`).",
        store<&Conn::ifmap>},
    Option{"authby",
           kConn,
           ValueType::word,
           "pubkey",
           "",
           "pubkey",
           "How the nodes authenticate: `pubkey` with the Ed25519 keys of `encsync keys`, or with "
           "certificates, see `rightca`; `psk`, also called `secret`, with a preshared key, for "
           "peers that support nothing better.",
           store<&Conn::authby>,
           {},
           kAuthbyWords},
    Option{"secretfile",
           kConn,
           ValueType::path,
           "",
           "the preshared key with `rightid` in the key store",
           "/etc/encsync/minnie.psk",
           "The file with the preshared key of `authby=psk`: its whole content, without a line end "
           "after it; at least 16 bytes. It must belong to root, and nobody else may read it. "
           "Without it, the key is in the key store, where a passphrase can protect it: `encsync "
           "keys psk make` or `encsync keys psk import` puts it there.",
           store_file<psk>,
           {},
           {},
           {},
           CredentialFile{psk, Authby::psk}},
    Option{
        "leftcert",
        kConn,
        ValueType::path_or_store,
        "",
        "none: the raw public key",
        "store",
        "A certificate (X.509, PEM or DER) for this node's key, sent to a peer that requests "
        "one: its file, or `store` for the one that `encsync keys cert import` has put into "
        "the key store for `rightid`. Only there the one before is kept, also through a "
        "restart, while the peer does not accept its successor. `encsync keys export --pem` prints "
        "the public key to certify; `leftid` must be among the certificate's alternative "
        "names.",
        store_file<certificate>,
        {},
        {},
        {},
        CredentialFile{certificate, Authby::pubkey}},
    Option{"rightca",
           kConn,
           ValueType::path_or_store,
           "",
           "none: trusted raw public keys",
           "store",
           "The certificate of an authority (X.509, PEM or DER): its file, or `store` for those "
           "that `encsync keys cert import --authority` has put into the key store for `rightid`, "
           "of which there are two while one takes the place of the other. With it, the peer "
           "authenticates with a certificate that this authority has issued for `rightid`, and not "
           "with a key of `encsync keys trust`. Revocation is not checked.",
           store_file<ca>,
           {},
           {},
           {},
           CredentialFile{ca, Authby::pubkey}},
    Option{"mtu",
           kConn,
           ValueType::number,
           "1500",
           "",
           "1400",
           "The largest packet, in bytes, that the path to the peer carries unfragmented. "
           "Encrypted packets are made to fit. IPv6 needs at least 1280. A path with a smaller "
           "limit is detected by its ICMP errors and, between encsync nodes with "
           "`ipsec=userspace`, by probes; for other peers, set it here.",
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
    case ValueType::right:
        return "IPv4 or IPv6 address, or `%multicast`";
    case ValueType::addresses:
        return "IPv4 or IPv6 addresses, separated by commas";
    case ValueType::macs:
        return "MAC addresses, separated by commas";
    case ValueType::fine_duration:
        return fmt::format("duration, {} to {}, to the millisecond", seconds(option.limits.min),
                           seconds(option.limits.max));
    case ValueType::prefixes:
        return "prefixes, separated by commas";
    case ValueType::nosync:
        return "rules, separated by commas";
    case ValueType::creatorids:
        return "creatorids, separated by commas";
    case ValueType::interface_map:
        return "pairs of interfaces' names, separated by commas";
    case ValueType::name:
        return "name";
    case ValueType::interface:
        return "name of an interface";
    case ValueType::path:
        return "absolute path";
    case ValueType::path_or_store:
        return "absolute path, or `store`";
    case ValueType::listen:
        return "IP address and port, or absolute path";
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
    conn.ike = default_ike();
    for (const Option& option : kOptions)
        if (option.section == kConn && !option.default_value.empty())
            (void)option.store(option, option.default_value, {nullptr, &conn});
    return conn;
}

} // namespace encsync::config
