// SPDX-License-Identifier: ISC
#include "packets.hpp"

#include "decode/hex.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>

namespace encsync::decode {

namespace fs = std::filesystem;

namespace {

std::vector<std::string> lines_of(const fs::path& path) {
    std::ifstream in(path);
    EXPECT_TRUE(in.good()) << path;
    std::vector<std::string> out;
    for (std::string line; std::getline(in, line);)
        out.push_back(line);
    return out;
}

Data read_hex(const fs::path& path) {
    const Hex hex = parse_hex(fmt::format("{}", fmt::join(lines_of(path), "")));
    EXPECT_EQ(hex.error, "") << path;
    return hex.bytes;
}

} // namespace

std::vector<Golden> load_golden() {
    std::vector<Golden> out;
    for (const auto& entry : fs::recursive_directory_iterator(ENCSYNC_VECTORS)) {
        const fs::path& path = entry.path();
        if (path.extension() == ".hex")
            out.push_back({path.parent_path().filename().string() + "/" + path.stem().string(),
                           read_hex(path), lines_of(fs::path(path).replace_extension(".expect"))});
    }
    std::ranges::sort(out, {}, &Golden::name);
    EXPECT_GT(out.size(), 50U);
    return out;
}

Data golden(const std::string& name) {
    return read_hex(fs::path(ENCSYNC_VECTORS) / (name + ".hex"));
}

Data operator+(Data a, const Data& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

Data section(std::uint8_t action, const std::vector<Data>& messages, bool v6) {
    Data out{action, static_cast<std::uint8_t>(v6 ? messages.at(0).size() / 4 : 0),
             static_cast<std::uint8_t>(messages.size() >> 8),
             static_cast<std::uint8_t>(messages.size())};
    for (const Data& message : messages)
        out = std::move(out) + message;
    return out;
}

Data packet(std::uint8_t version, const std::vector<Data>& sections) {
    Data body;
    for (const Data& one : sections)
        body = std::move(body) + one;
    const std::size_t length = 20 + body.size();
    Data out(20);
    out[0] = version;
    out[2] = static_cast<std::uint8_t>(length >> 8);
    out[3] = static_cast<std::uint8_t>(length);
    return std::move(out) + body;
}

Data freebsd_state(std::size_t size) {
    Data m(size);
    for (std::size_t i = 0; i < size; i++)
        m[i] = static_cast<std::uint8_t>(i + 1);
    const auto text = [&](std::size_t at, std::size_t space, std::string_view word) {
        std::fill_n(m.begin() + static_cast<long>(at), space, 0);
        std::ranges::copy(word, m.begin() + static_cast<long>(at));
    };
    text(8, 16, "igb0");
    m[96 + 24] = 4;
    m[128 + 24] = 3;
    if (size == 360) {
        text(232, 64, "office");
        text(296, 16, "igb1");
        text(312, 16, "igb2");
        m[344] = 28;
        m[345] = m[346] = 2;
        m[347] = m[348] = 6;
        m[350] = 24;
        m[351] = 2;
    } else {
        m[232] = 2;
        m[233] = 6;
        m[234] = 1;
        m[239] = 2;
        if (size == 277)
            text(261, 16, "igb1");
    }
    return m;
}

std::string verdict(const Decoded& decoded) {
    const auto* error = decoded.packet.if_contains("error");
    EXPECT_EQ(decoded.bad, error != nullptr);
    if (error == nullptr)
        return "none";
    return fmt::format("{}@{}", std::string_view(error->as_string()),
                       decoded.packet.at("offset").to_number<std::size_t>());
}

std::string verdict(const Data& packet) {
    return verdict(decode(packet));
}

} // namespace encsync::decode
