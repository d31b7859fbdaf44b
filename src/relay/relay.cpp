// SPDX-License-Identifier: ISC
#include "relay/relay.hpp"

#include "pfsync/build.hpp"
#include "pfsync/extension.hpp"
#include "relay/full_state.hpp"

#include <algorithm>
#include <chrono>

namespace encsync::relay {

using namespace std::chrono_literals;
using pfsync::Kind;
namespace ext = pfsync::extension;

namespace {

// To compare costs one message, but to be behind costs what is lost meanwhile.
constexpr sync::Duration kRootInterval = 1s;
constexpr sync::Duration kTick = 1ms; // of what is paced
// What goes in circles does so until a gateway has said its name.
constexpr sync::Duration kNameInterval = 1s, kNameLasts = 5s;
// So long after the last packet that was accepted, one that was not is no accident.
constexpr sync::Duration kMisunderstood = 5s;
// A bulk update is over if none of it arrives for so long; one from a gateway also after so many
// sums, which a gateway sends between its bulk updates.
constexpr sync::Duration kFillQuiet = 5s, kBulkQuiet = 5s;
constexpr unsigned kFillSums = 3;
// After the start, a firewall that asks for all states waits for the first gateway.
constexpr sync::Duration kStartWait = 5s;
// What the gateway that was active before may have failed to send.
constexpr std::uint32_t kTakeover = 30; // seconds
// A bulk update goes no further ahead of the link.
constexpr std::size_t kWalkBelow = std::size_t{64} << 10;
constexpr int kWalkStates = 2048; // a call
// Messages of version 6 are at most 255 words long.
constexpr std::size_t kMaxOwn = 255 * 4;

} // namespace

Relay::Relay(sync::Link& link, const Options& options)
    : link_(link), options_(options), active_(options.active), store_(options.seed) {}

template<class Each>
void Relay::each(Side side, Each&& action) {
    for (auto& place : places_)
        if (place && place->leg.side() == side)
            action(*place);
}

// ---- legs ----------------------------------------------------------------------------------

void Relay::add(PeerId peer, Side side, pfsync::Dialect dialect, std::size_t max_states,
                const InterfaceMap& names) {
    places_[peer] = std::make_unique<Place>(store_, peer, side, dialect, names);
    store_.set_limit(peer, max_states);
    if (side == Side::cable)
        cables_ = static_cast<std::uint16_t>(cables_ | 1U << peer);
}

void Relay::remove(PeerId peer) {
    places_[peer]->leg.clear(store_);
    places_[peer].reset();
    store_.make_orphans(peer);
    cables_ = static_cast<std::uint16_t>(cables_ & ~(1U << peer));
}

void Relay::on_up(PeerId peer) {
    Place& place = *places_[peer];
    place.up = true;
    place.gap_began = std::exchange(place.gap_ended, now_) == sync::Instant{} ? now_ : place.heard;
    place.root_due = now_ + kRootInterval;
    if (place.leg.side() == Side::cable) {
        if (active_)
            exchange_all(place);
        return;
    }
    if (active_) // first: what it has of a former session of ours becomes an orphan, and so is sent
        place.comparison.send_root(options_.session, own());
    if (store_.digest(peer).count() == 0)
        fill_from(place);
}

void Relay::on_down(PeerId peer) {
    Place& place = *places_[peer];
    place.leg.clear(store_);
    place.up = place.behind = place.filling = place.asks = false;
    place.walk = {};
    place.stranger.reset();
    place.shown.reset();
    place.refusal.clear();
}

void Relay::set_active(bool active) {
    if (std::exchange(active_, active) == active)
        return;
    const std::uint32_t since = std::max(second_, kTakeover + 1) - kTakeover; // never 0: all
    for (const auto& place : places_) {
        if (!place)
            continue;
        Place& to = *place;
        if (to.leg.side() == Side::cable) {
            to.leg.clear(store_);
            to.walk = {};
        }
        if (!active || !to.up)
            continue;
        if (to.leg.side() == Side::cable) {
            say_name(to);
            request_bulk(to);
        }
        for (const state::StateId id : store_.removed_since(since))
            enqueue_id(to, Kind::remove_c, id);
        if (to.walk.phase == Walk::Phase::none)
            begin_walk(to, false, since);
    }
}

pfsync::Expected Relay::expected(PeerId peer) const {
    const Leg& leg = places_[peer]->leg;
    return leg.side() == Side::gateway ? std::nullopt : pfsync::Expected(leg.dialect());
}

// ---- what is shown -------------------------------------------------------------------------

bool Relay::filling() const {
    return std::ranges::any_of(places_, [](const auto& place) { return place && place->filling; });
}

std::optional<Relay::Unready> Relay::unready() const {
    using Why = Unready::Why;
    bool gateway = false;
    for (PeerId peer = 0; peer < kMaxPeers; peer++) {
        const auto& place = places_[peer];
        if (place && place->leg.side() == Side::cable) {
            if (!place->up)
                return Unready{Why::cable_down, peer};
            if (place->stranger)
                return Unready{Why::loop, peer};
            if (!misunderstood(peer).empty())
                return Unready{Why::misunderstood, peer};
        }
        gateway = gateway || (place && place->leg.side() == Side::gateway && place->up);
    }
    if (!gateway)
        return Unready{Why::no_gateway};
    for (PeerId peer = 0; peer < kMaxPeers; peer++)
        if (places_[peer] && places_[peer]->filling)
            return Unready{Why::filling, peer};
    return std::nullopt;
}

std::optional<Relay::Loop> Relay::loop(PeerId cable) const {
    const auto& stranger = places_[cable]->stranger;
    if (!stranger)
        return std::nullopt;
    for (const auto& place : places_)
        if (place && place->leg.side() == Side::gateway &&
            place->comparison.session() == stranger->session)
            return Loop{false, place->leg.peer()};
    return Loop{stranger->session == options_.session, kNoPeer};
}

std::string Relay::misunderstood(PeerId peer) const {
    const Place& place = *places_[peer];
    const bool for_long = now_ - std::max(place.heard, place.gap_ended) >= kMisunderstood;
    return for_long ? place.refusal : std::string();
}

std::optional<pfsync::Dialect> Relay::other_wire(PeerId peer) const {
    const Place& place = *places_[peer];
    return place.shown == place.leg.dialect() ? std::nullopt : place.shown;
}

const LegCounters& Relay::counters(PeerId peer) const {
    return places_[peer]->leg.counters;
}

const LossCounters& Relay::losses(PeerId peer) const {
    return places_[peer]->leg.losses;
}

std::size_t Relay::waiting(PeerId peer) const {
    return places_[peer]->leg.waiting();
}

std::optional<sync::Duration> Relay::since_equal(PeerId peer) const {
    const sync::Instant equal = places_[peer]->comparison.equal();
    return equal == sync::kNever ? std::nullopt : std::optional(now_ - equal);
}

// ---- receiving -----------------------------------------------------------------------------

void Relay::on_packet(PeerId peer, Bytes payload) {
    Place& from = *places_[peer];
    from.heard = now_;
    from.refusal.clear();
    const pfsync::Dialect dialect = from.leg.dialect();
    // In the packets of another version a gateway sends only our own messages.
    const bool own_only = from.leg.side() == Side::gateway && !payload.empty() &&
                          payload[pfsync::common::header::version] != version_of(dialect);
    pfsync::Parser parser(payload, own_only ? std::nullopt : pfsync::Expected(dialect));
    while (const pfsync::Section* section = parser.next()) {
        if (section->kind == Kind::eof || section->stride == 0)
            continue; // each packet gets its own
        const bool own = traits(parser.dialect()).extensible() && section->action >= ext::kFirst &&
                         section->action <= ext::kLast;
        if (section->kind == Kind::insert || section->kind == Kind::update) {
            from.shown = section->layout;
            from.leg.counters.other_wire += section->layout == dialect ? 0 : section->count;
        }
        if ((own && from.leg.side() == Side::cable) || (!own && own_only)) {
            from.leg.counters.refused += section->count;
            continue;
        }
        for (std::uint16_t n = 0; n < section->count; n++)
            if (own)
                receive_own(from, section->action, section->message(n));
            else
                receive(from, *section, section->message(n));
    }
}

void Relay::on_packet_refused(PeerId peer, std::string why) {
    places_[peer]->refusal = std::move(why);
}

void Relay::receive_own(Place& from, std::uint8_t action, Bytes m) {
    Comparison& c = from.comparison;
    const auto whole = [&](std::size_t size) {
        from.leg.counters.refused += m.size() < size ? 1 : 0;
        return m.size() >= size;
    };
    switch (action) {
    case ext::kRelayRoot:
        if (whole(ext::relay_root::size))
            receive_root(from, m);
        break;
    case ext::kAsk:
        if (whole(ext::ask::size))
            c.receive_ask(m, own());
        break;
    case ext::kSums:
        if (whole(ext::sums::size))
            c.receive_sums(m);
        break;
    case ext::kList:
        if (whole(ext::list::size))
            c.receive_list(m);
        break;
    case ext::kFetch:
        if (whole(ext::fetch::size))
            receive_fetch(from, m);
        break;
    case ext::kAbsent:
        if (whole(ext::absent::size))
            c.receive_absent(m);
        break;
    case ext::kOrphan:
        if (whole(ext::orphan::size))
            receive_orphan(from, m);
        break;
    default:
        from.leg.counters.refused++;
    }
}

void Relay::receive_root(Place& from, Bytes m) {
    if (from.comparison.has_restarted(m) && from.walk.phase != Walk::Phase::states) {
        from.walk.phase = Walk::Phase::orphans;
        from.walk.cursor = kNoSlot;
    }
    if (from.filling && ++from.sums_while_filling >= kFillSums)
        from.filling = false;
    if (!from.filling &&
        from.comparison.receive_root(m, now_) == Comparison::Found::everything_missing)
        fill_from(from);
}

// What has ended at the other site is over, unless it went on here, of which the other site then
// knew nothing.
void Relay::receive_fetch(Place& from, Bytes m) {
    const state::StateId id = pfsync::read_id(m);
    const auto ended = load_be<std::uint32_t>(&m[ext::fetch::ended]);
    const Slot slot = store_.find(id);
    if (slot == kNoSlot || ended == ext::fetch::kNotEnded || !own().has(slot) ||
        !has_ended_there(from, slot, ended))
        return from.comparison.answer(id, own());
    store_.remove(id);
    each(Side::cable, [&](Place& cable) {
        if (speaks(cable))
            enqueue_id(cable, Kind::remove_c, id);
    });
}

bool Relay::has_ended_there(const Place& gateway, Slot slot, std::uint32_t seconds_ago) const {
    const auto second_of = [this](sync::Instant instant) {
        return instant <= started_ ? 0 : static_cast<std::uint32_t>((instant - started_) / 1s);
    };
    const std::uint32_t ended = second_ - std::min(second_, seconds_ago);
    const std::uint32_t gap = second_of(gateway.gap_began);
    const bool in_gap = ended >= gap && ended <= second_of(gateway.gap_ended);
    return store_.changed(slot) <= (in_gap ? gap : ended);
}

// Who is right about it is not known, so it replaces nothing.
void Relay::receive_orphan(Place& from, Bytes m) {
    const pfsync::Meaning meaning = pfsync::meaning(from.leg.dialect(), m[ext::orphan::action]);
    m = m.subspan(ext::orphan::size);
    if (meaning.kind != Kind::update || !full_state::valid(meaning.layout, m)) {
        from.leg.counters.refused++;
        return;
    }
    m = m.first(pfsync::state_size(meaning.layout));
    if (store_.find(full_state::id(meaning.layout, m)) == kNoSlot)
        store_.put(kNoPeer, meaning.layout, m);
}

void Relay::receive(Place& from, const pfsync::Section& section, Bytes m) {
    from.leg.counters.received++;
    if (from.leg.side() == Side::cable && (receive_name(from, section, m) || from.stranger)) {
        from.leg.counters.looped++;
        return;
    }
    m = from.leg.with_shared_names(section, m);
    if (!speaks(from)) {
        learn(from, section, m);
        return;
    }
    if (section.kind == Kind::request && m.size() >= pfsync::common::kIdSize)
        return receive_request(from, section, m);
    if (section.kind == Kind::bulk)
        return receive_bulk_status(from, m);
    if (has_ended(from, section, m))
        return;
    pass_on(from, section, m, learn(from, section, m));
}

// The name of a gateway; false: it is none.
bool Relay::receive_name(Place& from, const pfsync::Section& section, Bytes m) {
    if (section.kind != Kind::insert_ack || m.size() < pfsync::common::kIdSize)
        return false;
    const state::StateId id = pfsync::read_id(m);
    if (id.creatorid != ext::kGatewayName)
        return false;
    const bool answer = !from.stranger && speaks(from);
    from.stranger = {id.id, now_};
    if (answer) // it may hear us for the first time, too
        say_name(from);
    return true;
}

Slot Relay::learn(Place& from, const pfsync::Section& section, Bytes m) {
    const PeerId peer = from.leg.peer();
    const auto heard = speaks(from) ? StateStore::Heard::directly : StateStore::Heard::overheard;
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: {
        if (!full_state::valid(section.layout, m))
            return kNoSlot;
        const state::StateId id = full_state::id(section.layout, m);
        if (const Slot known = store_.find(id);
            known != kNoSlot && section.kind == Kind::insert &&
            store_.layout(known) == section.layout &&
            store_.flow_hash(known) != full_state::flow_hash(section.layout, m))
            from.leg.counters.clashes++;
        if (options_.ack_near && speaks(from) && from.leg.side() == Side::cable &&
            full_state::wants_ack(section.layout, m))
            enqueue_id(from, Kind::insert_ack, id);
        const Slot slot = store_.put(peer, section.layout, m, heard);
        from.leg.counters.not_kept += slot == kNoSlot ? 1 : 0;
        return slot;
    }
    case Kind::update_c:
        return m.size() >= pfsync::common::kUpdCSize
                   ? store_.update(peer, from.leg.dialect(), m, heard)
                   : kNoSlot;
    case Kind::remove:
        if (full_state::valid(section.layout, m))
            remove(from, full_state::id(section.layout, m));
        break;
    case Kind::remove_c:
        if (m.size() >= pfsync::common::kIdSize)
            remove(from, pfsync::read_id(m));
        break;
    case Kind::clear:
        if (pfsync::Clear clear;
            m.size() >= pfsync::common::kClrSize && pfsync::read(m, clear) == pfsync::Fault::none)
            store_.clear(clear.creatorid, clear.ifname);
        break;
    default:
        break;
    }
    return kNoSlot;
}

