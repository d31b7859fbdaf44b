// SPDX-License-Identifier: ISC
#include "keys/pairing.hpp"

#include "keys/lines.hpp"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <sodium.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kMagic = "ESPAIR";
// Each hash and signature begins with another one of these, so that none is valid as another.
constexpr std::string_view kCommitDomain = "encsync pairing 1 commitment\n";
constexpr std::string_view kTranscriptDomain = "encsync pairing 1 transcript\n";
constexpr std::string_view kCodeDomain = "encsync pairing 1 code\n";
constexpr std::string_view kConsentDomain = "encsync pairing 1 consent\n";
constexpr std::uint64_t kCodes = 100'000'000;

// BLAKE2b-256.
class Hash {
  public:
    explicit Hash(std::string_view domain) {
        crypto_generichash_init(&state_, nullptr, 0, 32);
        add(as_bytes(domain));
    }
    Hash& add(Bytes bytes) {
        crypto_generichash_update(&state_, bytes.data(), bytes.size());
        return *this;
    }
    // With its size before it: two texts in a row can be divided in one way only.
    Hash& add_sized(std::string_view text) {
        std::array<std::uint8_t, 4> size;
        store_be(size.data(), static_cast<std::uint32_t>(text.size()));
        return add(size).add(as_bytes(text));
    }
    std::array<std::uint8_t, 32> end() {
        std::array<std::uint8_t, 32> out;
        crypto_generichash_final(&state_, out.data(), out.size());
        return out;
    }

  private:
    crypto_generichash_state state_;
};

std::array<std::uint8_t, 32> commitment(Pairing::Role role, Bytes nonce, std::string_view file) {
    const std::array<std::uint8_t, 1> byte{static_cast<std::uint8_t>(role)};
    return Hash(kCommitDomain).add(byte).add(nonce).add_sized(file).end();
}

// 64 bits of hash are so many more than the codes that each code is as likely as any other.
std::string code_of(Bytes transcript) {
    const auto hash = Hash(kCodeDomain).add(transcript).end();
    const std::uint64_t code = load_be<std::uint64_t>(hash.data()) % kCodes;
    return fmt::format("{:04} {:04}", code / 10'000, code % 10'000);
}

bool names_own_key(const PublicFile& theirs, const PublicFile& own) {
    return std::ranges::any_of(theirs.keys, [&](const PublicKey& key) {
        return std::ranges::find(own.keys, key.key, &PublicKey::key) != own.keys.end();
    });
}

} // namespace

Pairing::Nonce Pairing::fresh() {
    if (sodium_init() < 0)
        std::abort();
    Nonce nonce;
    randombytes_buf(nonce.data(), nonce.size());
    return nonce;
}

Pairing::Pairing(Role role, std::string own, std::string peer, Check check, const Nonce& nonce)
    : role_(role), own_(std::move(own)), name_(std::move(peer)), check_(std::move(check)),
      nonce_(nonce) {
    send(Kind::commit, commitment(role_, nonce_, own_));
}

Pairing::Role Pairing::other() const {
    return role_ == Role::connector ? Role::listener : Role::connector;
}

void Pairing::send(Kind kind, Bytes body) {
    out_.insert(out_.end(), kMagic.begin(), kMagic.end());
    out_.insert(out_.end(), {kVersion, static_cast<std::uint8_t>(kind),
                             static_cast<std::uint8_t>(body.size() >> 8),
                             static_cast<std::uint8_t>(body.size())});
    out_.insert(out_.end(), body.begin(), body.end());
}

void Pairing::reveal() {
    std::vector<std::uint8_t> body(nonce_.begin(), nonce_.end());
    body.insert(body.end(), own_.begin(), own_.end());
    send(Kind::reveal, body);
    revealed_ = true;
}

Error Pairing::refuse(Refusal refusal, std::string text) {
    const std::array<std::uint8_t, 1> body{static_cast<std::uint8_t>(refusal)};
    send(Kind::refusal, body);
    over_ = true;
    return Error{std::move(text)};
}

Result<void> Pairing::receive(Bytes bytes) {
    if (over_)
        return Error{"it goes on after the end of the pairing"};
    in_.insert(in_.end(), bytes.begin(), bytes.end());
    for (;;) {
        // As soon as a byte is wrong: another protocol may never send a whole header.
        const std::size_t magic = std::min(in_.size(), kMagic.size());
        if (as_text(Bytes(in_).first(magic)) != kMagic.substr(0, magic))
            return refuse(Refusal::message, "it sends something else than a pairing");
        if (in_.size() > kMagic.size() && in_[kMagic.size()] != kVersion)
            return refuse(Refusal::version,
                          fmt::format("it speaks version {} of the pairing, and this encsync "
                                      "version {}: install one release on both",
                                      in_[kMagic.size()], kVersion));
        if (in_.size() < kHeader)
            return {};
        const auto kind = static_cast<Kind>(in_[kMagic.size() + 1]);
        const std::size_t size = load_be<std::uint16_t>(in_.data() + kMagic.size() + 2);
        if (auto ok = check_size(kind, size); !ok)
            return refuse(Refusal::message, ok.error().text);
        if (in_.size() < kHeader + size)
            return {};
        const std::vector<std::uint8_t> body(in_.begin() + kHeader,
                                             in_.begin() + static_cast<long>(kHeader + size));
        in_.erase(in_.begin(), in_.begin() + static_cast<long>(kHeader + size));
        if (auto ok = take_message(kind, body); !ok) {
            over_ = true;
            return ok;
        }
    }
}

