// SPDX-License-Identifier: ISC
// One engine, and an input that is a script: events of the table, packets of peers (well-formed,
// damaged, or arbitrary), passing time, changes of links and roles.
//
// Each step is an opcode byte and its operands; a script that ends early ends there. After each
// step the counts must be consistent, no buffer of the link may be open, and the engine's deadline
// must not be in the past.
#include "pfsync/build.hpp"
#include "pfsync/expectation.hpp"
#include "pfsync/extension.hpp"
#include "sync/engine.hpp"
#include "tests/unit/pfsync/write_clr.hpp"

#include <cstdlib>
#include <cstring>
#include <netinet/in.h>

namespace {

using namespace encsync;
using namespace std::chrono_literals;
using pfsync::Dialect;
using pfsync::Kind;
namespace ext = pfsync::extension;

void check(bool holds) {
    if (!holds)
        std::abort();
}

class NullTable : public table::Table {
  public:
    bool dump_wanted = false;
    std::uint16_t local = 60; // flows from this port on are this machine's own
    void start(table::Listener&) override {}
    void put(const state::Flow&, table::Lifetime) override {}
    void refresh(const state::Flow&, table::Lifetime) override {}
    void remove(const state::Flow&) override {}
    std::optional<table::Ignored> refuses(const state::Flow& flow) const override {
        return flow.key.orig.sport >= local ? std::optional(table::Ignored::local) : std::nullopt;
    }
    void flush() override {}
    void request_dump() override { dump_wanted = true; }
    std::uint32_t natural_timeout(const state::Flow&) const override { return 60; }
};

class NullLink : public sync::Link {
  public:
    bool writable = true, open = false;
    MutableBytes acquire(PeerId) override {
        check(!open);
        if (!writable)
            return {};
        open = true;
        return room_;
    }
    void commit(PeerId, std::size_t size) override {
        check(open && size <= room_.size());
        open = false;
    }
    void flush() override { check(!open); }

  private:
    std::array<std::uint8_t, 1400> room_{};
};

class Script {
  public:
    Script(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}
    bool ended() const { return rest_.empty(); }
    std::uint8_t byte() {
        if (rest_.empty())
            return 0;
        const std::uint8_t b = rest_[0];
        rest_ = rest_.subspan(1);
        return b;
    }
    std::uint16_t word() { return static_cast<std::uint16_t>(byte() << 8 | byte()); }
    Bytes bytes(std::size_t n) {
        const Bytes out = rest_.first(std::min(n, rest_.size()));
        rest_ = rest_.subspan(out.size());
        return out;
    }

  private:
    Bytes rest_;
};

constexpr PeerId kPeers = 3; // encsync, wire=auto, and a pf firewall

class Run {
  public:
    explicit Run(Script script) : script_(script) {
        sync::Options options;
        options.creatorid = 0x1000;
        options.session = 4711;
        options.max_states = 40;
        options.table_kept = (script_.byte() & 1) != 0;
        options.peers = {{"ours", true, pfsync::kOwnDialect},
                         {"any", true, std::nullopt},
                         {"pf", false, Dialect::openbsd}};
        engine_ = std::make_unique<sync::Engine>(options, table_, link_);
        engine_->advance(now_);
    }

    void run() {
        while (!script_.ended()) {
            step();
            check_books();
        }
        check(engine_->digests_hold());
    }

  private:
    void step() {
        const std::uint8_t what = script_.byte();
        if (what == 249) {
            table_.local = script_.byte() & 63;
            return engine_->on_addresses_changed();
        }
        if (what >= 250)
            return (what & 1) != 0 ? engine_->on_expected(expectation(), (what & 2) != 0)
                                   : engine_->on_unexpected(expectation());
        switch (what % 12) {
        case 0:
            return pass(std::chrono::milliseconds(script_.word()));
        case 1:
            return engine_->on_created(flow());
        case 2:
            return engine_->on_updated(flow());
        case 3:
            return engine_->on_destroyed(flow());
        case 4:
            return dump();
        case 5:
            return engine_->on_refused(
                flow().key, static_cast<table::Refusal>(script_.byte() % table::kRefusals));
        case 6:
            if (const PeerId p = peer(); (script_.byte() & 1) != 0)
                engine_->on_link_up(p);
            else
                engine_->on_link_down(p);
            return;
        case 7:
            return engine_->set_role(static_cast<sync::Role>(script_.byte() % 3));
        case 8:
            link_.writable = !link_.writable;
            return;
        case 9:
            return engine_->request_bulk(peer());
        case 10: {
            const PeerId p = peer();
            return engine_->on_packet(p, script_.bytes(script_.byte()));
        }
        default:
            return packet();
        }
    }

