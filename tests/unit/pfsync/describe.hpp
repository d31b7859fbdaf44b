// SPDX-License-Identifier: ISC
// The meaning of a packet, as text: one line per section, per message, and for the packet's fault.
// tests/vectors/generate.py writes the same text, independently of our code.
#pragma once

#include "pfsync/build.hpp"

#include <string>
#include <vector>

namespace encsync::pfsync {

std::string describe(Bytes packet, Expected expected = kOwnDialect);
std::string describe_message(Meaning meaning, Bytes message);
inline std::string describe_message(const Section& s, Bytes message) {
    return describe_message(Meaning{s.kind, s.layout}, message);
}

// A vector by name: its packet, and its meaning.
struct Vector {
    std::string name;
    std::vector<std::uint8_t> packet;
    std::string expect;
};
std::vector<Vector> load_vectors(Dialect dialect = kOwnDialect);
Vector load_vector(const std::string& name, Dialect dialect = kOwnDialect);

} // namespace encsync::pfsync
