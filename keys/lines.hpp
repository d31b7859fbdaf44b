// SPDX-License-Identifier: ISC
// What the text formats of this folder share: lines that are counted for error messages, and the
// checksum that ends a file.
#pragma once

#include "keys/base64.hpp"
#include "keys/format.hpp"
#include "util/bytes.hpp"
#include "util/result.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

inline Bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Splits a text into lines and counts them for error messages.
class Lines {
  public:
    explicit Lines(std::string_view text) : text_(text) {}

    bool at_end() const { return position_ == text_.size(); }
    std::size_t position() const { return position_; }
    std::size_t number() const { return number_; }

    Result<std::string_view> line() {
        number_++;
        const std::size_t end = text_.find('\n', position_);
        if (end == text_.npos)
            return Error{fmt::format("line {}: truncated", number_)};
        const auto line = text_.substr(position_, end - position_);
        position_ = end + 1;
        return line;
    }

    // The first line of a block. Another version of the same kind gets a different error than
    // garbage.
    Result<void> title(std::string_view expected) {
        auto got = line();
        if (!got)
            return got.error();
        if (*got == expected)
            return {};
        if (got->ends_with('\r'))
            return error("lines end in CR LF, as Windows writes them; they must end in LF");
        const auto kind = expected.substr(0, expected.rfind(' ') + 1);
        if (got->starts_with(kind))
            return error("a version that this encsync does not know");
        return error(fmt::format("expected '{}'", expected));
    }

    // What follows "name: ".
    Result<std::string_view> field(std::string_view name) {
        auto got = line();
        if (!got)
            return got.error();
        if (!got->starts_with(name) || !got->substr(name.size()).starts_with(": "))
            return error(fmt::format("expected '{}: '", name));
        return got->substr(name.size() + 2);
    }

    Result<void> base64_field(std::string_view name, MutableBytes into) {
        auto got = field(name);
        if (!got)
            return got.error();
        if (!unbase64(*got, into))
            return error(fmt::format("{} is not {} bytes in base64", name, into.size()));
        return {};
    }

    // Of any length from 1 to `most` bytes.
    Result<std::vector<std::uint8_t>> base64_field(std::string_view name, std::size_t most) {
        std::vector<std::uint8_t> bytes;
        auto ok = sized_field(name, most, [&](std::size_t size) -> MutableBytes {
            bytes.resize(size);
            return bytes;
        });
        return ok ? Result(std::move(bytes)) : ok.error();
    }

    // Likewise, into memory for secrets.
    Result<SecretBytes> secret_field(std::string_view name, std::size_t most) {
        SecretBytes bytes(0);
        auto ok = sized_field(name, most, [&](std::size_t size) {
            bytes = SecretBytes(size);
            return bytes.bytes();
        });
        return ok ? Result(std::move(bytes)) : ok.error();
    }

    // The next bytes, line ends among them.
    Result<std::string_view> raw(std::size_t size) {
        if (size > text_.size() - position_)
            return Error{fmt::format("after line {}: truncated", number_)};
        const auto raw = text_.substr(position_, size);
        position_ += size;
        number_ += static_cast<std::size_t>(std::ranges::count(raw, '\n'));
        return raw;
    }

    Result<void> end() const {
        if (!at_end())
            return Error{fmt::format("line {}: trailing data", number_ + 1)};
        return {};
    }

    Error error(std::string_view text) const {
        return Error{fmt::format("line {}: {}", number_, text)};
    }

  private:
    // make: returns the memory for that many bytes.
    template<class Make>
    Result<void> sized_field(std::string_view name, std::size_t most, Make make) {
        auto got = field(name);
        if (!got)
            return got.error();
        const std::size_t padding = got->ends_with("==") ? 2 : got->ends_with('=') ? 1 : 0;
        const std::size_t size = got->size() < 4 ? 0 : got->size() / 4 * 3 - padding;
        if (size == 0 || size > most || !unbase64(*got, make(size)))
            return error(fmt::format("{} is not 1 to {} bytes in base64", name, most));
        return {};
    }

    std::string_view text_;
    std::size_t position_ = 0, number_ = 0;
};

// The words of a line, with one blank between two; none if there are more or less than N.
template<std::size_t N>
std::optional<std::array<std::string_view, N>> split(std::string_view line) {
    std::array<std::string_view, N> words;
    std::size_t count = 0;
    for (std::size_t end = 0; end != std::string_view::npos; count++) {
        if (count == N)
            return std::nullopt;
        end = line.find(' ');
        words[count] = line.substr(0, end);
        if (end != std::string_view::npos)
            line.remove_prefix(end + 1);
    }
    return count == N ? std::optional(words) : std::nullopt;
}

// The line "created: ", and that before it.
Result<UnixTime> read_created(Lines& lines);
Result<void> read_name_and_time(Lines& lines, PublicKey& into);
// The line "peer: ".
Result<std::string> read_peer(Lines& lines);

// "checksum: ", BLAKE2b-256 over the text, in base64.
std::string checksum_line(std::string_view text);
// The last line of a file that has a checksum; nothing may follow it.
Result<void> read_checksum(Lines& lines, std::string_view text);

} // namespace encsync::keys
