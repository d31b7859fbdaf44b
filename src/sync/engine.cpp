// SPDX-License-Identifier: ISC
// Time, and what the administrator asks.
#include "sync/engine.hpp"

#include <algorithm>

namespace encsync::sync {

using namespace std::chrono_literals;
namespace {

constexpr Instant kPlainAfter = 3s; // heard, but never a hello: a pf peer
constexpr Instant kBulkRetry = 5s;
constexpr Instant kPlainAgain = 60s; // longer than pf says nothing of a flow that moves
constexpr Instant kBlocked = 10ms;   // a link that is full says when it is not, too

} // namespace

const char* to_string(Role role) {
    switch (role) {
    case Role::active:
        return "active";
    case Role::standby:
        return "standby";
    case Role::automatic:
        break;
    }
    return "auto";
}

const char* to_string(Refused refused) {
    static constexpr const char* kNames[kRefused] = {
        "fault",        "unknown_action", "short_message", "own_creatorid",     "id_clash",
        "table_limit",  "not_owner",      "no_sync",       "unknown_state",     "foreign_session",
        "bad_ack",      "bad_hello",      "hello_version", "expectation_limit", "too_often",
        "foreign_bulk", "bad_ask",        "unasked"};
    return kNames[static_cast<std::size_t>(refused)];
}

Engine::Engine(Options options, table::Table& table, link::Link& link)
    : options_(std::move(options)), table_(table), link_(link), flows_(options_.index_seed) {
    for (const PeerOptions& peer : options_.peers)
        add_peer(peer_count(), peer);
    births_ = static_cast<std::uint32_t>(options_.session >> 32);
}

Engine::~Engine() = default;

// ---- time ----------------------------------------------------------------------------------

void Engine::advance(Instant now) {
    if (started_ < Instant::zero())
        started_ = now;
    now_ = std::max(now, now_);
    now_s_ =
        static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(now_).count());
    for (PeerId peer = 0; peer < peer_count(); peer++) {
        advance_session(peer);
        put_back_vanished(peer);
    }
    put_clashing();
    come_of_age(now_);
    forget_former(now_);
    advance_deferred();
    settle_stranded();
    look_at_masters();
    give_up_masters();
    if (now_ >= refresh_due_)
        refresh_round();
    if (now_ >= relax_due_)
        relax_round();
    if (now_ >= pf_due_)
        pf_round();
    if (now_ >= orphans_due_)
        look_for_orphans();
    if (now_ >= unclaimed_due_)
        settle_unclaimed(true);
    if (std::any_of(sessions_.begin(), sessions_.end(),
                    [](const auto& s) { return s->reachable(); }))
        alone_since_ = now_;
    else if (now_ - std::max(started_, alone_since_) >= options_.join_wait)
        served_alone_ = true;
}

void Engine::advance_session(PeerId peer) {
    Session& s = *sessions_[peer];
    end_waits(peer);
    if (!s.link_up)
        return;
    if (!s.silent && s.extended && now_ - s.last_heard >= Session::kSilence)
        on_silent(peer);
    if (s.greets() && now_ >= s.hello_due)
        s.hello_now = true;
    if (s.options.extended && s.heard_plain && s.remote == 0 && !s.assumed_plain &&
        now_ - s.up_since > kPlainAfter) {
        s.assumed_plain = true;
        review_zones(peer);
        request_bulk(peer);
    }
    if (!s.silent && now_ >= s.outstanding.deadline())
        s.outstanding.expire([&](const Item& item) { say_again(peer, item); });
    if (s.plain() && (s.bulk_requested || s.bulk_arriving) && now_ >= s.bulk_retry) {
        retry_plain_bulk(peer);
    } else if (!s.plain() && s.bulk_requested && !s.bulk_arriving && now_ >= s.bulk_retry) {
        s.bulk_request_now = true;
        s.bulk_retry = now_ + kBulkRetry;
    }
}

Instant Engine::deadline() const {
    Instant next = std::min({refresh_due_, relax_due_, orphans_due_, unclaimed_due_, pf_due_,
                             early_due_, young_.next(), unconfirmed_.next(), stranded_.next(),
                             masters_.next(), clashing_.next()});
    if (!deferred_.empty())
        next = std::min(next, deferred_.front().due);
    for (PeerId peer = 0; peer < peer_count(); peer++)
        if (may_put_back(peer))
            next = std::min(next, now_);
    if (!ever_in_step_ && !served_alone_)
        next =
            std::min(next, std::max(now_, std::max(started_, alone_since_) + options_.join_wait));
    for (const auto& p : sessions_) {
        const Session& s = *p;
        if (!s.link_up)
            continue;
        Instant speak = s.ack_due;
        if (s.greets())
            speak = std::min(speak, s.hello_due);
        if (s.extended && s.may_talk())
            speak = std::min(
                {speak, s.checks.walk_at(), s.sums() ? s.checks.root_due : Instant::max()});
        next = std::min(next, s.blocked ? std::max(speak, now_ + kBlocked) : speak);
        next = std::min(next, end_of_wait(s));
        if (s.extended && !s.silent)
            next = std::min({next, s.last_heard + Session::kSilence, s.outstanding.deadline()});
        if (s.plain() ? s.bulk_requested || s.bulk_arriving : s.bulk_requested && !s.bulk_arriving)
            next = std::min(next, s.bulk_retry);
        if (s.sending_bulk && !s.bulk_walked && s.bulk_pause > now_)
            next = std::min(next, s.bulk_pause);
    }
    return next;
}

