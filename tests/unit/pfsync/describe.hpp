// What a packet means, as text: one line a section, one a message, one for the packet's fault.
// tests/vectors/generate.py writes the same words without knowing our code.
#pragma once

#include "pfsync/build.hpp"

#include <string>
#include <vector>

namespace encsync::pfsync {

std::string describe(Bytes packet);
std::string describe_message(std::uint8_t action, Bytes message);

// A vector by name: its packet, and what it means.
struct Vector {
    std::string name;
    std::vector<std::uint8_t> packet;
    std::string expect;
};
std::vector<Vector> load_vectors();
Vector load_vector(const std::string& name);

} // namespace encsync::pfsync
