// SPDX-License-Identifier: ISC
#include "keys/psk.hpp"

#include "keys/lines.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kTitle = "encsync ike preshared key 1";

Result<Psk> read_psk(Lines& lines) {
    auto created = read_created(lines);
    if (!created)
        return created.error();
    auto key = lines.secret_field("key", kMaxPreshared);
    if (!key)
        return key.error();
    if (auto ok = check_preshared(key->bytes()); !ok)
        return lines.error(ok.error().text);
    return Psk{*created, std::move(*key)};
}

} // namespace

Result<void> check_preshared(Bytes key) {
    if (key.size() < kMinPreshared)
        return Error{fmt::format("a preshared key has {} bytes at least", kMinPreshared)};
    if (key.size() > kMaxPreshared)
        return Error{fmt::format("a preshared key has {} bytes at most", kMaxPreshared)};
    if (std::ranges::find(key, 0) != key.end())
        return Error{"a NUL byte in a preshared key"};
    return {};
}

SecretBytes make_preshared() {
    const SecretSeed random = SecretSeed::random();
    const std::size_t digits = 2 * random.bytes().size();
    SecretBytes key(digits + 1); // with a NUL at its end
    sodium_bin2hex(reinterpret_cast<char*>(key.bytes().data()), key.bytes().size(),
                   random.bytes().data(), random.bytes().size());
    key.shrink(digits);
    return key;
}

std::string no_psk(const std::string& peer) {
    return fmt::format(
        "there is no preshared key with '{0}'; 'encsync keys psk make {0} FILE' makes "
        "one, 'encsync keys psk import {0} FILE' takes one that the peer has",
        peer);
}

bool same(const Psk& psk, Bytes key) {
    return psk.key.bytes().size() == key.size() &&
           sodium_memcmp(psk.key.bytes().data(), key.data(), key.size()) == 0;
}

PskId id_of(const Psk& psk) {
    PskId id;
    crypto_hash_sha256(id.data(), psk.key.bytes().data(), psk.key.bytes().size());
    return id;
}

SecretText write_psks(const PskPair& psks) {
    SecretText text;
    text.append(fmt::format("{}\npeer: {}\n", kTitle, psks.peer));
    for (const Psk& psk : psks.keys) {
        text.append(fmt::format("created: {}\nkey: ", to_text(psk.created)));
        text.append_base64(psk.key.bytes());
        text.append("\n");
    }
    text.append(checksum_line(text.view()));
    return text;
}

Result<PskPair> read_psks(std::string_view text) {
    if (text.size() > kMaxSecretText)
        return Error{fmt::format("longer than {} bytes", kMaxSecretText)};
    Lines lines(text);
    if (auto ok = lines.title(kTitle); !ok)
        return ok.error();
    auto peer = read_peer(lines);
    if (!peer)
        return peer.error();
    PskPair psks{std::move(*peer), {}};
    do {
        auto psk = read_psk(lines);
        if (!psk)
            return psk.error();
        if (psks.keys.size() == kPsksPerPeer)
            return lines.error(fmt::format("more than {} keys", kPsksPerPeer));
        if (!psks.keys.empty() && same(psks.keys.front(), psk->key.bytes()))
            return lines.error("the same key twice");
        psks.keys.push_back(std::move(*psk));
    } while (text.substr(lines.position()).starts_with("created: "));
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return psks;
}

} // namespace encsync::keys
