// SPDX-License-Identifier: ISC
#include "keysync/ppk_sync.hpp"

#include "keysync/ppk_request.hpp"

#include <algorithm>
#include <sodium.h>
#include <utility>

namespace encsync::keysync {

using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds kFirstPause = 1s, kLongestPause = 60s;
constexpr std::chrono::seconds kFirstRetry = 5s, kLongestRetry = 3600s;
constexpr std::chrono::seconds kFailed = 60s;
constexpr double kMostTokens = 16;

void wipe(std::optional<PpkStep>& step) {
    if (step)
        sodium_memzero(step->random.data(), step->random.size());
    step.reset();
}

} // namespace

std::string_view to_string(PpkPhase phase) {
    constexpr std::array<std::string_view, 6> kNames{
        "not used", "none yet", "waits for the peer", "making the next", "switching", "settled"};
    return kNames[static_cast<std::size_t>(phase)];
}

PpkSync::PpkSync(PpkHooks hooks) : hooks_(std::move(hooks)) {
    std::array<std::uint8_t, 8> random{};
    hooks_.random(random);
    session_ = load_be<std::uint64_t>(random.data());
}

void PpkSync::set(PeerId peer, const std::string& name, OwnPpks own) {
    Peer& p = peers_[peer];
    p.name = name;
    p.own = std::move(own);
    if (!p.own.used)
        wipe(p.step);
}

void PpkSync::on_up(PeerId peer) {
    Peer& p = peers_[peer];
    p.up = true;
    p.due = {};
    p.pause = kFirstPause;
}

// What was heard is of another time when it is up again.
void PpkSync::on_down(PeerId peer) {
    Peer& p = peers_[peer];
    p.up = false;
    p.heard.reset();
    wipe(p.step);
    p.stored = false;
}

bool PpkSync::rotate(PeerId peer) {
    Peer& p = peers_[peer];
    if (!p.own.used || !p.up)
        return false;
    p.asked = true;
    return true;
}

// The newest that both hold.
const OwnPpk* PpkSync::common(const Peer& peer) const {
    if (peer.heard)
        for (auto own = peer.own.held.rbegin(); own != peer.own.held.rend(); ++own)
            if (peer.heard->holds(own->id))
                return &*own;
    return nullptr;
}

bool PpkSync::settled(const Peer& peer) const {
    return peer.own.held.size() == 1 && peer.heard && peer.heard->held.size() == 1 &&
           common(peer) != nullptr;
}

PpkPhase PpkSync::phase(PeerId peer) const {
    const Peer& p = peers_[peer];
    if (!p.own.used)
        return PpkPhase::off;
    if (!p.heard)
        return p.own.held.empty() ? PpkPhase::none : PpkPhase::waits;
    const OwnPpk* shared = common(p);
    if (shared == nullptr)
        return p.step ? PpkPhase::making : p.own.held.empty() ? PpkPhase::none : PpkPhase::waits;
    if (shared->id != p.own.held.back().id || p.heard->held.back().id != shared->id)
        return PpkPhase::making;
    return settled(p) && hooks_.in_use(peer) == shared->id ? PpkPhase::settled
                                                           : PpkPhase::switching;
}

// ---- saying --------------------------------------------------------------------------------

PpkState PpkSync::state_of(const Peer& peer) const {
    PpkState state;
    state.held.assign(peer.own.held.begin(), peer.own.held.end());
    state.offer = peer.own.offer;
    state.wants = peer.wanted.has_value();
    state.carried = !peer.own.held.empty() &&
                    peer.own.held.back().origin == keys::PpkOrigin::hand &&
                    !(peer.heard && peer.heard->holds(peer.own.held.back().id));
    if (leads(peer) || peer.stored)
        state.step = peer.step;
    return state;
}

std::optional<PpkMessage> PpkSync::next_message(PeerId peer, Instant now) {
    Peer& p = peers_[peer];
    if (!p.own.used || !p.up)
        return std::nullopt;
    PpkState state = state_of(p);
    if (state != p.said) {
        p.due = now;
        p.pause = kFirstPause;
    }
    if (now < p.due)
        return std::nullopt;
    p.due = now + p.pause;
    p.pause = std::min(p.pause * 2, kLongestPause);
    p.said = state;
    return PpkMessage{session_, ++number_, std::move(state)};
}

// ---- hearing -------------------------------------------------------------------------------

void PpkSync::on_message(PeerId peer, const PpkMessage& message) {
    Peer& p = peers_[peer];
    if (!p.own.used || !p.up || (message.session == p.session && message.number <= p.number))
        return;
    p.session = message.session;
    p.number = message.number;
    // Perhaps it has not received what was said before.
    if (!p.heard) {
        p.due = {};
        p.pause = kFirstPause;
    }
    p.heard = message.state;
}

// What would be erased is nothing that the peer holds.
bool PpkSync::may_drop_all_but(const Peer& peer, const std::optional<keys::PpkId>& base) const {
    return std::ranges::all_of(peer.own.held, [&](const OwnPpk& own) {
        return own.id == base || !peer.heard->holds(own.id);
    });
}

bool PpkSync::take_token(Peer& peer) const {
    if (peer.filled != Instant{})
        peer.tokens = std::min(
            kMostTokens, peer.tokens + std::chrono::duration<double>(now_ - peer.filled) / 60s);
    peer.filled = now_;
    if (peer.tokens < 1)
        return false;
    peer.tokens -= 1;
    return true;
}

