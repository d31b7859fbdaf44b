// SPDX-License-Identifier: ISC
#include "pf_firewall.hpp"

#include "pfsync/progress.hpp"

#include <algorithm>
#include <netinet/in.h>

namespace encsync::sim {

using namespace std::chrono_literals;
using pfsync::Dialect;
using pfsync::Kind;
namespace peer = pfsync::common::peer;

namespace {

std::uint32_t seqlo(const std::array<std::uint8_t, 32>& block) {
    return load_be<std::uint32_t>(&block[peer::seqlo]);
}
bool after(std::uint32_t a, std::uint32_t b) { // SEQ_GT
    return static_cast<std::int32_t>(a - b) > 0;
}

} // namespace

PfFirewall::PfFirewall(World& world, unsigned self, Dialect dialect)
    : world_(world), self_(self), dialect_(dialect), tick_(world.now) {
    world.nodes[self]->stop();
    world.nodes[0]->stop();
    world.nodes[0]->wire[self] = dialect;
    world.machines[self] = this;
    world.nodes[0]->start();
    ask();
}

PfFirewall::~PfFirewall() {
    world_.machines.erase(self_);
}

// ---- packets pass --------------------------------------------------------------------------

std::map<state::StateId, PfFirewall::State>::iterator PfFirewall::by_key(const state::Key& key) {
    const auto it = keys_.find(key);
    return it == keys_.end() ? states_.end() : states_.find(it->second);
}

const PfState* PfFirewall::find(const state::Key& key) {
    const auto it = keys_.find(key);
    return it == keys_.end() ? nullptr : &states_.at(it->second);
}

std::vector<PfState> PfFirewall::list() {
    std::vector<PfState> out;
    for (const auto& [id, state] : states_)
        out.push_back(state);
    return out;
}

void PfFirewall::packet(const state::Flow& flow) {
    auto it = by_key(flow.key);
    if (it == states_.end()) {
        State fresh;
        fresh.flow = flow;
        fresh.flow.id = {next_id_++, 0xbbbb0000u + self_};
        fresh.flow.mark = 0;
        fresh.flow.extras = {};
        fresh.created = world_.now;
        fresh.insert = true;
        const auto first = static_cast<std::uint32_t>(world_.random());
        store_be(&fresh.src[peer::seqlo], first);
        store_be(&fresh.dst[peer::seqlo], first ^ 0x5a5a5a5a);
        it = states_.emplace(fresh.flow.id, fresh).first;
        keys_[flow.key] = fresh.flow.id;
    }
    State& s = it->second;
    s.flow.src_state = std::max(s.flow.src_state, flow.src_state);
    s.flow.dst_state = std::max(s.flow.dst_state, flow.dst_state);
    if (flow.key.proto != IPPROTO_TCP || s.sloppy) {
        s.src[peer::seqlo] = s.dst[peer::seqlo] = 0; // pf does not track it
    } else {
        s.sent_src = seqlo(s.src) + 1000;
        // A side that has sent nothing yet has no sequence numbers.
        s.sent_dst = seqlo(s.dst) + (s.flow.dst_state >= state::tcp::kSynSent ? 3000 : 0);
        store_be(&s.src[peer::seqlo], s.sent_src);
        store_be(&s.dst[peer::seqlo], s.sent_dst);
    }
    s.timeout = static_cast<std::uint8_t>(pfsync::timeout_index(dialect_, s.flow));
    s.touched = world_.now;
    queue(s, false);
}

void PfFirewall::close(const state::Flow& flow) {
    if (const auto it = by_key(flow.key); it != states_.end())
        remove(it, true);
}

void PfFirewall::remove(std::map<state::StateId, State>::iterator it, bool tell) {
    if (tell && !it->second.insert) { // without an INS, no DEL is sent
        removed_.insert(it->first);
        flush_at_ = std::min(flush_at_, world_.now + 1s);
    }
    keys_.erase(it->second.flow.key);
    states_.erase(it);
}

void PfFirewall::queue(State& s, bool at_once) {
    s.queued = true;
    flush_at_ = at_once ? world_.now : std::min(flush_at_, world_.now + 1s);
}

// ---- sending -------------------------------------------------------------------------------

template<class Write>
void PfFirewall::send(Kind kind, Write&& write) {
    std::array<std::uint8_t, 600> room{};
    pfsync::Builder packet(room, dialect_);
    write(packet.add(kind));
    const std::size_t size = packet.finish();
    world_.send(self_, 0, {room.begin(), room.begin() + static_cast<long>(size)});
}

void PfFirewall::flush() {
    flush_at_ = Instant::max();
    for (auto& each : states_) {
        State& s = each.second;
        if (!s.queued)
            continue;
        s.queued = false;
        if (s.insert) {
            state::Flow flow = s.flow;
            flow.timeout = pfsync::default_timeout(s.timeout);
            send(Kind::insert, [&](std::uint8_t* m) {
                pfsync::write_state(dialect_, m, flow, {.src = s.src, .dst = s.dst});
            });
        } else {
            send(Kind::update_c,
                 [&](std::uint8_t* m) { pfsync::write_upd_c(dialect_, m, s.flow, s.src, s.dst); });
        }
        s.insert = false;
    }
    for (const state::StateId& id : removed_)
        send(Kind::remove_c, [&](std::uint8_t* m) { pfsync::write_id(m, id); });
    removed_.clear();
}

void PfFirewall::ask() {
    if (status_.tries++ == 0)
        asked_ = world_.now;
    send(Kind::request, [](std::uint8_t* m) { pfsync::write_id(m, {}); });
    retry_ = world_.now + traits(dialect_).bulk.retry;
    bulk_started_ = false;
}

void PfFirewall::send_bulk() {
    const auto status = [&](bool end) {
        const auto took = static_cast<std::uint32_t>((world_.now - bulk_began_) / 1s);
        send(Kind::bulk, [&](std::uint8_t* m) {
            pfsync::write_bus(m, 0xbbbb0000u + self_, traits(dialect_).bulk.endtime ? took : 0,
                              end);
        });
    };
    if (bulk_began_ == world_.now && (!bulk_.empty() || dialect_ != Dialect::openbsd))
        status(false);
    for (int n = 0; n < 5 && !bulk_.empty(); bulk_.pop_front())
        if (const auto it = states_.find(bulk_.front()); it != states_.end()) {
            const State& s = it->second;
            state::Flow flow = s.flow;
            const Duration left =
                s.touched + std::chrono::seconds(pfsync::default_timeout(s.timeout)) - world_.now;
            flow.timeout = static_cast<std::uint32_t>(std::max<Duration>(left, 1s) / 1s);
            send(Kind::update, [&](std::uint8_t* m) {
                pfsync::write_state(dialect_, m, flow, {.src = s.src, .dst = s.dst});
            });
            n++;
        }
    bulk_next_ = bulk_.empty() ? Instant::max() : world_.now + 20ms;
    if (bulk_.empty())
        status(true);
}

// ---- receiving -----------------------------------------------------------------------------

void PfFirewall::insert(const pfsync::FullState& full) {
    if (states_.contains(full.flow.id) || keys_.contains(full.flow.key))
        return; // without an error
    State s;
    s.flow = full.flow;
    std::copy_n(full.src.bytes.begin(), 32, s.src.begin());
    std::copy_n(full.dst.bytes.begin(), 32, s.dst.begin());
    s.sloppy = (full.flow.flags & state::kSloppy) != 0;
    s.timeout = full.timeout;
    s.created = world_.now;
    const std::uint32_t whole = pfsync::default_timeout(full.timeout);
    const std::uint32_t left = full.flow.timeout == 0 ? whole : full.flow.timeout;
    s.touched = world_.now + std::chrono::seconds(left) - std::chrono::seconds(whole);
    keys_[s.flow.key] = s.flow.id;
    states_.emplace(s.flow.id, s);
}

void PfFirewall::update(State& s, const pfsync::PeerBlock& src, const pfsync::PeerBlock& dst,
                        std::uint8_t timeout) {
    const std::uint8_t proto = s.flow.key.proto;
    const std::uint8_t src_state = pfsync::flow_state(dialect_, proto, src.state());
    const std::uint8_t dst_state = pfsync::flow_state(dialect_, proto, dst.state());
    bool src_behind = s.flow.src_state > src_state, dst_behind = s.flow.dst_state > dst_state;
    if (proto == IPPROTO_TCP) {
        src_behind =
            src_behind || (s.flow.src_state == src_state && after(seqlo(s.src), src.seqlo()));
        const bool compares = traits(dialect_).dst_stale == pfsync::DstStale::since_syn_sent
                                  ? s.flow.dst_state >= state::tcp::kSynSent
                                  : s.flow.dst_state == dst_state;
        dst_behind = dst_behind || (compares && after(seqlo(s.dst), dst.seqlo()));
    }
    const bool bug = traits(dialect_).copies_stale_dst && src_behind != dst_behind;
    if (!src_behind) {
        s.flow.src_state = src_state;
        std::copy_n(src.bytes.begin(), 32, s.src.begin());
    }
    if (!dst_behind || bug) {
        s.flow.dst_state = dst_state;
        std::copy_n(dst.bytes.begin(), 32, s.dst.begin());
    }
    // Packets that have passed here would be outside of the window now.
    if (s.sent_src != 0 && (after(s.sent_src, seqlo(s.src)) || after(s.sent_dst, seqlo(s.dst))))
        status_.rolled_back++;
    if (!(src_behind && dst_behind)) {
        s.touched = world_.now;
        s.timeout = timeout;
    }
    if (src_behind || dst_behind) {
        status_.stale++;
        queue(s, true);
    }
}

void PfFirewall::message(const pfsync::Section& section, Bytes m) {
    switch (section.kind) {
    case Kind::insert:
    case Kind::update: {
        pfsync::FullState full;
        if (pfsync::read(section.layout, m, full) != pfsync::Fault::none)
            return;
        const auto it = states_.find(full.flow.id);
        if (section.kind == Kind::update && it != states_.end())
            update(it->second, full.src, full.dst, full.timeout);
        else
            insert(full);
        return;
    }
    case Kind::update_c: {
        pfsync::CompressedUpdate said;
        if (pfsync::read(section.layout, m, said) != pfsync::Fault::none)
            return;
        if (const auto it = states_.find(said.id); it != states_.end()) {
            update(it->second, said.src, said.dst, said.timeout);
        } else {
            send(Kind::request, [&](std::uint8_t* out) { pfsync::write_id(out, said.id); });
        }
        return;
    }
    case Kind::request: {
        const state::StateId id = pfsync::read_id(m);
        if (id != state::StateId{}) {
            if (const auto it = states_.find(id); it != states_.end())
                send(Kind::update, [&](std::uint8_t* out) {
                    pfsync::write_state(dialect_, out, it->second.flow,
                                        {.src = it->second.src, .dst = it->second.dst});
                });
            return;
        }
        if (bulk_next_ != Instant::max() && !traits(dialect_).bulk.restarts)
            return;
        bulk_.clear();
        for (const auto& [known, s] : states_)
            bulk_.push_back(known);
        bulk_began_ = world_.now;
        send_bulk();
        return;
    }
    case Kind::remove_c:
        if (const auto it = states_.find(pfsync::read_id(m)); it != states_.end())
            remove(it, false);
        return;
    case Kind::bulk: {
        pfsync::BulkStatus status;
        if (pfsync::read(m, status) != pfsync::Fault::none || retry_ == Instant::max())
            return;
        if (!status.end) {
            bulk_started_ = true;
            retry_ = world_.now + 10s;
        } else if (dialect_ == Dialect::openbsd && !bulk_started_) {
            // ignored
        } else if (!traits(dialect_).bulk.endtime ||
                   world_.now.time_since_epoch() / 1s - status.endtime >=
                       asked_.time_since_epoch() / 1s) {
            retry_ = Instant::max();
            status_.in_step = true;
        }
        return;
    }
    default:
        return;
    }
}

void PfFirewall::on_packet(unsigned, Bytes packet) {
    pfsync::Parser parser(packet, dialect_);
    while (const pfsync::Section* section = parser.next())
        for (std::uint16_t n = 0; section->kind != Kind::eof && n < section->count; n++)
            message(*section, section->message(n));
    if (flush_at_ <= world_.now)
        flush();
}

// ---- time ----------------------------------------------------------------------------------

Instant PfFirewall::deadline() const {
    return std::min({flush_at_, retry_, bulk_next_, tick_});
}

void PfFirewall::advance(Instant now) {
    if (now >= tick_) {
        tick_ = now + 1s;
        for (auto it = states_.begin(); it != states_.end();) {
            const auto here = it++;
            const State& s = here->second;
            if (s.touched + std::chrono::seconds(pfsync::default_timeout(s.timeout)) <= now)
                remove(here, true); // a state that expires is always announced, whoever owns it
        }
    }
    if (now >= flush_at_)
        flush();
    if (now >= bulk_next_)
        send_bulk();
    if (now >= retry_) {
        if (status_.tries < 12) {
            ask();
        } else {
            retry_ = Instant::max();
            status_.gave_up = true;
        }
    }
}

} // namespace encsync::sim