// pf makes a state anew of an UPD that crosses its own DEL, so it is told the end once more.
void Relay::remove(Place& from, state::StateId id) {
    const Slot slot = store_.find(id);
    const bool crossed = from.leg.side() == Side::cable && speaks(from) && slot != kNoSlot &&
                         store_.told_lately(slot);
    store_.remove(id);
    if (crossed)
        enqueue_id(from, Kind::remove_c, id);
}

// UPD_REQ: of one state, or of all.
void Relay::receive_request(Place& from, const pfsync::Section& section, Bytes m) {
    const state::StateId id = pfsync::read_id(m);
    if (id == state::StateId{}) {
        from.asks = true;
        return;
    }
    const Slot slot = store_.find(id);
    if (slot == kNoSlot)
        return pass_on(from, section, m, kNoSlot);
    from.leg.push_reference(slot, id);
    from.leg.counters.answered++;
}

// The frame of a bulk update, which ends here: each firewall gets one from its own gateway.
void Relay::receive_bulk_status(Place& from, Bytes m) {
    pfsync::BulkStatus status;
    if (m.size() < pfsync::common::kBusSize || pfsync::read(m, status) != pfsync::Fault::none)
        from.leg.counters.refused++;
    else if (status.end)
        from.filling = false;
    if (from.leg.side() == Side::cable)
        from.bulk_until = status.end ? sync::Instant{} : now_ + kBulkQuiet;
}

