// SPDX-License-Identifier: ISC
#include "keys/format.hpp"

#include "keys/base64.hpp"
#include "keys/lines.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <fmt/format.h>
#include <optional>

namespace encsync::keys {

namespace {

constexpr std::string_view kPublicTitle = "encsync public key 1";
constexpr std::string_view kSuccessionTitle = "encsync key succession 1";
constexpr std::string_view kSecretTitle = "encsync secret key 1";
constexpr std::string_view kNodeTitle = "encsync node secret 1";
constexpr std::string_view kTrustedTitle = "encsync trusted keys 1";
constexpr UnixTime kMaxTime = 253402300799; // 9999-12-31T23:59:59Z

// A key that is not a point on the curve, or is of small order, cannot authenticate its holder.
bool is_sound(const RawKey& key) {
    return crypto_core_ed25519_is_valid_point(key.data()) == 1;
}

Result<PublicKey> read_block(Lines& lines, std::string_view text) {
    const std::size_t begin = lines.position();
    PublicKey key;
    if (auto ok = lines.title(kPublicTitle); !ok)
        return ok.error();
    if (auto ok = read_name_and_time(lines, key); !ok)
        return ok.error();
    if (auto ok = lines.base64_field("key", key.key); !ok)
        return ok.error();
    if (!is_sound(key.key))
        return lines.error("not a valid Ed25519 public key");
    const auto signed_text = text.substr(begin, lines.position() - begin);
    std::array<std::uint8_t, crypto_sign_BYTES> signature;
    if (auto ok = lines.base64_field("signature", signature); !ok)
        return ok.error();
    if (!verify(key.key, signed_text, signature))
        return lines.error("the signature is wrong: the file is damaged or was changed");
    return key;
}

template<class Number>
bool parse_digits(std::string_view text, Number& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc() && end == text.data() + text.size();
}

} // namespace

std::array<std::uint8_t, crypto_sign_BYTES> sign(const Identity& identity, std::string_view text) {
    Secret<crypto_sign_SECRETKEYBYTES> secret;
    RawKey key;
    crypto_sign_seed_keypair(key.data(), secret.bytes().data(), identity.seed.bytes().data());
    std::array<std::uint8_t, crypto_sign_BYTES> signature;
    crypto_sign_detached(signature.data(), nullptr, as_bytes(text).data(), text.size(),
                         secret.bytes().data());
    return signature;
}

bool verify(const RawKey& key, std::string_view text, Bytes signature) {
    return crypto_sign_verify_detached(signature.data(), as_bytes(text).data(), text.size(),
                                       key.data()) == 0;
}

UnixTime unix_now() {
    return std::time(nullptr);
}

void SecretText::append(std::string_view text) {
    if (text.size() > kMaxSecretText - size_)
        std::abort();
    std::copy(text.begin(), text.end(), buffer_.bytes().begin() + static_cast<long>(size_));
    size_ += text.size();
}

void SecretText::append_base64(Bytes data) {
    // One more byte than the text may have: libsodium ends it with a NUL.
    const std::size_t needed =
        sodium_base64_encoded_len(data.size(), sodium_base64_VARIANT_ORIGINAL);
    if (needed > buffer_.bytes().size() - size_)
        std::abort();
    sodium_bin2base64(reinterpret_cast<char*>(buffer_.bytes().data() + size_), needed, data.data(),
                      data.size(), sodium_base64_VARIANT_ORIGINAL);
    size_ += needed - 1;
}

std::string_view SecretText::view() const {
    return {reinterpret_cast<const char*>(buffer_.bytes().data()), size_};
}

Result<void> check_name(std::string_view name) {
    if (name.empty())
        return Error{"the name is empty"};
    if (name == "." || name == "..")
        return Error{fmt::format("'{}' cannot be a name", name)};
    if (name.size() > kMaxName)
        return Error{fmt::format("the name is longer than {} characters", kMaxName)};
    for (const char c : name) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
            return Error{"the name has a character other than letters, digits and '._-'"};
    }
    return {};
}