    void pass(sync::Duration span) {
        now_ += span;
        engine_->advance(now_);
        for (int n = 0; engine_->flush(); n++)
            check(n < 1000);
        check(engine_->deadline() > now_);
    }

    // One of 64 flows, so that scripts use the same ones.
    state::Flow flow() {
        const std::uint8_t n = script_.byte();
        state::Flow f;
        f.key.proto = (n & 1) != 0 ? IPPROTO_TCP : IPPROTO_UDP;
        f.key.family = (n & 2) != 0 ? state::Family::inet6 : state::Family::inet;
        f.key.orig.sport = n & 63;
        f.key.orig.dport = 443;
        f.reply = inverse(f.key);
        if ((n & 64) != 0)
            f.reply.dport = static_cast<std::uint16_t>(f.reply.dport ^ 0x100);
        const std::uint8_t states = script_.byte();
        f.src_state = states >> 4;
        f.dst_state = states & 15;
        f.timeout = script_.byte() * 4u;
        return f;
    }

    // An id that is in use, or any.
    state::StateId name(const state::Flow& f) {
        const std::uint8_t which = script_.byte();
        const state::Slot slot = engine_->index().find(f.key);
        if ((which & 1) != 0 && slot != state::kNoSlot)
            return engine_->index().record(slot).id;
        return {which & 0x7eu, 0x2000u + (which & 0x80u)};
    }

    PeerId peer() { return script_.byte() % kPeers; }

    void dump() {
        engine_->on_dump_begin();
        for (unsigned n = script_.byte() % 16; n > 0; n--)
            engine_->on_dump_entry(flow(), (script_.byte() & 1) != 0);
        engine_->on_dump_end();
        table_.dump_wanted = false;
    }

    void packet() {
        const PeerId p = peer();
        const std::uint8_t options = script_.byte();
        const sync::Peer& s = engine_->session(p);
        std::array<std::uint8_t, 2048> room{};
        const Dialect dialect = (options & 0x80) != 0
                                    ? static_cast<Dialect>(script_.byte() % pfsync::kDialects)
                                    : pfsync::kOwnDialect;
        pfsync::Builder packet(room, dialect);
        if ((options & 1) == 0 && traits(dialect).extensible()) {
            std::uint8_t* m = packet.add(ext::kSeq, ext::seq::size);
            // Sometimes one is missing, or repeated.
            number_[p] += (options & 2) != 0 ? script_.byte() % 4 : 1u;
            store_be(m + ext::seq::number, number_[p]);
            store_be(m + ext::seq::session, s.remote);
        }
        for (unsigned n = 1 + script_.byte() % 8; n > 0; n--)
            message(packet, p, dialect);
        std::size_t size = packet.finish();
        for (unsigned n = options >> 2 & 3; n > 0; n--)
            room[script_.word() % size] ^= script_.byte();
        if ((options & 16) != 0)
            size = script_.word() % (size + 1);
        engine_->on_packet(p, Bytes(room).first(size));
    }

    void message(pfsync::Builder& packet, PeerId p, Dialect dialect) {
        const std::uint8_t which = script_.byte(), what = which % 12;
        if (which >= 250 && traits(dialect).extensible())
            return expect(packet);
        if (which >= 240 && traits(dialect).extensible())
            return digest(packet, p, which / 2 % 5);
        if (what == 0 && traits(dialect).extensible())
            return hello(packet, p);
        if (what == 1 && traits(dialect).extensible())
            return ack(packet, p);
        if (what <= 5)
            return full(packet, dialect);
        switch (what) {
        case 6: {
            state::Flow f = flow();
            f.id = name(f);
            if (std::uint8_t* m = packet.add(Kind::update_c)) {
                const Block src = windows(), dst = windows();
                pfsync::write_upd_c(dialect, m, f, src, dst);
            }
            return;
        }
        case 7:
            if (std::uint8_t* m = packet.add(Kind::clear))
                pfsync::write_clr(m, (which & 16) != 0 ? "all" : "",
                                  0x1000u + script_.byte() * 0x20u);
            return;
        case 8:
            if (std::uint8_t* m = packet.add(Kind::bulk))
                pfsync::write_bus(m, 0x2000, which >> 4, (script_.byte() & 1) != 0);
            return;
        default: {
            const state::Flow f = flow();
            const state::StateId id = (script_.byte() & 7) == 0 ? state::StateId{} : name(f);
            const bool tail = what == 9 && traits(dialect).extensible();
            std::uint8_t* m = packet.add(what == 11 ? Kind::request : Kind::remove_c,
                                         tail ? ext::removal::size : 0);
            if (m == nullptr)
                return;
            pfsync::write_id(m, id);
            if (tail)
                m[pfsync::common::kIdSize + ext::removal::term] = script_.byte();
        }
        }
    }