Result<void> Pairing::check_size(Kind kind, std::size_t size) {
    const auto exactly = [&](std::string_view what, std::size_t right) -> Result<void> {
        if (size == right)
            return {};
        return Error{fmt::format("its {} has {} bytes instead of {}", what, size, right)};
    };
    switch (kind) {
    case Kind::commit:
        return exactly("commitment", kCommitment);
    case Kind::reveal:
        if (size <= sizeof(Nonce) || size > sizeof(Nonce) + kMaxPublicText)
            return Error{fmt::format("what it reveals has {} bytes, and may have {} to {}", size,
                                     sizeof(Nonce) + 1, sizeof(Nonce) + kMaxPublicText)};
        return {};
    case Kind::confirm:
        return exactly("confirmation", kSignature);
    case Kind::refusal:
        return exactly("refusal", 1);
    }
    return Error{
        fmt::format("it sends a message of the unknown kind {}", static_cast<unsigned>(kind))};
}

Result<void> Pairing::take_message(Kind kind, Bytes body) {
    switch (kind) {
    case Kind::commit:
        return take_commit(body);
    case Kind::reveal:
        return take_reveal(body);
    case Kind::confirm:
        return take_confirm(body);
    case Kind::refusal:
        break;
    }
    return take_refusal(body[0]);
}

Result<void> Pairing::take_commit(Bytes body) {
    if (committed_)
        return refuse(Refusal::message, "it commits itself a second time");
    std::ranges::copy(body, committed_.emplace().begin());
    // Whoever reveals first can be left alone with that, and the other end has the code. So it is
    // the side that does not wait for further connections after that.
    if (role_ == Role::connector)
        reveal();
    return {};
}

Result<void> Pairing::take_reveal(Bytes body) {
    if (!committed_)
        return refuse(Refusal::message, "it reveals what it has not committed itself to");
    if (peer_)
        return refuse(Refusal::message, "it reveals its keys a second time");
    const Bytes nonce = body.first(sizeof(Nonce));
    const std::string_view text = as_text(body.subspan(sizeof(Nonce)));
    if (commitment(other(), nonce, text) != *committed_)
        return refuse(Refusal::message,
                      "it reveals something else than it has committed itself to");
    auto file = read_public_file(text);
    if (!file)
        return refuse(Refusal::message, fmt::format("its public file: {}", file.error().text));
    const auto own = read_public_file(own_);
    peer_ = std::move(*file);
    if (own && names_own_key(*peer_, *own))
        return refuse(Refusal::key, "it shows this node's own key");
    if (const std::string& name = peer_->keys.front().name; name != name_)
        return refuse(Refusal::name,
                      fmt::format("it is '{0}', and the conn expects '{1}': write rightid={0} into "
                                  "the conn, or node={1} there",
                                  name, name_));
    if (auto ok = check_(*peer_); !ok)
        return refuse(Refusal::key, fmt::format("its key: {}", ok.error().text));
    if (role_ == Role::listener)
        reveal();
    const bool first = role_ == Role::connector;
    const Bytes mine(nonce_);
    transcript_ = Hash(kTranscriptDomain)
                      .add_sized(first ? std::string_view(own_) : text)
                      .add_sized(first ? text : std::string_view(own_))
                      .add(first ? mine : nonce)
                      .add(first ? nonce : mine)
                      .end();
    code_ = code_of(transcript_);
    return {};
}

Result<void> Pairing::take_confirm(Bytes body) {
    if (!code_)
        return refuse(Refusal::message, "it confirms a code that there is not");
    if (confirmed_)
        return refuse(Refusal::message, "it confirms a second time");
    if (!verify(peer_->keys.front().key, consent(other()), body))
        return refuse(Refusal::message, "its confirmation is not signed with its key, or not for "
                                        "this pairing");
    confirmed_ = true;
    return {};
}

Error Pairing::take_refusal(std::uint8_t refusal) const {
    switch (static_cast<Refusal>(refusal)) {
    case Refusal::message:
        return Error{fmt::format("{} could not read what it got: this is another release, or "
                                 "somebody has changed it on the way",
                                 name_)};
    case Refusal::version:
        return Error{fmt::format("{} speaks another version of the pairing: install one release on "
                                 "both",
                                 name_)};
    case Refusal::name:
        return Error{fmt::format("{} expects another name than that of this node: write it as "
                                 "rightid into the conn there",
                                 name_)};
    case Refusal::key:
        return Error{
            fmt::format("{} cannot trust the key of this node; its screen says why", name_)};
    case Refusal::declined:
        return Error{fmt::format("the answer at {} was not yes", name_)};
    }
    return Error{
        fmt::format("{} has ended the pairing, for the unknown reason {}", name_, refusal)};
}

std::string Pairing::consent(Role role) const {
    std::string text(kConsentDomain);
    text += static_cast<char>(role);
    text += as_text(transcript_);
    return text;
}

void Pairing::confirm(const Identity& identity) {
    if (!code_ || said_yes_ || over_)
        return;
    send(Kind::confirm, sign(identity, consent(role_)));
    said_yes_ = true;
}

void Pairing::decline() {
    if (!over_)
        refuse(Refusal::declined, {});
}

} // namespace encsync::keys