// A bulk update brings what its sender has not been told the end of, and would bring it to life
// everywhere. pf counts its ids, so what comes after the end of a state is never a new one.
bool Relay::has_ended(Place& from, const pfsync::Section& section, Bytes m) {
    if (section.kind != Kind::update || now_ >= from.bulk_until ||
        !full_state::valid(section.layout, m))
        return false;
    from.bulk_until = now_ + kBulkQuiet;
    const state::StateId id = full_state::id(section.layout, m);
    if (!store_.removed(id) || store_.find(id) != kNoSlot)
        return false;
    enqueue_id(from, Kind::remove_c, id);
    from.leg.counters.ended++;
    return true;
}

// ---- what is sent --------------------------------------------------------------------------

void Relay::pass_on(const Place& from, const pfsync::Section& section, Bytes message, Slot slot) {
    const std::uint8_t proto = slot == kNoSlot ? 0 : store_.proto(slot);
    each(from.leg.side() == Side::cable ? Side::gateway : Side::cable, [&](Place& to) {
        if (!speaks(to))
            return;
        if (const auto out = to.leg.translate(section.layout, section, message, proto))
            enqueue(to, out->action, out->message, slot);
    });
}

void Relay::enqueue(Place& to, std::uint8_t action, Bytes message, Slot slot) {
    LegCounters& counters = to.leg.counters;
    if (!to.up) {
        counters.leg_down++;
        return;
    }
    bool pushed = false;
    if (slot != kNoSlot && store_.waits(slot, to.leg.peer())) {
        counters.coalesced++;
        return;
    }
    if (slot != kNoSlot && to.leg.waiting() > kCoalesceAbove) {
        pushed = to.leg.push_reference(slot, store_.id(slot));
        store_.set_waits(slot, to.leg.peer(), pushed);
    } else {
        pushed = to.leg.push(action, message);
        if (slot != kNoSlot && to.leg.side() == Side::cable)
            store_.set_told(slot);
    }
    if (!pushed) {
        counters.queue_full++;
        to.behind = true;
    }
}

