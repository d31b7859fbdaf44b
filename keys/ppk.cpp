// SPDX-License-Identifier: ISC
#include "keys/ppk.hpp"

#include "keys/base64.hpp"
#include "keys/lines.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

constexpr std::string_view kRingTitle = "encsync preshared keys 1";
constexpr std::string_view kCarriedTitle = "encsync carried preshared key 1";
constexpr std::string_view kIdTitle = "encsync ppk id 1\n";
constexpr std::string_view kMixTitle = "encsync ppk mix 1\n";
constexpr std::string_view kConfirmed = "confirmed: yes\n";
constexpr std::array<std::string_view, 3> kOrigins{"tunnel", "hand", "mixed"};

// Only what std::to_string() would write.
template<class Number>
bool read_number(std::string_view text, Number& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc() && std::to_string(into) == text;
}

void append_ppk(SecretText& text, const Ppk& ppk) {
    text.append(
        fmt::format("ppk: {} {} {} ", ppk.epoch, to_text(ppk.created), to_string(ppk.origin)));
    text.append_base64(ppk.secret.bytes());
    text.append("\n");
}

Result<Ppk> read_ppk(Lines& lines) {
    auto line = lines.field("ppk");
    if (!line)
        return line.error();
    const auto words = split<4>(*line);
    if (!words)
        return lines.error("expected an epoch, a time, an origin and a secret");
    Ppk ppk;
    if (!read_number((*words)[0], ppk.epoch) || ppk.epoch == 0)
        return lines.error("not an epoch from 1");
    auto created = parse_time((*words)[1]);
    if (!created)
        return lines.error(created.error().text);
    ppk.created = *created;
    const auto origin = std::ranges::find(kOrigins, (*words)[2]);
    if (origin == kOrigins.end())
        return lines.error("an unknown origin");
    ppk.origin = static_cast<PpkOrigin>(origin - kOrigins.begin());
    if (!unbase64((*words)[3], ppk.secret.bytes()))
        return lines.error("not a secret of 32 bytes in base64");
    return ppk;
}

} // namespace

std::string_view to_string(PpkOrigin origin) {
    return kOrigins[static_cast<std::size_t>(origin)];
}

PpkId id_of(const Ppk& ppk) {
    PpkId id;
    crypto_generichash(id.data(), id.size(), as_bytes(kIdTitle).data(), kIdTitle.size(),
                       ppk.secret.bytes().data(), ppk.secret.bytes().size());
    return id;
}

std::string to_text(const PpkId& id) {
    std::string text = "PPK:";
    for (const std::uint8_t byte : id)
        text += fmt::format("{:02x}", byte);
    return text;
}

const Ppk* PpkRing::find(const PpkId& id) const {
    const auto found =
        std::ranges::find_if(keys, [&](const Ppk& each) { return id_of(each) == id; });
    return found == keys.end() ? nullptr : &*found;
}

SecretText write_ppks(const PpkRing& ring) {
    SecretText text;
    text.append(fmt::format("{}\npeer: {}\noffer: {}\n{}", kRingTitle, ring.peer, ring.offer + 1,
                            ring.confirmed ? kConfirmed : ""));
    for (const Ppk& ppk : ring.keys)
        append_ppk(text, ppk);
    text.append(checksum_line(text.view()));
    return text;
}