// ---- the administrator's side --------------------------------------------------------------

void Engine::set_role(Role role) {
    const bool promoted = role == Role::active && options_.role != Role::active;
    const bool other_role = role != options_.role;
    options_.role = role;
    if (role == Role::standby) // who takes over wants those, too
        come_of_age(Instant::max());
    if (promoted)
        take_from_plain();
    for (auto& s : sessions_)
        s->hello_now = s->link_up && s->greets();
    reconcile_roles();
    if (other_role)
        relax_all();
    watch_orphans();
}

void Engine::request_bulk(PeerId peer) {
    Session& s = *sessions_[peer];
    s.bulk_requested = true;
    s.bulk_arriving = false;
    s.bulk_request_now = true;
    s.bulk_tries = 0;
    s.pf.bulk_asked = now_;
    if (s.plain())
        pf_due_ = std::min(pf_due_, now_);
    s.bulk_retry = now_ + (s.plain() ? traits(s.dialect).bulk.retry : Instant(kBulkRetry));
}

// What was refused for want of room in the index is there once a comparison says so. pf peers
// compare nothing; they will have named it again.
bool Engine::holds_all_of(PeerId peer) const {
    const Session& s = *sessions_[peer];
    if (lacks(peer))
        return false;
    return s.over_limit < Instant::zero() ||
           (s.extended ? s.checks.equal > s.over_limit : now_ - s.over_limit > kPlainAgain);
}

// IKE says that the peer lives. One of ours would have said hello by now; a pf firewall may have
// nothing to say.
bool Engine::misunderstood(PeerId peer, std::string* why) const {
    const Session& s = *sessions_[peer];
    if (!s.link_up || s.accepted || now_ - std::max(s.up_since, s.last_heard) < Session::kSilence)
        return false;
    const bool says_nothing = s.refusal.empty();
    const bool ours = s.options.extended && s.options.dialect;
    if (says_nothing && (!ours || s.last_heard >= s.up_since))
        return false;
    if (why != nullptr)
        *why = says_nothing ? "its SAs are up, but nothing that it says arrives"
                            : "nothing that it says is understood: " + s.refusal;
    return true;
}

bool Engine::ready(std::string* why) const {
    const auto not_yet = [why](std::string reason) {
        if (why != nullptr)
            *why = std::move(reason);
        return false;
    };
    if (!table_known_)
        return not_yet("the state table has not been read yet");
    for (const auto& s : sessions_)
        if (s->reachable() && !s->in_step && !s->pf.gave_up && options_.role != Role::active)
            return not_yet("the bulk update of " + s->options.name + " is not complete");
    std::string refusal;
    for (PeerId peer = 0; peer < peer_count() && options_.role != Role::active; peer++)
        if (misunderstood(peer, &refusal))
            return not_yet("peer " + sessions_[peer]->options.name + ": " + refusal);
    // One that serves, and whose process was only started again, has the table and goes on.
    const bool serving = options_.role == Role::active && options_.table_kept;
    if (!ever_in_step_ && !served_alone_ && !serving && has_peers())
        return not_yet("no peer has been heard yet");
    // Only while the peer is there: once it is gone, to serve most of its flows is better than
    // none.
    for (PeerId peer = 0; peer < peer_count() && options_.role != Role::active; peer++) {
        const Session& s = *sessions_[peer];
        if (!s.reachable() || holds_all_of(peer))
            continue;
        if (const std::size_t n = missing_of(peer, Missing::no_room); n != 0)
            return not_yet("the state table has no room for " + std::to_string(n) + " states of " +
                           s.options.name + ": raise net.netfilter.nf_conntrack_max");
        if (lacks(peer))
            return not_yet("the state table does not hold " + std::to_string(missing_of(peer)) +
                           " states of " + s.options.name);
        return not_yet(s.options.name + " has more states than the " +
                       std::to_string(options_.max_states) + " that this node can keep");
    }
    if (options_.role != Role::active)
        if (const auto missing = missing_edges(); !missing.empty())
            return not_yet(describe(missing.front()));
    return true;
}

} // namespace encsync::sync
