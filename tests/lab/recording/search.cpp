// SPDX-License-Identifier: ISC
#include "tests/lab/recording/search.hpp"

#include "tests/lab/recording/derive.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <openssl/evp.h>
#include <sodium.h>

namespace encsync::recording {
namespace {

constexpr std::size_t kPiece = 16;
// Of 32 random bytes fewer are different in one case of ten million; text and pointers have fewer.
constexpr unsigned kDifferent = 20;
constexpr std::size_t kBase64 = 43; // characters of 32 bytes

// Which windows of 32 bytes may be random, as they are shifted over an area.
class Window {
  public:
    void add(std::uint8_t byte) { different_ += count_[byte]++ == 0 ? 1 : 0; }
    void drop(std::uint8_t byte) { different_ -= --count_[byte] == 0 ? 1 : 0; }
    bool may_be_random() const { return different_ >= kDifferent; }

  private:
    std::array<std::uint8_t, 256> count_{};
    unsigned different_ = 0;
};

std::vector<bool> random_windows(Bytes area) {
    std::vector<bool> random(area.size());
    Window window;
    for (std::size_t end = 0; end < area.size(); end++) {
        window.add(area[end]);
        if (end + 1 < kKey)
            continue;
        random[end + 1 - kKey] = window.may_be_random();
        window.drop(area[end + 1 - kKey]);
    }
    return random;
}

std::uint64_t word(Bytes area, std::size_t at) {
    return load_be<std::uint64_t>(&area[at]);
}

bool is_base64(std::uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/';
}

std::vector<std::uint8_t> unbase64(Bytes text) {
    std::vector<std::uint8_t> out(text.size() / 4 * 3 + 3);
    std::size_t size = 0;
    sodium_base642bin(out.data(), out.size(), reinterpret_cast<const char*>(text.data()),
                      text.size(), nullptr, &size, nullptr,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    out.resize(size);
    return out;
}

} // namespace

Search::Search(const Recording& recording, const std::vector<Secret>& known)
    : recording_(recording), known_(known), begins_(1 << 16) {
    for (const Secret& each : known) {
        add_pieces(each, each.bytes);
        if (each.bytes.size() == kKey)
            add_pieces(each, key_schedule(each.bytes.data()));
    }
}

void Search::add_pieces(const Secret& of, Bytes bytes) {
    for (std::size_t at = 0; at + kPiece <= bytes.size(); at++) {
        known_pieces_.emplace(word(bytes, at), std::pair(word(bytes, at + 8), &of));
        begins_[load_be<std::uint16_t>(&bytes[at])] = true;
    }
}

// ---- where to look -------------------------------------------------------------------------

void Search::look(const std::string& where, Bytes area) {
    look_at(where, area);
    for (std::size_t at = 0; at < area.size();) {
        const auto end =
            std::find_if_not(area.begin() + static_cast<long>(at), area.end(), is_base64);
        const auto size = static_cast<std::size_t>(end - area.begin()) - at;
        // It need not begin where the text before it ends.
        for (std::size_t skip = 0; skip < 4 && size >= kBase64 + skip; skip++)
            look_at(fmt::format("{} +{:x} base64", where, at + skip),
                    unbase64(area.subspan(at + skip, size - skip)));
        at += size + 1;
    }
}

void Search::look_at(const std::string& where, Bytes area) {
    look_for_pieces(where, area);
    const std::vector<bool> random = random_windows(area);
    for (std::size_t at = 0; at + kKey <= area.size(); at++) {
        if (!random[at] || recording_.words.contains(word(area, at)) ||
            recording_.words.contains(word(area, at + kKey - 8)))
            continue;
        candidates_++;
        const std::string here = fmt::format("{} +{:x}", where, at);
        try_short(here, area.subspan(at, kKey));
        if (at + kPrf <= area.size() && random[at + kPrf - kKey])
            try_long(here, area.subspan(at, kPrf));
    }
}

void Search::look_for_pieces(const std::string& where, Bytes area) {
    std::map<const Secret*, Piece> here;
    for (std::size_t at = 0; at + kPiece <= area.size(); at++) {
        if (!begins_[load_be<std::uint16_t>(&area[at])])
            continue;
        const auto [first, last] = known_pieces_.equal_range(word(area, at));
        for (auto each = first; each != last; ++each) {
            if (each->second.first != word(area, at + 8))
                continue;
            const Secret* of = each->second.second;
            const auto [place, fresh] =
                here.try_emplace(of, Piece{of->name, fmt::format("{} +{:x}", where, at), 0});
            if (!fresh)
                place->second.more++;
            break;
        }
    }
    for (auto& [secret, piece] : here)
        pieces_.push_back(std::move(piece));
}

// ---- what a candidate may be ---------------------------------------------------------------

void Search::try_short(const std::string& where, Bytes candidate) {
    const Found key{"key", candidate, where};
    const Trial trial(candidate.data());
    for (const Stream& stream : recording_.streams)
        if (const auto salt = trial.opens(stream.packets[stream.shortest]))
            note(stream, candidate.data(), *salt, key);
    for (const Negotiation& each : recording_.negotiations)
        try_skeyseed(each, prf(each.nonces, candidate), {"g^ir", candidate, where});
    // OpenSSL stores them as RFC 7748, 5 has them: some bits are fixed.
    if ((candidate[0] & 7) == 0 && (candidate[31] & 0xc0) == 0x40)
        try_private(where, candidate);
}

void Search::try_private(const std::string& where, Bytes candidate) {
    std::array<std::uint8_t, 32> own, shared;
    if (crypto_scalarmult_base(own.data(), candidate.data()) != 0)
        return;
    for (const Negotiation& each : recording_.negotiations)
        for (std::size_t side = 0; side < 2; side++)
            if (std::ranges::equal(own, each.publics[side]) &&
                crypto_scalarmult(shared.data(), candidate.data(), each.publics[1 - side].data()) ==
                    0)
                try_skeyseed(each, prf(each.nonces, shared), {"private key", candidate, where});
}

void Search::try_long(const std::string& where, Bytes candidate) {
    for (const Negotiation& each : recording_.negotiations) {
        try_skeyseed(each, candidate, {"SKEYSEED", candidate, where});
        try_sk_d(each, candidate, {"SK_d", candidate, where});
        try_mixed(each, candidate, {"SK_d before the PPK", candidate, where});
    }
}

void Search::try_skeyseed(const Negotiation& negotiation, Bytes skeyseed, const Found& found) {
    auto seed = negotiation.nonces;
    seed.insert(seed.end(), negotiation.spis.begin(), negotiation.spis.end());
    const auto keys = prf_plus<kIkeKeys>(skeyseed, seed);
    if (!try_key(negotiation.name + " initiator", &keys[kSkEi], found))
        return;
    try_key(negotiation.name + " responder", &keys[kSkEr], found);
    const Bytes sk_d = Bytes(keys).first(kPrf);
    try_sk_d(negotiation, sk_d, found);
    try_mixed(negotiation, sk_d, found);
}

void Search::try_mixed(const Negotiation& negotiation, Bytes sk_d, const Found& found) {
    for (const Secret& each : known_)
        if (each.name.starts_with("PPK"))
            try_sk_d(negotiation, prf_plus<kPrf>(each.bytes, sk_d), found);
}

void Search::try_sk_d(const Negotiation& negotiation, Bytes sk_d, const Found& found) {
    const auto keys = prf_plus<kChildKeys>(sk_d, negotiation.nonces);
    try_key(negotiation.children[0], &keys[kChildI], found);
    try_key(negotiation.children[1], &keys[kChildR], found);
}

bool Search::try_key(const std::string& stream, const std::uint8_t* key, const Found& found) {
    const Stream* there = recording_.find(stream);
    if (there == nullptr)
        return false;
    const auto salt = Trial(key).opens(there->packets[there->shortest]);
    if (salt)
        note(*there, key, *salt, found);
    return salt.has_value();
}

void Search::note(const Stream& stream, const std::uint8_t* key, const Salt& salt,
                  const Found& found) {
    const auto opened = std::ranges::count_if(stream.packets, [&](const Packet& packet) {
        return decrypt(key, salt, packet).has_value();
    });
    openings_.push_back({stream.name,
                         found.kind,
                         {found.secret.begin(), found.secret.end()},
                         found.where,
                         static_cast<std::size_t>(opened)});
}

} // namespace encsync::recording