Result<PpkRing> read_ppks(std::string_view text) {
    if (text.size() > kMaxSecretText)
        return Error{fmt::format("longer than {} bytes", kMaxSecretText)};
    Lines lines(text);
    PpkRing ring;
    if (auto ok = lines.title(kRingTitle); !ok)
        return ok.error();
    auto peer = read_peer(lines);
    if (!peer)
        return peer.error();
    ring.peer = std::move(*peer);
    auto offer = lines.field("offer");
    if (!offer)
        return offer.error();
    if (!read_number(*offer, ring.offer) || ring.offer == 0)
        return lines.error("not a number from 1");
    ring.offer--;
    if (text.substr(lines.position()).starts_with(kConfirmed)) {
        ring.confirmed = true;
        static_cast<void>(lines.line());
    }
    do {
        auto ppk = read_ppk(lines);
        if (!ppk)
            return ppk.error();
        if (ring.keys.size() == kPpksPerPeer)
            return lines.error(fmt::format("more than {} keys", kPpksPerPeer));
        if (!ring.keys.empty() && ring.keys.front().epoch >= ppk->epoch)
            return lines.error("its epoch is not later than the one before");
        ring.keys.push_back(std::move(*ppk));
    } while (text.substr(lines.position()).starts_with("ppk: "));
    if (ring.offer >= ring.keys.size())
        return Error{"line 3: it offers one that is not there"};
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return ring;
}

SecretText write_carried(const CarriedPpk& carried) {
    SecretText text;
    text.append(fmt::format("{}\nfor: {} {}\n", kCarriedTitle, carried.names[0], carried.names[1]));
    append_ppk(text, carried.ppk);
    text.append(checksum_line(text.view()));
    return text;
}

Result<CarriedPpk> read_carried(std::string_view text) {
    if (text.size() > kMaxSecretText)
        return Error{fmt::format("longer than {} bytes", kMaxSecretText)};
    Lines lines(text);
    if (auto ok = lines.title(kCarriedTitle); !ok)
        return ok.error();
    auto names = lines.field("for");
    if (!names)
        return names.error();
    const auto words = split<2>(*names);
    if (!words || !((*words)[0] < (*words)[1]))
        return lines.error("expected two names, sorted");
    CarriedPpk carried;
    for (std::size_t n = 0; n < 2; n++) {
        if (auto ok = check_name((*words)[n]); !ok)
            return lines.error(ok.error().text);
        carried.names[n] = (*words)[n];
    }
    auto ppk = read_ppk(lines);
    if (!ppk)
        return ppk.error();
    if (ppk->origin != PpkOrigin::hand)
        return lines.error("not one that was made to be carried");
    carried.ppk = std::move(*ppk);
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return carried;
}

Ppk next_ppk(const Ppk* base, const PpkMix& mix, UnixTime now) {
    Ppk next;
    next.epoch = mix.epoch;
    next.created = now;
    if (base != nullptr && base->origin != PpkOrigin::tunnel)
        next.origin = PpkOrigin::mixed;
    const bool swapped = mix.shares[1].name < mix.shares[0].name;
    // Wiped, as is the copy of the randoms in it.
    Secret<sizeof(crypto_generichash_state)> memory;
    auto* state = reinterpret_cast<crypto_generichash_state*>(memory.bytes().data());
    crypto_generichash_init(state, base == nullptr ? nullptr : base->secret.bytes().data(),
                            base == nullptr ? 0 : base->secret.bytes().size(),
                            next.secret.bytes().size());
    const auto add = [&](Bytes bytes) {
        crypto_generichash_update(state, bytes.data(), bytes.size());
    };
    std::array<std::uint8_t, 4> number;
    add(as_bytes(kMixTitle));
    store_be(number.data(), mix.epoch);
    add(number);
    for (const PpkMix::Share* share :
         {&mix.shares[swapped ? 1 : 0], &mix.shares[swapped ? 0 : 1]}) {
        store_be(number.data(), static_cast<std::uint32_t>(share->name.size()));
        add(number);
        add(as_bytes(share->name));
        add(share->random);
    }
    crypto_generichash_final(state, next.secret.bytes().data(), next.secret.bytes().size());
    return next;
}

Ppk make_ppk(std::uint32_t epoch, UnixTime now) {
    Ppk ppk;
    ppk.epoch = epoch;
    ppk.created = now;
    ppk.origin = PpkOrigin::hand;
    ppk.secret = SecretSeed::random();
    return ppk;
}

} // namespace encsync::keys
