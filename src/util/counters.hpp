// SPDX-License-Identifier: ISC
// Counters are declared once: next to a struct of counters there is a table with the name, unit and
// meaning of each, and where `encsync status --json` shows it.
//
//     struct Hits { std::uint64_t all = 0; std::array<std::uint64_t, kWhys> refused{}; };
//     inline constexpr std::array kHitsTable = {
//         counters::value<&Hits::all>("traffic", "hits", "packets", "Packets that hit"),
//         counters::by<&Hits::refused, Why>("refused", "hits_refused", "packets",
//             "Packets refused", "reason", counters::Shape::flat, false),
//     };
//
// A counter is a plain uint64 that only goes up; to count is to increment it, and the tables are
// read only on request. daemon/registry.hpp knows all of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <tuple>

namespace encsync::counters {

// How the values of one counter are distinguished and shown.
enum class Shape {
    single, // one value under `name`
    flat,   // one for each label, named by `prefix` and label
    object, // an object `name`, with a value for each label
};

struct Description {
    std::string_view section; // of the answer; empty: not shown there
    std::string_view name;    // of its own within the section
    std::string_view unit;    // plural
    std::string_view help;
    std::string_view label{}; // what distinguishes its values ("reason"); empty: one value
    Shape shape = Shape::single;
    bool zeros = true;         // values that are still 0 are shown, too
    std::string_view prefix{}; // of Shape::flat; may be empty
};

template<class Struct>
struct Counter : Description {
    std::size_t first = 0, end = 1; // the range of labels
    std::uint64_t (*get)(const Struct&, std::size_t) = nullptr;
    std::string_view (*label_of)(std::size_t) = nullptr;

    // Without the labels from `last` on.
    constexpr Counter up_to(std::size_t last) const {
        Counter out = *this;
        out.end = last;
        return out;
    }
};

// Called for counters of several tables. The label is empty if there is only one value.
using Visit = std::function<void(const Description&, std::string_view label, std::uint64_t value)>;

// f as a Visit, for each value of each counter.
template<class Struct, std::size_t kSize, class F>
void each(const std::array<Counter<Struct>, kSize>& table, const Struct& counters, F&& f) {
    for (const Counter<Struct>& counter : table)
        for (std::size_t n = counter.first; n < counter.end; n++)
            f(static_cast<const Description&>(counter),
              counter.label_of != nullptr ? counter.label_of(n) : std::string_view{},
              counter.get(counters, n));
}

namespace detail {

template<class T>
struct Member;
template<class S, class V>
struct Member<V S::*> {
    using Struct = S;
    using Value = V;
};

} // namespace detail

template<auto kMember>
constexpr auto value(std::string_view section, std::string_view name, std::string_view unit,
                     std::string_view help, bool zeros = true) {
    using Struct = typename detail::Member<decltype(kMember)>::Struct;
    Counter<Struct> counter{{section, name, unit, help, {}, Shape::single, zeros}};
    counter.get = [](const Struct& counters, std::size_t) { return counters.*kMember; };
    return counter;
}

// An array with a value for each of an enum that has to_string(). `first`: 1 where 0 is "none".
template<auto kMember, class Enum>
constexpr auto by(std::string_view section, std::string_view name, std::string_view unit,
                  std::string_view help, std::string_view label, Shape shape, bool zeros,
                  std::size_t first = 0, std::string_view prefix = {}) {
    using Member = detail::Member<decltype(kMember)>;
    using Struct = typename Member::Struct;
    Counter<Struct> counter{{section, name, unit, help, label, shape, zeros, prefix}};
    counter.first = first;
    counter.end = std::tuple_size_v<typename Member::Value>;
    counter.get = [](const Struct& counters, std::size_t n) { return (counters.*kMember)[n]; };
    counter.label_of = [](std::size_t n) -> std::string_view {
        return to_string(static_cast<Enum>(n));
    };
    return counter;
}

} // namespace encsync::counters
