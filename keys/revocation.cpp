// SPDX-License-Identifier: ISC
#include "keys/revocation.hpp"

#include "keys/base64.hpp"
#include "keys/lines.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kTitle = "encsync revoked keys 1";

Result<Revocation> read_line(Lines& lines) {
    auto line = lines.field("revoked");
    if (!line)
        return line.error();
    auto words = split<5>(*line);
    if (!words)
        return lines.error("expected two times, a key and two names");
    Revocation r;
    for (const auto& [word, time] : {std::pair((*words)[0], &r.when), {(*words)[1], &r.created}}) {
        auto parsed = parse_time(word);
        if (!parsed)
            return lines.error(parsed.error().text);
        *time = *parsed;
    }
    if (!unbase64((*words)[2], r.key))
        return lines.error("not a key of 32 bytes in base64");
    for (const auto& [word, name] : {std::pair((*words)[3], &r.by), {(*words)[4], &r.name}}) {
        if (auto ok = check_name(word); !ok)
            return lines.error(ok.error().text);
        *name = word;
    }
    return r;
}

} // namespace

std::string write_revocations(const std::vector<Revocation>& revocations) {
    std::string text = fmt::format("{}\n", kTitle);
    for (const Revocation& r : revocations)
        text += fmt::format("revoked: {} {} {} {} {}\n", to_text(r.when), to_text(r.created),
                            base64(r.key), r.by, r.name);
    return text + checksum_line(text);
}

Result<std::vector<Revocation>> read_revocations(std::string_view text) {
    if (text.size() > kMaxRevokedText)
        return Error{fmt::format("longer than {} bytes", kMaxRevokedText)};
    Lines lines(text);
    if (auto ok = lines.title(kTitle); !ok)
        return ok.error();
    std::vector<Revocation> all;
    while (text.substr(lines.position()).starts_with("revoked: ")) {
        auto revocation = read_line(lines);
        if (!revocation)
            return revocation.error();
        if (all.size() == kMaxRevoked)
            return lines.error(fmt::format("more than {} keys", kMaxRevoked));
        if (is_revoked(all, revocation->key))
            return lines.error("the same key twice");
        all.push_back(std::move(*revocation));
    }
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return all;
}

bool is_revoked(const std::vector<Revocation>& revocations, const RawKey& key) {
    return std::ranges::find(revocations, key, &Revocation::key) != revocations.end();
}

RevokedDigest digest(const std::vector<Revocation>& revocations) {
    std::vector<RawKey> keys;
    for (const Revocation& r : revocations)
        keys.push_back(r.key);
    std::ranges::sort(keys);
    RevokedDigest digest{};
    crypto_generichash_state state;
    crypto_generichash_init(&state, nullptr, 0, digest.size());
    for (const RawKey& key : keys)
        crypto_generichash_update(&state, key.data(), key.size());
    crypto_generichash_final(&state, digest.data(), digest.size());
    return digest;
}

} // namespace encsync::keys
