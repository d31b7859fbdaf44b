// SPDX-License-Identifier: ISC
#include "table/conntrack/hints.hpp"

#include "util/bytes.hpp"

#include <new>
#include <sodium.h>
#include <sys/mman.h>
#include <type_traits>

namespace encsync::table {

// Hashed as bytes, so there must be no padding.
static_assert(std::has_unique_object_representations_v<state::Key> &&
              std::has_unique_object_representations_v<state::Tuple>);

namespace {

template<class T>
std::uint64_t siphash(const T& value, const std::array<unsigned char, 16>& seed) {
    static_assert(crypto_shorthash_BYTES == 8 && crypto_shorthash_KEYBYTES == 16);
    std::array<std::uint8_t, 8> out{};
    crypto_shorthash(out.data(), reinterpret_cast<const unsigned char*>(&value), sizeof value,
                     seed.data());
    return load_be<std::uint64_t>(out.data());
}

} // namespace

void Hints::Free::operator()(std::uint32_t* p) const {
    ::munmap(p, kSlots * sizeof(std::uint32_t));
}

Hints::Hints() {
    forget_all();
    randombytes_buf(seed_.data(), seed_.size());
}

void Hints::forget_all() {
    void* const memory = ::mmap(nullptr, kSlots * sizeof(std::uint32_t), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        throw std::bad_alloc();
    slots_.reset(static_cast<std::uint32_t*>(memory));
}

std::uint64_t Hints::hash(const state::Key& key) const {
    return siphash(key, seed_);
}

std::uint32_t Hints::mark(std::uint64_t key_hash, const state::Flow& flow) const {
    // A zone applies to both directions or to one. Whether there is a reply zone distinguishes
    // them.
    const std::uint64_t one_way = flow.extras.reply_zone ? ~std::uint64_t{0} : 0;
    // Never 0: that is a free slot.
    return static_cast<std::uint32_t>((key_hash ^ siphash(flow.reply, seed_) ^ one_way) >> 32) | 1U;
}

void Hints::set(const state::Flow& flow) {
    const std::uint64_t h = hash(flow.key);
    slots_[h % kSlots] = mark(h, flow);
}

void Hints::forget(const state::Key& key) {
    slots_[hash(key) % kSlots] = 0;
}

bool Hints::holds(const state::Flow& flow) const {
    const std::uint64_t h = hash(flow.key);
    return slots_[h % kSlots] == mark(h, flow);
}

} // namespace encsync::table