// The other one, to the leader's offer.
void PpkSync::answer(Peer& peer, PeerId id, const PpkStep& offered) {
    if (peer.step && peer.step->answers == offered.random && peer.step->base == offered.base &&
        peer.step->epoch == offered.epoch) {
        if (peer.stored)
            return;
    } else {
        // Its answer to what it was offered before goes.
        PpkStep step = offered;
        step.answers = offered.random;
        hooks_.random(step.random);
        wipe(peer.step);
        peer.step = step;
        peer.stored = false;
    }
    if (!may_drop_all_but(peer, offered.base) || !take_token(peer))
        return;
    mix(peer, id, *peer.step, offered.random);
}

// The leader, with the other's answer.
void PpkSync::finish(Peer& peer, PeerId id, const PpkStep& answered) {
    if (!peer.step || answered.answers != peer.step->random || answered.base != peer.step->base ||
        answered.epoch != peer.step->epoch || !may_drop_all_but(peer, answered.base) ||
        !take_token(peer))
        return;
    mix(peer, id, *peer.step, answered.random);
}

void PpkSync::mix(Peer& peer, PeerId id, const PpkStep& step, const keys::PpkRandom& theirs) {
    PpkMixRequest request{peer.name, step.base, {}};
    request.mix.epoch = step.epoch;
    request.mix.shares[0] = {name_, step.random};
    request.mix.shares[1] = {peer.name, theirs};
    ask(peer, id, {Request::Kind::mix_ppk, write_mix(request)}, [random = step.random](Peer& done) {
        if (done.step && done.step->random == random)
            done.stored = true;
    });
}

void PpkSync::ask(Peer& peer, PeerId id, Request request, std::function<void(Peer&)> done) {
    peer.under_way = true;
    hooks_.ask(std::move(request),
               [this, id, name = peer.name, done = std::move(done)](bool succeeded) {
                   Peer& p = peers_[id];
                   if (p.name != name)
                       return;
                   p.under_way = false;
                   if (!succeeded)
                       p.not_before = now_ + kFailed;
                   else if (done)
                       done(p);
               });
}

// ---- acting --------------------------------------------------------------------------------

void PpkSync::advance(PeerId peer, Instant now, keys::UnixTime wall) {
    now_ = now;
    Peer& p = peers_[peer];
    if (p.own.used && p.up && p.heard && !p.under_way && now >= p.not_before)
        decide(p, peer, wall);
}

void PpkSync::decide(Peer& peer, PeerId id, keys::UnixTime wall) {
    const OwnPpk* shared = common(peer);
    if (std::exchange(peer.asked, false))
        peer.wanted = shared == nullptr ? 0 : shared->epoch;
    if (shared != nullptr && peer.wanted && shared->epoch > *peer.wanted)
        peer.wanted.reset();
    if (shared != nullptr && settled(peer) && peer.own.rotate > 0s && !peer.wanted &&
        wall - shared->created >= peer.own.rotate.count())
        peer.wanted = shared->epoch;
    if (leads(peer)) {
        plan_step(peer);
    } else if (peer.step && !peer.heard->step) { // the leader needs no answer any more
        wipe(peer.step);
        peer.stored = false;
    }
    if (const auto step = peer.heard->step; step && leads(peer) == step->answers.has_value()) {
        if (leads(peer))
            finish(peer, id, *step);
        else
            answer(peer, id, *step);
        if (peer.under_way)
            return;
    }
    if (shared == nullptr)
        return;
    const bool offered = peer.own.held[peer.own.offer].id == shared->id;
    if (!offered)
        return ask(peer, id, {Request::Kind::offer_ppk, write_offer({peer.name, shared->id})}, {});
    if (peer.heard->offered()->id != shared->id)
        return;
    if (hooks_.in_use(id) != shared->id) {
        if (leads(peer) &&
            (peer.authenticated == Instant{} || now_ - peer.authenticated >= peer.retry)) {
            peer.retry = peer.authenticated == Instant{} ? kFirstRetry
                                                         : std::min(peer.retry * 2, kLongestRetry);
            peer.authenticated = now_;
            hooks_.authenticate(id);
        }
        return;
    }
    peer.authenticated = {};
    if (shared->id == peer.own.held.back().id && (peer.own.held.size() > 1 || !peer.own.confirmed))
        ask(peer, id, {Request::Kind::settle_ppk, peer.name}, {});
}

// The leader: whether there is a step to be made, and which.
void PpkSync::plan_step(Peer& peer) {
    const OwnPpk* shared = common(peer);
    const PpkState& heard = *peer.heard;
    const bool carried = heard.carried || state_of(peer).carried;
    bool needed = false;
    if (shared == nullptr)
        needed = true;
    else if (shared->id != peer.own.held.back().id || heard.held.back().id != shared->id)
        needed = true; // a step was begun
    else if (settled(peer))
        needed = peer.wanted || heard.wants;
    if (!needed || carried)
        return wipe(peer.step);
    // It has stored the key of this step, so what it holds has changed.
    if (peer.step && heard.step && heard.step->answers == peer.step->random &&
        !peer.step->base == (shared == nullptr))
        return;
    PpkStep step;
    if (shared != nullptr) {
        step.base = shared->id;
        step.epoch = shared->epoch + 1;
    } else {
        for (const OwnPpk& own : peer.own.held)
            step.epoch = std::max(step.epoch, own.epoch);
        for (const PpkName& theirs : heard.held)
            step.epoch = std::max(step.epoch, theirs.epoch);
        step.epoch++;
    }
    if (step.epoch == 0) // after 2^32 of them, or a peer that lies
        return wipe(peer.step);
    if (peer.step && peer.step->base == step.base && peer.step->epoch == step.epoch)
        return;
    hooks_.random(step.random);
    wipe(peer.step);
    peer.step = step;
}

} // namespace encsync::keysync