void Relay::enqueue_kind(Place& to, Kind kind, Bytes message) {
    if (const auto action = pfsync::action_of(to.leg.dialect(), kind); action && to.up)
        enqueue(to, *action, message);
}

void Relay::enqueue_id(Place& to, Kind kind, state::StateId id) {
    std::array<std::uint8_t, pfsync::common::kIdSize> m;
    pfsync::write_id(m.data(), id);
    enqueue_kind(to, kind, m);
}

void Relay::say_name(Place& cable) {
    cable.name_due = now_ + kNameInterval;
    enqueue_id(cable, Kind::insert_ack, {options_.session, ext::kGatewayName});
}

// UPD_REQ of no state in particular: all of them.
void Relay::request_bulk(Place& from) {
    enqueue_id(from, Kind::request, {});
}

// With whatever is on the cable now.
void Relay::exchange_all(Place& cable) {
    say_name(cable);
    request_bulk(cable);
    begin_walk(cable, false);
}

void Relay::fill_from(Place& gateway) {
    request_bulk(gateway);
    gateway.filling = true;
    gateway.fill_began = now_;
    gateway.sums_while_filling = 0;
}

void Relay::send_bulk_status(Place& to, bool end) {
    const bool says_time = traits(to.leg.dialect()).bulk.endtime;
    std::array<std::uint8_t, pfsync::common::kBusSize> m{};
    const auto running = std::chrono::duration_cast<std::chrono::seconds>(now_ - to.walk.began);
    pfsync::write_bus(m.data(), options_.creatorid,
                      says_time && end ? static_cast<std::uint32_t>(running.count()) : 0, end);
    enqueue_kind(to, Kind::bulk, m);
}

