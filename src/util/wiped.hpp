// SPDX-License-Identifier: ISC
// Secrets held by value. Every copy is overwritten when it is destroyed, also where a container
// grows. So nobody has to remember it.
//
//     WipedArray<32> key;       // a std::array of bytes
//     WipedBytes packet;        // a std::vector of bytes
//
// A secret that is kept for long belongs in keys::Secret, which is also kept out of swap.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace encsync {

template<std::size_t N>
struct WipedArray : std::array<std::uint8_t, N> {
    WipedArray() : std::array<std::uint8_t, N>{} {}
    WipedArray(const WipedArray&) = default; // a move is a copy: the source wipes itself
    WipedArray& operator=(const WipedArray&) = default;
    ~WipedArray() { ::explicit_bzero(this->data(), N); }
};

template<class T>
struct WipingAllocator : std::allocator<T> {
    template<class U>
    struct rebind {
        using other = WipingAllocator<U>;
    };
    WipingAllocator() = default;
    template<class U>
    WipingAllocator(const WipingAllocator<U>&) {}

    void deallocate(T* memory, std::size_t count) {
        ::explicit_bzero(static_cast<void*>(memory), count * sizeof(T));
        std::allocator<T>::deallocate(memory, count);
    }
};

using WipedBytes = std::vector<std::uint8_t, WipingAllocator<std::uint8_t>>;

} // namespace encsync
