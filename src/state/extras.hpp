// SPDX-License-Identifier: ISC
// Data that only a few flows have: labels, a helper, a special lifetime, a zone for replies, SCTP's
// verification tags.
//
//     flow.extras.labels = with_label(flow.extras.labels, 3);
//     flow.extras.helper = *Name::of("ftp");
//     if (!flow.extras.empty()) ...
//
// Values without memory of their own. The index stores them separately, only for flows that have
// any.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace encsync::state {

// A name from the kernel (of a helper or function), with at least one NUL after it: letters,
// digits, '-', '_', '.'.
bool is_name(std::string_view text);

template<std::size_t N>
class BasicName {
  public:
    static constexpr std::size_t kSize = N;

    BasicName() = default;
    // None if it is too long or has other characters in it. "" is the empty name.
    static std::optional<BasicName> of(std::string_view text) {
        if (text.size() >= kSize || !is_name(text))
            return std::nullopt;
        BasicName out;
        std::copy(text.begin(), text.end(), out.chars_.begin());
        return out;
    }
    // From kSize bytes padded with NULs.
    static std::optional<BasicName> read(const std::uint8_t* bytes) {
        std::array<char, kSize> chars{};
        std::copy_n(bytes, kSize, chars.begin());
        const auto end = std::find(chars.begin(), chars.end(), '\0');
        if (end == chars.end() || std::any_of(end, chars.end(), [](char c) { return c != 0; }))
            return std::nullopt;
        return of({chars.begin(), end});
    }

    std::string_view text() const { return chars_.data(); }
    bool empty() const { return chars_[0] == 0; }
    const std::array<char, kSize>& padded() const { return chars_; }
    auto operator<=>(const BasicName&) const = default;

  private:
    std::array<char, kSize> chars_{};
};
using Name = BasicName<16>;         // of a helper: NF_CT_HELPER_NAME_LEN
using FunctionName = BasicName<24>; // the longest is "nat-follow-master"

// conntrack's labels: number n is bit n % 8 of byte n / 8.
using Labels = std::array<std::uint8_t, 16>;
Labels with_label(Labels labels, unsigned number);
std::vector<unsigned> numbers(const Labels& labels);

// The offset by which a helper has shifted the TCP sequence numbers of one direction, because it
// changed the length of the payload (conntrack's nf_ct_seqadj): `before` up to the number
// `position`, `after` from there on. Differences are modulo 2^32.
struct SeqAdjust {
    std::uint32_t position = 0, before = 0, after = 0;
    bool operator==(const SeqAdjust&) const = default;
};
using SeqAdjusts = std::array<SeqAdjust, 2>; // of the original direction, and of replies

struct Extras {
    Labels labels{};
    Name helper; // the helper that reads this flow's packets; empty: none
    // The timeout in seconds after a packet, if longer than the default: because of a timeout
    // policy or the helper. 0: the default timeout.
    std::uint32_t lifetime = 0;
    SeqAdjusts seq_adjust{};
    // The conntrack zone of replies, if it differs from Key::zone. The kernel gives an entry one
    // zone, for both directions or for one, so that one of the two is 0.
    std::optional<std::uint16_t> reply_zone{};
    // SCTP verification tags of the original direction and of replies; 0: not known yet.
    std::array<std::uint32_t, 2> verification_tags{};

    bool empty() const { return *this == Extras{}; }
    bool operator==(const Extras&) const = default;
};

} // namespace encsync::state