// ---- bulk updates --------------------------------------------------------------------------

void Relay::begin_walk(Place& to, bool framed, std::uint32_t changed_since) {
    to.walk = {Walk::Phase::states, kNoSlot, framed, now_, changed_since};
    if (framed)
        send_bulk_status(to, false);
}

// A firewall gets all states; a gateway first those of the firewalls here, then the orphans.
bool Relay::push_of_walk(Place& to, Slot slot) {
    if (to.walk.changed_since != 0)
        return store_.changed(slot) >= to.walk.changed_since &&
               store_.origin(slot) != to.leg.peer() && to.leg.push_reference(slot, store_.id(slot));
    if (to.leg.side() == Side::cable)
        return to.leg.push_reference(slot, store_.id(slot));
    if (to.walk.phase == Walk::Phase::states)
        return own().has(slot) && to.leg.push_reference(slot, store_.id(slot));
    if (store_.origin(slot) != kNoPeer)
        return false;
    const auto state = to.leg.update_of(store_, slot);
    if (!state)
        return false;
    std::vector<std::uint8_t> m(ext::orphan::size + (state->message.size() + 3) / 4 * 4);
    if (m.size() > kMaxOwn)
        return false; // appended to by a release that does not exist yet
    m[ext::orphan::action] = state->action;
    std::ranges::copy(state->message, m.begin() + ext::orphan::size);
    return to.leg.push_own(ext::kOrphan, m);
}