    void full(pfsync::Builder& packet, Dialect dialect) {
        state::Flow f = flow();
        f.id = name(f);
        const std::uint8_t flags = script_.byte();
        const bool tail = (flags & 1) == 0 && traits(dialect).extensible();
        const bool more = tail && (f.key.orig.sport & 4) != 0;
        std::uint8_t* m = packet.add((flags & 2) != 0 ? Kind::insert : Kind::update,
                                     (tail ? ext::tail::size : 0) + (more ? ext::more::size : 0));
        if (more)
            f.extras = {{script_.byte()}, *state::Name::of("ftp"), script_.word()};
        if (m == nullptr)
            return;
        pfsync::StateOptions as{.tail = tail,
                                .live = (flags & 4) == 0,
                                .term = static_cast<std::uint8_t>(flags >> 4),
                                .more = more,
                                .expectations = more ? script_.byte() : std::uint8_t{0},
                                .wants_ack = (flags & 8) != 0,
                                .outgoing = (flags & 16) != 0};
        Block src{}, dst{};
        if (!tail && (flags & 32) != 0) {
            src = windows();
            dst = windows();
            as.src = src;
            as.dst = dst;
        }
        pfsync::write_state(dialect, m, f, as);
        if (!tail && (flags & 64) != 0) // bound to one of a few interfaces
            m[pfsync::openbsd::full::ifname] = static_cast<std::uint8_t>('a' + (flags >> 4 & 3));
    }

    using Block = std::array<std::uint8_t, 32>;
    Block windows() {
        Block out{};
        store_be(&out[pfsync::common::peer::seqlo],
                 static_cast<std::uint32_t>(script_.word()) << 16 | script_.byte());
        return out;
    }

    state::Expectation expectation() {
        state::Expectation e;
        e.master = flow().key;
        e.proto = IPPROTO_TCP;
        e.tuple.dport = script_.byte();
        e.timeout = script_.byte();
        return e;
    }

    void expect(pfsync::Builder& packet) {
        const state::Flow f = flow();
        state::Expectation e = expectation();
        e.master = f.key;
        const std::uint8_t count = script_.byte();
        if (std::uint8_t* m = packet.add(ext::kExpect, ext::expect::size))
            pfsync::write_expect(m, name(f), count >> 4, count & 15, e);
    }

    // Digest messages: correct, wrong, requested or not.
    void digest(pfsync::Builder& packet, PeerId p, unsigned what) {
        const std::uint8_t bits = script_.byte();
        const std::uint64_t since = (bits & 2) != 0 ? 0 : UINT64_MAX;
        switch (what) {
        case 0:
            if (std::uint8_t* m = packet.add(ext::kRoot, ext::root::size)) {
                const sync::Digest copies = copies_of(p);
                store_be(m + ext::root::since, since);
                store_be(m + ext::root::sum, copies.sum(sync::Digest::kRoot) + (bits & 1));
                store_be(m + ext::root::count, copies.count() + (bits >> 4 << (bits & 12)));
            }
            return;
        case 1:
            if (std::uint8_t* m = packet.add(ext::kAsk, ext::ask::size))
                store_be(m + ext::ask::node, node(p, bits));
            return;
        case 2:
            if (std::uint8_t* m = packet.add(ext::kSums, ext::sums::size)) {
                const sync::Digest::Node parent = node(p, bits);
                store_be(m + ext::sums::node, parent);
                const sync::Digest copies = copies_of(p);
                for (std::uint32_t n = 0; n < sync::Digest::kFanOut; n++)
                    store_be(m + ext::sums::children + n * 8,
                             sync::Digest::is_leaf(parent)
                                 ? 0
                                 : copies.children(parent)[n] + (n == bits >> 4));
            }
            return;
        case 3:
            return list(packet, p, bits);
        default:
            const state::StateId id = name(flow());
            if (std::uint8_t* m = packet.add(ext::kAbsent, ext::absent::size)) {
                pfsync::write_id(m, id);
                store_be(m + ext::absent::since, since);
            }
        }
    }

