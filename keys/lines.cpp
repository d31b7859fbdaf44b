// SPDX-License-Identifier: ISC
#include "keys/lines.hpp"

#include <sodium.h>

namespace encsync::keys {

namespace {

constexpr std::size_t kSize = 32;

std::array<std::uint8_t, kSize> checksum(std::string_view text) {
    std::array<std::uint8_t, kSize> sum;
    crypto_generichash(sum.data(), sum.size(), as_bytes(text).data(), text.size(), nullptr, 0);
    return sum;
}

} // namespace

std::string checksum_line(std::string_view text) {
    return fmt::format("checksum: {}\n", base64(checksum(text)));
}

Result<void> read_checksum(Lines& lines, std::string_view text) {
    const auto expected = checksum(text.substr(0, lines.position()));
    std::array<std::uint8_t, kSize> sum;
    if (auto ok = lines.base64_field("checksum", sum); !ok)
        return ok;
    if (sodium_memcmp(sum.data(), expected.data(), sum.size()) != 0)
        return lines.error("the checksum does not match: the file is damaged");
    return lines.end();
}

namespace {

Result<std::string> read_name(Lines& lines, std::string_view field) {
    auto name = lines.field(field);
    if (!name)
        return name.error();
    if (auto ok = check_name(*name); !ok)
        return lines.error(ok.error().text);
    return std::string(*name);
}

} // namespace

Result<UnixTime> read_created(Lines& lines) {
    auto text = lines.field("created");
    if (!text)
        return text.error();
    auto created = parse_time(*text);
    if (!created)
        return lines.error(created.error().text);
    return created;
}

Result<void> read_name_and_time(Lines& lines, PublicKey& into) {
    auto name = read_name(lines, "name");
    if (!name)
        return name.error();
    into.name = std::move(*name);
    auto created = read_created(lines);
    if (!created)
        return created.error();
    into.created = *created;
    return {};
}

Result<std::string> read_peer(Lines& lines) {
    return read_name(lines, "peer");
}

} // namespace encsync::keys
