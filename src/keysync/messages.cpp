// SPDX-License-Identifier: ISC
#include "keysync/messages.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keysync {

namespace ext = pfsync::extension;

namespace {

Result<std::vector<std::uint64_t>> read_prints(Bytes m, std::size_t count_at, std::size_t at) {
    const std::size_t count = m[count_at];
    if (count > ext::keys::most)
        return Error{fmt::format("KEYS has {} keys of one kind", count)};
    std::vector<std::uint64_t> prints;
    for (std::size_t n = 0; n < count; n++)
        prints.push_back(load_be<std::uint64_t>(&m[at + 8 * n]));
    return prints;
}

Result<KeyState> read_state(Bytes m) {
    auto own = read_prints(m, ext::keys::own, ext::keys::own_keys);
    if (!own)
        return own.error();
    if (own->empty())
        return Error{"KEYS names no key of its sender"};
    auto trusted = read_prints(m, ext::keys::trusted, ext::keys::trusted_keys);
    if (!trusted)
        return trusted.error();
    KeyState state{std::move(*own), std::move(*trusted), {}};
    state.reads_ppk = (m[ext::keys::flags] & ext::keys::kReadsPpk) != 0;
    std::copy_n(&m[ext::keys::revoked], state.revoked.size(), state.revoked.begin());
    return state;
}

Result<std::string> read_text(Bytes m) {
    const std::size_t length = load_be<std::uint16_t>(&m[ext::key_text::length]);
    if (length > ext::key_text::most || length > m.size() - ext::key_text::text)
        return Error{fmt::format("KEY_TEXT of {} bytes has a text of {}", m.size(), length)};
    const Bytes text = m.subspan(ext::key_text::text, length);
    return std::string(text.begin(), text.end());
}

} // namespace

bool is_about_keys(Bytes payload) {
    pfsync::Parser parser(payload);
    const pfsync::Section* first = parser.next();
    return first != nullptr && (first->action == ext::kKeys || first->action == ext::kKeyText ||
                                first->action == ext::kPpk);
}

Result<Messages> read(Bytes payload) {
    Messages messages;
    pfsync::Parser parser(payload);
    while (const pfsync::Section* section = parser.next()) {
        const bool state = section->action == ext::kKeys;
        if (section->action == ext::kPpk) {
            for (std::uint16_t n = 0; n < section->count; n++) {
                auto got = read_ppk(section->message(n));
                if (!got)
                    return got.error();
                messages.ppk = std::move(*got);
            }
            continue;
        }
        if (!state && section->action != ext::kKeyText)
            return Error{fmt::format("action {} beside messages about keys", section->action)};
        if (section->stride < (state ? ext::keys::size : ext::key_text::size))
            return Error{
                fmt::format("{} of {} bytes", state ? "KEYS" : "KEY_TEXT", section->stride)};
        for (std::uint16_t n = 0; n < section->count; n++) {
            if (state) {
                auto got = read_state(section->message(n));
                if (!got)
                    return got.error();
                messages.state = std::move(*got);
            } else {
                auto got = read_text(section->message(n));
                if (!got)
                    return got.error();
                messages.texts.push_back(std::move(*got));
            }
        }
    }
    if (parser.fault() != pfsync::Fault::none)
        return Error{std::string(pfsync::to_string(parser.fault()))};
    return messages;
}

bool write(pfsync::Builder& packet, const KeyState& state) {
    std::uint8_t* m = packet.add(ext::kKeys, ext::keys::size);
    if (m == nullptr)
        return false;
    const auto put = [m](const std::vector<std::uint64_t>& prints, std::size_t count_at,
                         std::size_t at) {
        const std::size_t count = std::min(prints.size(), ext::keys::most);
        m[count_at] = static_cast<std::uint8_t>(count);
        for (std::size_t n = 0; n < count; n++)
            store_be(m + at + 8 * n, prints[n]);
    };
    put(state.own, ext::keys::own, ext::keys::own_keys);
    put(state.trusted, ext::keys::trusted, ext::keys::trusted_keys);
    if (state.reads_ppk)
        m[ext::keys::flags] = ext::keys::kReadsPpk;
    std::ranges::copy(state.revoked, m + ext::keys::revoked);
    return true;
}

bool write(pfsync::Builder& packet, std::string_view text) {
    const std::size_t size = (ext::key_text::text + text.size() + 3) / 4 * 4;
    std::uint8_t* m = packet.add(ext::kKeyText, size);
    if (m == nullptr)
        return false;
    store_be(m + ext::key_text::length, static_cast<std::uint16_t>(text.size()));
    std::ranges::copy(text, m + ext::key_text::text);
    return true;
}

} // namespace encsync::keysync
