// SPDX-License-Identifier: ISC
#include "state/index.hpp"

#include "state/hash_table.hpp"
#include "state/mix.hpp"
#include "util/bytes.hpp"

#include <bit>
#include <cassert>
#include <map>
#include <sodium/crypto_shorthash.h>
#include <tuple>
#include <unordered_map>

namespace encsync::state {

static_assert(crypto_shorthash_KEYBYTES == std::tuple_size_v<Seed>);

namespace {

std::uint64_t siphash(const std::uint8_t* data, std::size_t size, const Seed& seed) {
    std::array<std::uint8_t, crypto_shorthash_BYTES> out;
    crypto_shorthash(out.data(), data, size, seed.data());
    return load_be<std::uint64_t>(out.data());
}

std::uint64_t hash_key(const Key& key, const Seed& seed) {
    std::array<std::uint8_t, 2 * 16 + 8> in;
    const std::size_t n = net::address_size(key.family);
    std::memcpy(&in[0], key.orig.src.bytes.data(), n);
    std::memcpy(&in[n], key.orig.dst.bytes.data(), n);
    std::uint8_t* rest = &in[2 * n];
    store_be(rest, key.orig.sport);
    store_be(rest + 2, key.orig.dport);
    store_be(rest + 4, key.zone);
    rest[6] = key.proto;
    rest[7] = static_cast<std::uint8_t>(key.family);
    return siphash(in.data(), 2 * n + 8, seed);
}

std::uint32_t bucket_hash(const Key& key, const Seed& seed) {
    return static_cast<std::uint32_t>(hash_key(key, seed) >> 32);
}

std::uint32_t bucket_hash(StateId id, const Seed& seed) {
    std::array<std::uint8_t, 12> in; // a length that no key has
    store_be(&in[0], id.id);
    store_be(&in[8], id.creatorid);
    return static_cast<std::uint32_t>(siphash(in.data(), in.size(), seed) >> 32);
}

// The constant part of a flow, N bytes an address.
template<std::size_t N>
struct Tuples {
    std::array<std::uint8_t, N> src, dst, reply_src, reply_dst;
    std::uint16_t sport, dport, reply_sport, reply_dport;
    std::uint16_t zone;
    std::uint8_t proto;

    static Address widen(const std::array<std::uint8_t, N>& a) {
        Address out;
        std::memcpy(out.bytes.data(), a.data(), N);
        return out;
    }
    static void narrow(std::array<std::uint8_t, N>& out, const Address& a) {
        std::memcpy(out.data(), a.bytes.data(), N);
    }

    void set(const Key& key, const Tuple& reply) {
        narrow(src, key.orig.src);
        narrow(dst, key.orig.dst);
        sport = key.orig.sport;
        dport = key.orig.dport;
        zone = key.zone;
        proto = key.proto;
        set_reply(reply);
    }
    void set_reply(const Tuple& reply) {
        narrow(reply_src, reply.src);
        narrow(reply_dst, reply.dst);
        reply_sport = reply.sport;
        reply_dport = reply.dport;
    }
    bool is(const Key& key) const {
        return std::memcmp(src.data(), key.orig.src.bytes.data(), N) == 0 &&
               std::memcmp(dst.data(), key.orig.dst.bytes.data(), N) == 0 &&
               sport == key.orig.sport && dport == key.orig.dport && zone == key.zone &&
               proto == key.proto;
    }
    Key key() const {
        return {{widen(src), widen(dst), sport, dport},
                zone,
                proto,
                N == 4 ? Family::inet : Family::inet6};
    }
    // By value, not by bytes: byte order differs between machines.
    Index::Fingerprint fingerprint() const {
        std::uint64_t hash =
            fold(kMix[0] ^ (std::uint64_t{sport} << 48 | std::uint64_t{dport} << 32 |
                            std::uint64_t{reply_sport} << 16 | reply_dport),
                 kMix[1] ^ (std::uint64_t{zone} << 16 | proto));
        for (std::size_t n = 0; n < N; n += 4)
            hash = fold(hash ^ kMix[2] ^ pair(&src[n], &dst[n]),
                        kMix[3] ^ pair(&reply_src[n], &reply_dst[n]));
        return {hash, proto};
    }
    static std::uint64_t pair(const std::uint8_t* a, const std::uint8_t* b) {
        return std::uint64_t{load_be<std::uint32_t>(a)} << 32 | load_be<std::uint32_t>(b);
    }
    Tuple reply() const { return {widen(reply_src), widen(reply_dst), reply_sport, reply_dport}; }
};
static_assert(sizeof(Tuples<4>) == 28 && sizeof(Tuples<16>) == 76);

// A chunk holds flows of one family, so that the slot number suffices to find its tuples. Exactly
// one of v4 and v6 is set. In an unused slot, Record::mark is the next link of the free list.
struct Chunk {
    std::unique_ptr<std::byte[]> records;
    std::unique_ptr<Tuples<4>[]> v4;
    std::unique_ptr<Tuples<16>[]> v6;
    std::unique_ptr<std::array<std::uint64_t, kChunkSize / 64>> used;

