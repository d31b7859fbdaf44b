// SPDX-License-Identifier: ISC
#include "keysync/ppk_message.hpp"

#include "pfsync/extension.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace encsync::keysync {

namespace ext = pfsync::extension;

namespace {

template<class Array>
Array copy(Bytes m, std::size_t at) {
    Array out;
    std::copy_n(m.begin() + static_cast<long>(at), out.size(), out.begin());
    return out;
}

} // namespace

bool PpkState::holds(const keys::PpkId& id) const {
    return std::ranges::find(held, id, &PpkName::id) != held.end();
}

Result<PpkMessage> read_ppk(Bytes m) {
    if (m.size() < ext::ppk::size)
        return Error{fmt::format("PPK of {} bytes", m.size())};
    PpkMessage message;
    message.session = load_be<std::uint64_t>(&m[ext::ppk::session]);
    message.number = load_be<std::uint64_t>(&m[ext::ppk::number]);
    PpkState& state = message.state;
    const std::size_t count = m[ext::ppk::held];
    state.offer = m[ext::ppk::offer];
    if (count > ext::ppk::most || (count == 0 ? state.offer != 0 : state.offer >= count))
        return Error{fmt::format("PPK offers key {} of {}", state.offer, count)};
    for (std::size_t n = 0; n < count; n++)
        state.held.push_back({copy<keys::PpkId>(m, ext::ppk::ids + 16 * n),
                              load_be<std::uint32_t>(&m[ext::ppk::epochs + 4 * n])});
    const std::uint8_t flags = m[ext::ppk::flags];
    state.wants = (flags & ext::ppk::kWants) != 0;
    state.carried = (flags & ext::ppk::kCarried) != 0;
    if ((flags & (ext::ppk::kOffers | ext::ppk::kAnswers)) == 0)
        return message;
    PpkStep step;
    step.epoch = load_be<std::uint32_t>(&m[ext::ppk::epoch]);
    if (step.epoch == 0)
        return Error{"PPK makes a key of epoch 0"};
    if (const auto base = copy<keys::PpkId>(m, ext::ppk::base); base != keys::PpkId{})
        step.base = base;
    step.random = copy<keys::PpkRandom>(m, ext::ppk::random);
    if ((flags & ext::ppk::kAnswers) != 0)
        step.answers = copy<keys::PpkRandom>(m, ext::ppk::answers);
    state.step = step;
    return message;
}

bool write(pfsync::Builder& packet, const PpkMessage& message) {
    std::uint8_t* m = packet.add(ext::kPpk, ext::ppk::size);
    if (m == nullptr)
        return false;
    const PpkState& state = message.state;
    store_be(m + ext::ppk::session, message.session);
    store_be(m + ext::ppk::number, message.number);
    const std::size_t count = std::min(state.held.size(), ext::ppk::most);
    m[ext::ppk::held] = static_cast<std::uint8_t>(count);
    m[ext::ppk::offer] = static_cast<std::uint8_t>(state.offer);
    for (std::size_t n = 0; n < count; n++) {
        store_be(m + ext::ppk::epochs + 4 * n, state.held[n].epoch);
        std::ranges::copy(state.held[n].id, m + ext::ppk::ids + 16 * n);
    }
    std::uint8_t flags = 0;
    if (state.wants)
        flags |= ext::ppk::kWants;
    if (state.carried)
        flags |= ext::ppk::kCarried;
    if (state.step) {
        flags |= state.step->answers ? ext::ppk::kAnswers : ext::ppk::kOffers;
        store_be(m + ext::ppk::epoch, state.step->epoch);
        if (state.step->base)
            std::ranges::copy(*state.step->base, m + ext::ppk::base);
        std::ranges::copy(state.step->random, m + ext::ppk::random);
        if (state.step->answers)
            std::ranges::copy(*state.step->answers, m + ext::ppk::answers);
    }
    m[ext::ppk::flags] = flags;
    return true;
}

} // namespace encsync::keysync
