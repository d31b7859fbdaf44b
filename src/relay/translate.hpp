// SPDX-License-Identifier: ISC
// Messages from one leg of a relay, as another leg needs them: in its dialect, and with its names
// of interfaces.
//
//     Translator translator(Dialect::openbsd, Dialect::freebsd1400, map);
//     if (const auto out = translator.translate(*section, section->message(n), losses))
//         enqueue(leg, out->action, out->message);
//
// One Translator for one direction of two legs. It remembers nothing of what it has translated,
// allocates nothing for a message, and does no I/O.
#pragma once

#include "pfsync/convert.hpp"
#include "pfsync/parse.hpp"
#include "relay/interface_map.hpp"
#include "util/counters.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace encsync::relay {

// What did not reach a leg because its dialect, or its firewall's ruleset, is another.
struct LossCounters {
    std::array<std::uint64_t, pfsync::kRefusals> refused{};
    std::array<std::uint64_t, pfsync::kLossKinds> lost{};
    std::uint64_t unmapped = 0;
};
inline constexpr std::array kLossCounters = {
    counters::by<&LossCounters::refused, pfsync::Refusal>(
        "relay", "not_translated", "messages",
        "Messages not passed on because they have no equivalent in the leg's dialect, or bad "
        "content",
        "reason", counters::Shape::object, false, 1),
    counters::by<&LossCounters::lost, pfsync::Loss>(
        "relay", "translated_without", "messages",
        "Messages passed on without something that the leg's dialect or ruleset lacks", "part",
        counters::Shape::object, false),
    counters::value<&LossCounters::unmapped>(
        "relay", "unmapped_interface", "messages",
        "Messages passed on with the name of an interface that ifmap does not have", false),
};

class Translator {
  public:
    // `map`: from the names that the messages have to those that they get.
    Translator(pfsync::Dialect from, pfsync::Dialect to, InterfaceMap map = {})
        : from_(from), to_(to), map_(std::move(map)) {}

    // Nothing changes: messages pass byte for byte, also those that we do not know.
    bool same() const { return from_ == to_ && map_.empty(); }

    struct Out {
        std::uint8_t action; // in the target dialect
        Bytes message;       // valid until the next call, and as long as the message passed in
    };
    // None: it is not carried over, and counted, unless it is EOF. `meaning` is the kind of the
    // message and the dialect of its layout, which in version 5 may differ from `from`; `action` is
    // its number there. `proto`: of an UPD_C, the protocol of its state if it is known; see
    // pfsync::convert().
    std::optional<Out> translate(pfsync::Meaning meaning, std::uint8_t action, Bytes message,
                                 LossCounters& losses, std::uint8_t proto = 0);
    // A message of a section that was read with the dialect `from`.
    std::optional<Out> translate(const pfsync::Section& section, Bytes message,
                                 LossCounters& losses, std::uint8_t proto = 0) {
        return translate({section.kind, section.layout}, section.action, message, losses, proto);
    }

  private:
    void rename(pfsync::Meaning meaning, MutableBytes message, LossCounters& losses) const;
    bool rename(MutableBytes name) const;

    pfsync::Dialect from_, to_;
    InterfaceMap map_;
    // Of the largest message: version 6 gives lengths in words, as one byte.
    std::array<std::uint8_t, 255 * 4> buffer_;
};

} // namespace encsync::relay