std::string to_text(UnixTime time) {
    using namespace std::chrono;
    const sys_seconds at{seconds(std::clamp<UnixTime>(time, 0, kMaxTime))};
    const auto day = floor<days>(at);
    const year_month_day date{day};
    const hh_mm_ss clock{at - day};
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                       clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

Result<UnixTime> parse_time(std::string_view text) {
    using namespace std::chrono;
    const Error bad{"not a time such as 2026-01-31T12:00:00Z"};
    int y = 0;
    unsigned mo = 0, d = 0, h = 0, mi = 0, s = 0;
    if (text.size() != 20 || !parse_digits(text.substr(0, 4), y) ||
        !parse_digits(text.substr(5, 2), mo) || !parse_digits(text.substr(8, 2), d) ||
        !parse_digits(text.substr(11, 2), h) || !parse_digits(text.substr(14, 2), mi) ||
        !parse_digits(text.substr(17, 2), s))
        return bad;
    const year_month_day date{year(y), month(mo), day(d)};
    if (!date.ok())
        return bad;
    const auto at = sys_days(date).time_since_epoch() + hours(h) + minutes(mi) + seconds(s);
    const UnixTime time = duration_cast<seconds>(at).count();
    // Refuses wrong separators, hour 24 and every other non-canonical form.
    if (time < 0 || time > kMaxTime || to_text(time) != text)
        return bad;
    return time;
}

Identity make_identity(std::string name, UnixTime created) {
    Identity identity;
    identity.name = std::move(name);
    identity.created = std::clamp<UnixTime>(created, 0, kMaxTime);
    identity.seed = SecretSeed::random();
    Secret<crypto_sign_SECRETKEYBYTES> secret;
    crypto_sign_seed_keypair(identity.key.data(), secret.bytes().data(),
                             identity.seed.bytes().data());
    return identity;
}

std::string write_public(const Identity& identity) {
    std::string text = fmt::format("{}\nname: {}\ncreated: {}\nkey: {}\n", kPublicTitle,
                                   identity.name, to_text(identity.created), base64(identity.key));
    text += fmt::format("signature: {}\n", base64(sign(identity, text)));
    return text;
}

Result<std::vector<PublicKey>> read_public(std::string_view text) {
    if (text.size() > kMaxPublicText)
        return Error{fmt::format("longer than {} bytes", kMaxPublicText)};
    Lines lines(text);
    std::vector<PublicKey> keys;
    do {
        if (keys.size() == kKeysPerName)
            return Error{fmt::format("line {}: trailing data", lines.number() + 1)};
        auto key = read_block(lines, text);
        if (!key)
            return key.error();
        keys.push_back(std::move(*key));
    } while (!lines.at_end());
    if (keys.size() == 2) {
        if (keys[0].name != keys[1].name)
            return Error{
                fmt::format("two names in one file: {} and {}", keys[0].name, keys[1].name)};
        if (keys[0].key == keys[1].key)
            return Error{"the same key twice"};
    }
    return keys;
}

// ---- successions ---------------------------------------------------------------------------

namespace {

// What is signed of a succession.
std::string text_of(const Succession& s) {
    return fmt::format("{}\nname: {}\nfrom: {}\nto: {}\n", kSuccessionTitle, s.name, base64(s.from),
                       base64(s.to));
}

} // namespace

Succession make_succession(const Identity& from, const RawKey& to) {
    Succession succession{from.name, from.key, to, {}};
    succession.signature = sign(from, text_of(succession));
    return succession;
}

std::string write_successions(const std::vector<Succession>& successions) {
    std::string text;
    for (const Succession& s : successions)
        text += fmt::format("{}signature: {}\n", text_of(s), base64(s.signature));
    return text;
}

Result<std::vector<Succession>> read_successions(std::string_view text) {
    if (text.size() > kMaxPublicText)
        return Error{fmt::format("longer than {} bytes", kMaxPublicText)};
    std::vector<Succession> all;
    for (Lines lines(text); !lines.at_end();) {
        Succession s;
        if (auto ok = lines.title(kSuccessionTitle); !ok)
            return ok.error();
        auto name = lines.field("name");
        if (!name)
            return name.error();
        if (auto ok = check_name(*name); !ok)
            return lines.error(ok.error().text);
        s.name = *name;
        for (const auto& [field, key] : {std::pair("from", &s.from), std::pair("to", &s.to)}) {
            if (auto ok = lines.base64_field(field, *key); !ok)
                return ok.error();
            if (!is_sound(*key))
                return lines.error("not a valid Ed25519 public key");
        }
        if (auto ok = lines.base64_field("signature", s.signature); !ok)
            return ok.error();
        if (!verify(s.from, text_of(s), s.signature))
            return lines.error("the signature is wrong: the file is damaged or was changed");
        if (all.size() == kMaxSuccessions)
            return lines.error(fmt::format("more than {} successions", kMaxSuccessions));
        if (!all.empty() && all.front().name != s.name)
            return lines.error(
                fmt::format("two names in one file: {} and {}", all.front().name, s.name));
        all.push_back(std::move(s));
    }
    return all;
}

Result<PublicFile> read_public_file(std::string_view text) {
    const std::size_t found = text.find(fmt::format("\n{}\n", kSuccessionTitle));
    const std::size_t end = found == text.npos ? text.size() : found + 1;
    auto keys = read_public(text.substr(0, end));
    if (!keys)
        return keys.error();
    auto successions = read_successions(text.substr(end));
    if (!successions)
        return Error{fmt::format("after the keys, {}", successions.error().text)};
    if (!successions->empty() && successions->front().name != keys->front().name)
        return Error{fmt::format("two names in one file: {} and {}", keys->front().name,
                                 successions->front().name)};
    return PublicFile{std::move(*keys), std::move(*successions)};
}

bool succeeds(const std::vector<Succession>& successions, const RawKey& from, const RawKey& to) {
    std::vector<RawKey> reached{from};
    for (std::size_t n = 0; n < reached.size(); n++)
        for (const Succession& s : successions)
            if (s.from == reached[n] && std::ranges::find(reached, s.to) == reached.end())
                reached.push_back(s.to);
    return std::ranges::find(reached, to) != reached.end();
}

SecretText write_secret(const Identity& identity) {
    SecretText text;
    text.append(fmt::format("{}\nname: {}\ncreated: {}\nkey: {}\nseed: ", kSecretTitle,
                            identity.name, to_text(identity.created), base64(identity.key)));
    text.append_base64(identity.seed.bytes());
    text.append("\n");
    text.append(checksum_line(text.view()));
    return text;
}

Result<Identity> read_secret(std::string_view text) {
    if (text.size() > kMaxSecretText)
        return Error{fmt::format("longer than {} bytes", kMaxSecretText)};
    Lines lines(text);
    Identity identity;
    if (auto ok = lines.title(kSecretTitle); !ok)
        return ok.error();
    if (auto ok = read_name_and_time(lines, identity); !ok)
        return ok.error();
    if (auto ok = lines.base64_field("key", identity.key); !ok)
        return ok.error();
    if (auto ok = lines.base64_field("seed", identity.seed.bytes()); !ok)
        return ok.error();
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    Secret<crypto_sign_SECRETKEYBYTES> secret;
    RawKey key;
    crypto_sign_seed_keypair(key.data(), secret.bytes().data(), identity.seed.bytes().data());
    if (key != identity.key)
        return Error{"the public key does not belong to the seed"};
    return identity;
}

SecretText write_node_secret(const SecretSeed& secret) {
    SecretText text;
    text.append(kNodeTitle);
    text.append("\nsecret: ");
    text.append_base64(secret.bytes());
    text.append("\n");
    text.append(checksum_line(text.view()));
    return text;
}

Result<SecretSeed> read_node_secret(std::string_view text) {
    if (text.size() > kMaxSecretText)
        return Error{fmt::format("longer than {} bytes", kMaxSecretText)};
    Lines lines(text);
    SecretSeed secret;
    if (auto ok = lines.title(kNodeTitle); !ok)
        return ok.error();
    if (auto ok = lines.base64_field("secret", secret.bytes()); !ok)
        return ok.error();
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return secret;
}

std::string write_trusted(const std::vector<TrustedKey>& keys) {
    std::string text = fmt::format("{}\n", kTrustedTitle);
    for (const TrustedKey& key : keys)
        text += fmt::format("trusted: {} {} {} {}\n", to_text(key.since), to_text(key.created),
                            base64(key.key), key.name);
    text += checksum_line(text);
    return text;
}

namespace {

// "SINCE CREATED KEY NAME": all but the name have a fixed width.
std::optional<TrustedKey> read_trusted_line(std::string_view line) {
    constexpr std::size_t kTime = 20, kKey = 44;
    constexpr std::size_t kCreatedAt = kTime + 1, kKeyAt = kCreatedAt + kTime + 1,
                          kNameAt = kKeyAt + kKey + 1;
    if (line.size() <= kNameAt || line[kTime] != ' ' || line[kCreatedAt + kTime] != ' ' ||
        line[kKeyAt + kKey] != ' ')
        return std::nullopt;
    auto since = parse_time(line.substr(0, kTime));
    auto created = parse_time(line.substr(kCreatedAt, kTime));
    TrustedKey key;
    if (!since || !created || !unbase64(line.substr(kKeyAt, kKey), key.key) || !is_sound(key.key) ||
        !check_name(line.substr(kNameAt)))
        return std::nullopt;
    key.since = *since;
    key.created = *created;
    key.name = line.substr(kNameAt);
    return key;
}

} // namespace

Result<std::vector<TrustedKey>> read_trusted(std::string_view text) {
    if (text.size() > kMaxTrustedText)
        return Error{fmt::format("longer than {} bytes", kMaxTrustedText)};
    Lines lines(text);
    if (auto ok = lines.title(kTrustedTitle); !ok)
        return ok.error();
    std::vector<TrustedKey> keys;
    while (text.substr(lines.position()).starts_with("trusted: ")) {
        auto line = lines.field("trusted");
        if (!line)
            return line.error();
        auto key = read_trusted_line(*line);
        if (!key)
            return lines.error("expected two times, a key and a name");
        if (keys.size() == kMaxTrusted)
            return lines.error(fmt::format("more than {} keys", kMaxTrusted));
        if (std::ranges::any_of(keys, [&](const auto& other) { return other.key == key->key; }))
            return lines.error("the same key twice");
        if (std::ranges::count(keys, key->name, &TrustedKey::name) ==
            static_cast<long>(kKeysPerName))
            return lines.error(fmt::format("more than {} keys for {}", kKeysPerName, key->name));
        keys.push_back(std::move(*key));
    }
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return keys;
}

KeyHash key_hash(const RawKey& key) {
    KeyHash hash;
    static_assert(sizeof hash == crypto_hash_sha256_BYTES);
    crypto_hash_sha256(hash.data(), key.data(), key.size());
    return hash;
}

std::string fingerprint(const RawKey& key) {
    return "SHA256:" + base64(key_hash(key), sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

std::uint64_t key_print(const RawKey& key) {
    return load_be<std::uint64_t>(key_hash(key).data());
}

std::string short_fingerprint(const RawKey& key) {
    return fingerprint(key).substr(7, 12);
}

} // namespace encsync::keys
