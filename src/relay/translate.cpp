// SPDX-License-Identifier: ISC
#include "relay/translate.hpp"

#include <cassert>

namespace encsync::relay {

using namespace pfsync;

static_assert(kMaxConverted <= 255 * 4);

std::optional<Translator::Out> Translator::translate(Meaning meaning, std::uint8_t action,
                                                     Bytes message, LossCounters& losses,
                                                     std::uint8_t proto) {
    if (meaning.kind == Kind::eof)
        return std::nullopt; // each packet gets its own
    if (same())
        return Out{action, message};
    assert(message.size() <= buffer_.size());
    if (from_ == to_) {
        std::copy(message.begin(), message.end(), buffer_.begin());
        const MutableBytes copy = MutableBytes(buffer_).first(message.size());
        rename(meaning, copy, losses);
        return Out{action, copy};
    }
    const Converted made = convert(meaning, message, to_, buffer_, proto);
    if (made.refusal != Refusal::none) {
        losses.refused[static_cast<std::size_t>(made.refusal)]++;
        return std::nullopt;
    }
    for (std::size_t n = 0; n < kLossKinds; n++)
        losses.lost[n] += made.losses.contains(static_cast<Loss>(n)) ? 1 : 0;
    rename(made.meaning, made.message, losses);
    return Out{made.action, made.message};
}

// Every name in it; a message that is too short to have one passes as it is.
void Translator::rename(Meaning meaning, MutableBytes message, LossCounters& losses) const {
    if (map_.empty())
        return;
    bool known = true;
    const auto one = [&](std::size_t at) {
        known = rename(message.subspan(at, common::kIfnameSize)) && known;
    };
    const Layout& layout = traits(meaning.layout).state;
    if (meaning.kind == Kind::clear && message.size() >= common::kClrSize) {
        one(common::clr::ifname);
    } else if ((meaning.kind == Kind::insert || meaning.kind == Kind::update ||
                meaning.kind == Kind::remove) &&
               message.size() >= layout.size) {
        one(layout.ifname);
        if (layout.orig_ifname != 0)
            one(layout.orig_ifname);
        if (layout.rt_ifname.size != 0)
            one(layout.rt_ifname.at);
    }
    losses.unmapped += known ? 0 : 1;
}

// False: a name that is not in the map.
bool Translator::rename(MutableBytes name) const {
    const auto* text = reinterpret_cast<const char*>(name.data());
    const std::string_view old(text, ::strnlen(text, name.size()));
    // "all" is every interface, and no name is, too. Without a NUL it is none of a firewall.
    if (old.empty() || old == "all" || old.size() == name.size())
        return true;
    const std::string* found = map_.find(old);
    if (found == nullptr)
        return false;
    std::fill(name.begin(), name.end(), 0);
    std::copy(found->begin(), found->end(), name.begin());
    return true;
}

} // namespace encsync::relay
