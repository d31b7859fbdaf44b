// SPDX-License-Identifier: ISC
// The readers of values: one for each type of options. Each reads a complete text that is trimmed
// and not empty, and either fills `out` or returns the error and its place.
//
//     std::chrono::seconds lifetime;
//     if (const Verdict problem = read_duration("1h", {2, 86400}, lifetime))
//         report(problem->message);
#pragma once

#include "config/config.hpp"

#include <span>

namespace encsync::config {

struct Problem {
    std::string message;
    std::size_t offset = 0; // bytes into the value: where the caret goes
    std::string hint;
};
using Verdict = std::optional<Problem>; // nothing: the value is valid

// Of numbers, and of durations in seconds; both ends are allowed.
struct Limits {
    std::uint32_t min = 0, max = 0;
};

// A word that an option accepts. A `later` one is known but refused.
struct Word {
    std::string_view text;
    int value = 0;
    bool later = false;
};

// 90, 90s, 5m, 4h, 1d.
[[nodiscard]] Verdict read_duration(std::string_view text, Limits limits,
                                    std::chrono::seconds& out);
// The same, and 500ms. The limits are still seconds.
[[nodiscard]] Verdict read_duration(std::string_view text, Limits limits,
                                    std::chrono::milliseconds& out);
std::string format_duration(std::chrono::seconds duration);
[[nodiscard]] Verdict read_number(std::string_view text, Limits limits, std::uint32_t& out);
[[nodiscard]] Verdict read_word(std::string_view text, std::span<const Word> words, int& out);
// An address at which a host can be reached: no name, no wildcard, no multicast. It has a scope
// if and only if it is link-local.
[[nodiscard]] Verdict read_address(std::string_view text, Address& out);
// The same, or %multicast: the group of pfsync over IPv4, whatever the family of left is.
[[nodiscard]] Verdict read_right(std::string_view text, Address& out);
// Different addresses, separated by commas, at most kMaxSpeakers.
[[nodiscard]] Verdict read_addresses(std::string_view text, std::vector<Address>& out);
// Different MAC addresses of one network card each, separated by commas, at most kMaxSpeakers.
[[nodiscard]] Verdict read_macs(std::string_view text, std::vector<net::Mac>& out);
// A bare address is a whole-length prefix.
[[nodiscard]] Verdict read_prefix(std::string_view text, net::Prefix& out);
// Prefixes separated by commas.
[[nodiscard]] Verdict read_prefixes(std::string_view text, std::vector<net::Prefix>& out);
// Rules separated by commas: "mark 0x10/0xf0, proto udp and port 53".
[[nodiscard]] Verdict read_nosync(std::string_view text, std::vector<state::NoSyncRule>& out);
// Creatorids of 8 hexadecimal digits, none twice, separated by commas: "a1b2c3d4, 00000007".
[[nodiscard]] Verdict read_creatorids(std::string_view text, std::vector<std::uint32_t>& out);
// Name of a node or a conn: letters, digits, '.', '_' and '-'; 63 at most.
[[nodiscard]] Verdict read_name(std::string_view text, std::string& out);
// Name of a network interface: as above, 15 at most (IFNAMSIZ), not "." or "..".
[[nodiscard]] Verdict read_interface(std::string_view text, std::string& out);
// Pairs of such names, separated by commas: "em0:wan,em1:lan". No name may be twice on one side.
[[nodiscard]] Verdict read_interface_map(std::string_view text, std::vector<InterfacePair>& out);
// A port of an address of this machine, or the path of a unix socket: "127.0.0.1:9240",
// "[::1]:9240", "/run/encsync/metrics.sock".
[[nodiscard]] Verdict read_listen(std::string_view text, net::Listen& out);
[[nodiscard]] Verdict read_path(std::string_view text, std::string& out); // absolute
[[nodiscard]] Verdict read_path_or_store(std::string_view text, std::string& out);
[[nodiscard]] Verdict read_user(std::string_view text, std::string& out); // of a Unix account
// strongSwan's proposals: words joined by '-', alternatives separated by commas. IKE needs a
// cipher, a prf and a key exchange group, and may have an additional key exchange (RFC 9370); ESP
// a cipher and a group, so that every rekeying is a key exchange of its own.
[[nodiscard]] Verdict read_ike_proposal(std::string_view text, std::string& out);
[[nodiscard]] Verdict read_esp_proposal(std::string_view text, std::string& out);
// Whether charon has ML-KEM here: then ike= accepts ke1_mlkem768, and offers it by default.
bool has_mlkem();
std::string_view default_ike();
// Those of the proposals that a charon without ML-KEM understands; all, if none is.
std::string without_mlkem(std::string_view proposals);

} // namespace encsync::config