    Chunk(Family family, std::size_t record_size)
        : records(std::make_unique_for_overwrite<std::byte[]>(kChunkSize * record_size)),
          used(std::make_unique<std::array<std::uint64_t, kChunkSize / 64>>()) {
        if (family == Family::inet)
            v4 = std::make_unique<Tuples<4>[]>(kChunkSize);
        else
            v6 = std::make_unique<Tuples<16>[]>(kChunkSize);
    }
    std::size_t memory_bytes(std::size_t record_size) const {
        return sizeof(Chunk) + sizeof *used +
               kChunkSize * (record_size + (v4 ? sizeof v4[0] : sizeof v6[0]));
    }
};

} // namespace

struct Index::Impl {
    Seed seed;
    Layout layout;
    HashTable by_key, by_id;
    std::vector<Chunk> chunks;
    std::unordered_map<Slot, Extras> extras;    // none that is empty
    std::map<std::uint16_t, std::size_t> zones; // flows in each zone but 0
    Slot free4 = kNoSlot, free6 = kNoSlot;      // heads of the free lists

    Impl(const Seed& s, Layout l) : seed(s), layout(l) {}

    Chunk& chunk(Slot slot) { return chunks[slot >> kChunkBits]; }
    const Chunk& chunk(Slot slot) const { return chunks[slot >> kChunkBits]; }
    static std::uint32_t place(Slot slot) { return slot & (kChunkSize - 1); }

    std::byte* at(Slot slot) const { return &chunk(slot).records[place(slot) * layout.size]; }
    Record& record(Slot slot) const { return *std::launder(reinterpret_cast<Record*>(at(slot))); }

    bool used(Slot slot) const {
        return slot >> kChunkBits < chunks.size() &&
               ((*chunk(slot).used)[place(slot) / 64] >> (place(slot) % 64) & 1) != 0;
    }
    void flip_used(Slot slot) {
        (*chunk(slot).used)[place(slot) / 64] ^= std::uint64_t{1} << (place(slot) % 64);
    }

    bool is(Slot slot, const Key& key) const {
        const Chunk& c = chunk(slot);
        if (key.family == Family::inet)
            return c.v4 && c.v4[place(slot)].is(key);
        return c.v6 && c.v6[place(slot)].is(key);
    }
    Key key(Slot slot) const {
        const Chunk& c = chunk(slot);
        return c.v4 ? c.v4[place(slot)].key() : c.v6[place(slot)].key();
    }

    Slot find(const Key& key, std::uint32_t hash) const {
        return by_key.find(hash, [&](Slot s) { return is(s, key); });
    }
    Slot find(StateId id, std::uint32_t hash) const {
        return by_id.find(hash, [&](Slot s) { return record(s).id == id; });
    }

    Slot& free_list(Family family) { return family == Family::inet ? free4 : free6; }

