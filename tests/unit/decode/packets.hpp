// SPDX-License-Identifier: ISC
// Packets for the tests of the decoder: the golden ones, and others.
#pragma once

#include "decode/decode.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace encsync::decode {

using Data = std::vector<std::uint8_t>;

struct Golden {
    std::string name; // "openbsd/pf-ins"
    Data packet;
    std::vector<std::string> expect; // lines, as tests/vectors/generate.py writes them
};
std::vector<Golden> load_golden(); // of all dialects
Data golden(const std::string& name);

// A subheader and its messages; version 5 has 0 instead of the length.
Data section(std::uint8_t action, const std::vector<Data>& messages, bool v6 = true);
Data packet(std::uint8_t version, const std::vector<Data>& sections);

// Bytes 1, 2, 3, ... that stay in the valid range of fields with a range.
Data freebsd_state(std::size_t size);

Data operator+(Data a, const Data& b);

// "none" if it is good, else "error@offset".
std::string verdict(const Decoded& decoded);
std::string verdict(const Data& packet);

} // namespace encsync::decode
