// SPDX-License-Identifier: ISC
// A message of one dialect as a message of another, field by field, so that what both can hold is
// not lost. No Flow is made on the way: that would lose more.
//
//     std::array<std::uint8_t, kMaxConverted> buffer;
//     const Converted c = convert({section->kind, section->layout}, message, to, buffer);
//     if (c.refusal == Refusal::none)
//         ... c.action, c.message, and c.losses: what it lacks ...
//
// Rule numbers are of one firewall's ruleset, so they are never carried over. pf then ties the
// state to its default rule.
#pragma once

#include "pfsync/dialect.hpp"

#include <cstdint>
#include <string_view>

namespace encsync::pfsync {

// Why a message is not carried over.
enum class Refusal : std::uint8_t {
    none,
    unknown_message, // unknown to us, or to the other dialect
    tdb,             // replay counters of the firewall's own SAs, which the other does not have
    af_to,           // a state with two address families
    malformed,       // too short, or with content that the receiver refuses
};
inline constexpr std::size_t kRefusals = 5;
std::string_view to_string(Refusal refusal);

// What a message has lost on the way.
enum class Loss : std::uint8_t {
    rule,             // numbers of the rule, the anchor, the NAT rule
    route,            // route-to, reply-to, dup-to
    routing_table,    // rtable, rdomain, FIB
    queue,            // ALTQ, dummynet
    scrub,            // options of scrub and set: min-ttl, max-mss, set-tos, set-prio, ...
    tag,              // the name of the tag
    interface,        // of a floating state: on which it was created
    flags,            // other flags of the state
    icmp_type,        // of a query other than echo
    verification_tag, // SCTP's
    appended,         // fields of a later release, after those that we know
};
inline constexpr std::size_t kLossKinds = 11;
std::string_view to_string(Loss loss);
// For people: "route-to and reply-to".
std::string_view describe(Loss loss);

class Losses {
  public:
    constexpr void add(Loss loss) { bits_ |= bit(loss); }
    constexpr bool contains(Loss loss) const { return (bits_ & bit(loss)) != 0; }
    constexpr bool empty() const { return bits_ == 0; }
    constexpr Losses operator|(Losses other) const {
        other.bits_ |= bits_;
        return other;
    }
    bool operator==(const Losses&) const = default;

  private:
    static constexpr std::uint16_t bit(Loss loss) {
        return static_cast<std::uint16_t>(1U << static_cast<unsigned>(loss));
    }
    std::uint16_t bits_ = 0;
};

struct Converted {
    Refusal refusal = Refusal::none;
    std::uint8_t action = 0; // in the target dialect
    Meaning meaning{};       // there
    MutableBytes message;    // in the caller's buffer
    Losses losses;
};

inline constexpr std::size_t kMaxConverted = 360; // bytes; the largest state of all dialects

// `from` is the section's kind and layout, not EOF; `buffer` has kMaxConverted bytes. A full DEL
// becomes DEL_C, which says as much, and which every dialect has.
//
// An UPD_C does not say its protocol, and only FreeBSD since 14 numbers the progress of SCTP in its
// own way. So `proto` is the protocol of the state, if known. If it is 0, updates of SCTP from such
// a FreeBSD are recognised by their timeout; those to it are not, and it takes them for stale.
Converted convert(Meaning from, Bytes message, Dialect to, MutableBytes buffer,
                  std::uint8_t proto = 0);

// All that messages from one of these dialects to the other may lose, in either direction, but for
// what later releases append.
Losses possible_losses(Dialect a, Dialect b);

} // namespace encsync::pfsync