    Slot take(Family family) {
        Slot& head = free_list(family);
        if (head == kNoSlot) {
            const Slot first = static_cast<Slot>(chunks.size()) << kChunkBits;
            chunks.emplace_back(family, layout.size);
            for (std::uint32_t n = 0; n < kChunkSize; n++)
                layout.make(at(first + n))->mark = n + 1 < kChunkSize ? first + n + 1 : kNoSlot;
            head = first;
        }
        const Slot slot = head;
        head = record(slot).mark;
        flip_used(slot);
        return slot;
    }

    void give_back(Slot slot) {
        Slot& head = free_list(chunk(slot).v4 ? Family::inet : Family::inet6);
        flip_used(slot);
        layout.make(at(slot))->mark = head;
        head = slot;
    }
};

Index::Index(const Seed& seed, Layout layout)
    : record_size_(layout.size), impl_(std::make_unique<Impl>(seed, layout)) {}
Index::~Index() = default;
Index::Index(Index&&) noexcept = default;
Index& Index::operator=(Index&&) noexcept = default;

Slot Index::find(const Key& key) const {
    return impl_->find(key, bucket_hash(key, impl_->seed));
}

Slot Index::find(StateId id) const {
    return impl_->find(id, bucket_hash(id, impl_->seed));
}

std::pair<Slot, bool> Index::insert(const Flow& flow, std::uint32_t expires,
                                    std::uint32_t created) {
    // Most of the time is spent waiting for memory, so prefetch both places at once.
    const std::uint32_t key_hash = bucket_hash(flow.key, impl_->seed);
    impl_->by_key.prefetch(key_hash);
    const std::uint32_t id_hash = bucket_hash(flow.id, impl_->seed);
    impl_->by_id.prefetch(id_hash);
    if (const Slot there = impl_->find(flow.key, key_hash); there != kNoSlot)
        return {there, false};
    if (const Slot there = impl_->find(flow.id, id_hash); there != kNoSlot)
        return {there, false};

    const Slot slot = impl_->take(flow.key.family);
    if (chunks_.size() < impl_->chunks.size())
        chunks_.push_back(impl_->chunks.back().records.get());
    Chunk& c = impl_->chunk(slot);
    if (c.v4)
        c.v4[Impl::place(slot)].set(flow.key, flow.reply);
    else
        c.v6[Impl::place(slot)].set(flow.key, flow.reply);
    Record& r = *impl_->layout.make(impl_->at(slot));
    r.id = flow.id;
    r.mark = flow.mark;
    r.expires = expires;
    r.created = created;
    r.src_state = flow.src_state;
    r.dst_state = flow.dst_state;
    r.flags = flow.flags;
    impl_->by_key.insert(key_hash, slot);
    impl_->by_id.insert(id_hash, slot);
    if (!flow.extras.empty())
        impl_->extras.emplace(slot, flow.extras);
    if (flow.key.zone != 0)
        impl_->zones[flow.key.zone]++;
    return {slot, true};
}

void Index::erase(Slot slot) {
    assert(used(slot));
    const std::uint32_t id_hash = bucket_hash(impl_->record(slot).id, impl_->seed);
    impl_->by_id.prefetch(id_hash);
    const Key key = impl_->key(slot);
    impl_->by_key.erase(bucket_hash(key, impl_->seed), slot);
    impl_->by_id.erase(id_hash, slot);
    impl_->extras.erase(slot);
    if (key.zone != 0)
        if (const auto zone = impl_->zones.find(key.zone); --zone->second == 0)
            impl_->zones.erase(zone);
    impl_->give_back(slot);
}

bool Index::rename(Slot slot, StateId id) {
    assert(used(slot));
    const std::uint32_t hash = bucket_hash(id, impl_->seed);
    if (const Slot there = impl_->find(id, hash); there != kNoSlot)
        return there == slot;
    Record& r = impl_->record(slot);
    impl_->by_id.erase(bucket_hash(r.id, impl_->seed), slot);
    r.id = id;
    impl_->by_id.insert(hash, slot);
    return true;
}

void Index::set_reply(Slot slot, const Tuple& reply) {
    assert(used(slot));
    Chunk& c = impl_->chunk(slot);
    if (c.v4)
        c.v4[Impl::place(slot)].set_reply(reply);
    else
        c.v6[Impl::place(slot)].set_reply(reply);
}

bool Index::set_extras(Slot slot, const Extras& extras) {
    assert(used(slot));
    if (this->extras(slot) == extras)
        return false;
    if (extras.empty())
        impl_->extras.erase(slot);
    else
        impl_->extras[slot] = extras;
    return true;
}

const Extras& Index::extras(Slot slot) const {
    static const Extras none;
    assert(used(slot));
    if (impl_->extras.empty())
        return none;
    const auto at = impl_->extras.find(slot);
    return at == impl_->extras.end() ? none : at->second;
}

std::vector<std::uint16_t> Index::zones() const {
    std::vector<std::uint16_t> out;
    for (const auto& [zone, flows] : impl_->zones)
        out.push_back(zone);
    return out;
}

std::vector<Slot> Index::with_extras() const {
    std::vector<Slot> out;
    out.reserve(impl_->extras.size());
    for (const auto& [slot, extras] : impl_->extras)
        out.push_back(slot);
    return out;
}

Key Index::key(Slot slot) const {
    assert(used(slot));
    return impl_->key(slot);
}

std::uint16_t Index::zone(Slot slot) const {
    assert(used(slot));
    const Chunk& c = impl_->chunk(slot);
    return c.v4 ? c.v4[Impl::place(slot)].zone : c.v6[Impl::place(slot)].zone;
}

Index::Fingerprint Index::fingerprint(Slot slot) const {
    assert(used(slot));
    const Chunk& c = impl_->chunk(slot);
    return c.v4 ? c.v4[Impl::place(slot)].fingerprint() : c.v6[Impl::place(slot)].fingerprint();
}

Tuple Index::reply(Slot slot) const {
    assert(used(slot));
    const Chunk& c = impl_->chunk(slot);
    return c.v4 ? c.v4[Impl::place(slot)].reply() : c.v6[Impl::place(slot)].reply();
}

Flow Index::flow(Slot slot, std::uint32_t now) const {
    const Record& r = record(slot);
    // Differences on a clock that wraps; negative ones are 0.
    const std::uint32_t left = r.expires - now, age = now - r.created;
    Flow out;
    out.key = key(slot);
    out.reply = reply(slot);
    out.id = r.id;
    out.mark = r.mark;
    out.timeout = left <= INT32_MAX ? left : 0;
    out.age = age <= INT32_MAX ? age : 0;
    out.src_state = r.src_state;
    out.dst_state = r.dst_state;
    out.flags = r.flags;
    out.extras = extras(slot);
    return out;
}

bool Index::used(Slot slot) const {
    return impl_->used(slot);
}

Slot Index::next(Slot slot) const {
    slot++; // kNoSlot + 1 is 0
    for (; slot >> kChunkBits < impl_->chunks.size(); slot = (slot | 63) + 1) {
        const std::uint32_t at = Impl::place(slot);
        const std::uint64_t rest = (*impl_->chunk(slot).used)[at / 64] >> (at % 64);
        if (rest != 0)
            return slot + static_cast<Slot>(std::countr_zero(rest));
    }
    return kNoSlot;
}

std::size_t Index::size() const {
    return impl_->by_key.size();
}

std::size_t Index::memory_bytes() const {
    std::size_t n = sizeof(Impl) + impl_->by_key.memory_bytes() + impl_->by_id.memory_bytes() +
                    (impl_->chunks.capacity() - impl_->chunks.size()) * sizeof(Chunk) +
                    chunks_.capacity() * sizeof chunks_[0];
    for (const Chunk& c : impl_->chunks)
        n += c.memory_bytes(impl_->layout.size);
    // A node of the map is its value, a link and what the allocator adds.
    return n + impl_->extras.size() * (sizeof(std::pair<const Slot, Extras>) + 24) +
           impl_->extras.bucket_count() * sizeof(void*);
}

std::uint64_t state_id(const Key& key, const Seed& node_secret) {
    return hash_key(key, node_secret);
}

} // namespace encsync::state