    void list(pfsync::Builder& packet, PeerId p, std::uint8_t bits) {
        const std::size_t flows = bits >> 4 & 3;
        const sync::Digest::Node leaf = node(p, bits);
        const std::uint16_t part = script_.byte() % 4;
        std::uint8_t* m = packet.add(ext::kList, ext::list::size + flows * ext::list::flow::size);
        if (m == nullptr)
            return;
        store_be(m + ext::list::leaf, leaf);
        store_be(m + ext::list::part, part);
        m[ext::list::flags] = bits >> 7;
        m += ext::list::size;
        for (std::size_t n = 0; n < flows; n++, m += ext::list::flow::size) {
            const state::StateId id = name(flow());
            const state::Slot slot = engine_->index().find(id);
            store_be(m + ext::list::flow::id, id.id);
            store_be(m + ext::list::flow::creatorid, id.creatorid);
            if (slot != state::kNoSlot)
                store_be(m + ext::list::flow::check, check_of(slot));
        }
    }

    // A node that was asked for, one with a flow in it, the root, or any.
    sync::Digest::Node node(PeerId p, std::uint8_t bits) {
        const auto& asked = engine_->session(p).checks.asked;
        if ((bits & 4) != 0 && !asked.empty())
            return *std::next(asked.begin(), static_cast<long>(script_.byte() % asked.size()));
        if ((bits & 8) != 0)
            return sync::leaf_of(name(flow()));
        return (bits & 1) != 0 ? script_.word() * 2u : sync::Digest::kRoot;
    }

    std::uint32_t check_of(state::Slot slot) const {
        return static_cast<std::uint32_t>(
            sync::check_of(engine_->index(), engine_->expectations(), slot));
    }

    // The sum over this engine's copies of the peer's flows, computed separately.
    sync::Digest copies_of(PeerId p) const {
        sync::Digest out;
        const sync::FlowIndex& index = engine_->index();
        for (const state::Slot s : index.slots())
            if (index.record(s).owner == p)
                out.add(sync::leaf_of(index.record(s).id),
                        sync::check_of(index, engine_->expectations(), s));
        return out;
    }

    void hello(pfsync::Builder& packet, PeerId p) {
        const std::uint8_t bits = script_.byte();
        const std::size_t nodes = (bits & 8) != 0 ? script_.byte() % 15u : 0u;
        std::uint8_t* m = packet.add(
            ext::kHello, (bits & 8) != 0 ? ext::hello::nodes + nodes * ext::hello::node::size
                                         : ext::hello::size);
        if (m == nullptr)
            return;
        const sync::Peer& s = engine_->session(p);
        store_be(m + ext::hello::session,
                 (bits & 1) != 0 || s.remote == 0 ? std::uint64_t{script_.byte()} : s.remote);
        store_be(m + ext::hello::peer_session, (bits & 2) != 0 ? 0 : s.local);
        store_be(m + ext::hello::creatorid, 0x0fffu + p + ((bits & 4) != 0 ? 0u : 2u));
        store_be(m + ext::hello::version, static_cast<std::uint16_t>(bits >> 6 == 3 ? 2 : 1));
        m[ext::hello::role] = bits >> 4 & 3;
        m[ext::hello::flags] = script_.byte();
        store_be(m + ext::hello::live, std::uint64_t{script_.byte()});
        if ((bits & 8) == 0)
            return;
        m[ext::hello::count] = static_cast<std::uint8_t>(nodes);
        for (std::size_t n = 0; n < nodes; n++) {
            std::uint8_t* node = m + ext::hello::nodes + n * ext::hello::node::size;
            store_be(node + ext::hello::node::creatorid, 0x1000u + script_.byte() % 8);
            node[ext::hello::node::role] = script_.byte() & 3;
            node[ext::hello::node::flags] = script_.byte();
            node[ext::hello::node::name] = script_.byte();
        }
    }

    void ack(pfsync::Builder& packet, PeerId p) {
        std::uint8_t* m = packet.add(ext::kAck, ext::ack::bitmap + 8);
        if (m == nullptr)
            return;
        const sync::Peer& s = engine_->session(p);
        store_be(m + ext::ack::session, s.local);
        store_be(m + ext::ack::highest, std::uint64_t{script_.word()});
        const Bytes bitmap = script_.bytes(8);
        std::memcpy(m + ext::ack::bitmap, bitmap.data(), bitmap.size());
    }

    void check_books() {
        std::size_t sum = engine_->live() + engine_->copies_of(0xfe);
        for (PeerId p = 0; p < kPeers; p++)
            sum += engine_->copies_of(p);
        check(sum == engine_->index().size());
        check(engine_->pf_states().most() <= sum); // nothing is kept of flows that have ended
        check(engine_->expectations().size() <= sync::ExpectationBook::kMax);
        check(!link_.open);
    }

    Script script_;
    NullTable table_;
    NullLink link_;
    sync::Instant now_{1000s};
    std::uint64_t number_[kPeers] = {};
    std::unique_ptr<sync::Engine> engine_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Run(Script(data, size)).run();
    return 0;
}