// True: it goes on at once.
bool Relay::walk(Place& to) {
    for (int n = 0; n < kWalkStates; n++) {
        if (to.leg.waiting() >= kWalkBelow)
            return false;
        to.walk.cursor = store_.next(to.walk.cursor);
        const Slot slot = to.walk.cursor;
        if (slot == kNoSlot) {
            end_walk(to);
            return to.walk.phase != Walk::Phase::none;
        }
        to.leg.counters.answered += push_of_walk(to, slot) ? 1 : 0;
    }
    return true;
}

void Relay::end_walk(Place& to) {
    if (to.leg.side() == Side::gateway && to.walk.phase == Walk::Phase::states &&
        to.walk.changed_since == 0) {
        to.walk.phase = Walk::Phase::orphans;
        return;
    }
    if (to.walk.framed)
        send_bulk_status(to, true);
    to.walk = {};
}

// ---- turns ---------------------------------------------------------------------------------

void Relay::advance(sync::Instant now) {
    if (started_ == sync::Instant{})
        started_ = now;
    now_ = now;
    second_ = static_cast<std::uint32_t>((now - started_) / 1s);
    store_.advance(second_);
    for (const auto& place : places_)
        if (place) {
            place->leg.advance(now);
            if (place->filling && now - std::max(place->heard, place->fill_began) >= kFillQuiet)
                place->filling = false;
            if (place->stranger && now - place->stranger->heard >= kNameLasts) {
                place->stranger.reset();
                if (active_)
                    exchange_all(*place);
            }
        }
}

bool Relay::flush() {
    bool more = false;
    for (const auto& place : places_) {
        if (!place || !place->up)
            continue;
        Place& to = *place;
        const bool gateway = to.leg.side() == Side::gateway;
        // A firewall that is told the end believes that it has everything.
        const bool may_answer =
            gateway || (!filling() && (unready() == std::nullopt || now_ - started_ >= kStartWait));
        if (to.asks && may_answer) {
            to.asks = false;
            begin_walk(to, true);
        }
        if (to.behind && to.leg.waiting() == 0) {
            to.behind = false;
            if (!gateway) // gateways compare
                begin_walk(to, false);
        }
        if (gateway && to.comparison.lists_wanted())
            to.comparison.send_lists(own());
        if (gateway && active_ && now_ >= to.root_due && to.walk.phase == Walk::Phase::none) {
            to.root_due = now_ + kRootInterval;
            to.comparison.send_root(options_.session, own());
        }
        if (!gateway && active_ && now_ >= to.name_due)
            say_name(to);
        const bool walks = to.walk.phase != Walk::Phase::none && walk(to);
        const std::size_t before = to.leg.waiting();
        to.leg.send(link_, store_);
        more = more || (to.walk.phase != Walk::Phase::none && !to.leg.paced() &&
                        (walks || to.leg.waiting() < before));
    }
    link_.flush();
    return more;
}

sync::Instant Relay::deadline() const {
    sync::Instant next = now_ + 1s;
    for (const auto& place : places_) {
        if (!place || !place->up)
            continue;
        const bool gateway = place->leg.side() == Side::gateway;
        if (active_)
            next =
                std::min(next, std::max(gateway ? place->root_due : place->name_due, now_ + kTick));
        if (!gateway && (place->leg.waiting() > 0 || place->walk.phase != Walk::Phase::none))
            next = std::min(next, now_ + kTick);
    }
    return next;
}

} // namespace encsync::relay
