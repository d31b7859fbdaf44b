// SPDX-License-Identifier: ISC
// open_recording [--known FILE] PCAP [PID|PATH...]
//
// Says what in the memory of the processes, and in the files, opens a recording of the tunnel (IKE
// with AES-256-GCM and PRF_HMAC_SHA2_384, ESP with AES-256-GCM and ESN): keys as they are or
// expanded, and what keys are made of. With --known also where there are pieces of known secrets: a
// file of lines "name hex". One line of JSON:
//
//     streams     packets by name, of each key that the recording knows
//     openings    stream, kind, secret (hex), where, opened (packets)
//     pieces      secret (name), where, more
//     candidates  how many windows of bytes were tried
//     bytes       that were searched, by process or path
#include "tests/lab/recording/memory.hpp"
#include "tests/lab/recording/search.hpp"

#include <boost/json.hpp>
#include <charconv>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <sodium.h>
#include <string_view>

namespace encsync::recording {
namespace {

namespace json = boost::json;

Result<std::vector<Secret>> read_known(const std::string& file) {
    std::ifstream in(file);
    std::vector<Secret> known;
    for (std::string line; std::getline(in, line);) {
        const auto blank = line.rfind(' ');
        if (blank == line.npos)
            return Error{file + ": expected a name and hex"};
        Secret& secret = known.emplace_back();
        secret.name = line.substr(0, blank);
        const std::string digits = line.substr(blank + 1);
        secret.bytes.resize(digits.size() / 2);
        std::size_t size = 0;
        if (sodium_hex2bin(secret.bytes.data(), secret.bytes.size(), digits.data(), digits.size(),
                           nullptr, &size, nullptr) != 0 ||
            size * 2 != digits.size())
            return Error{file + ": not hex"};
    }
    return known;
}

std::string hex(Bytes bytes) {
    std::string text(2 * bytes.size() + 1, '\0');
    sodium_bin2hex(text.data(), text.size(), bytes.data(), bytes.size());
    text.pop_back();
    return text;
}

Result<void> look_at(const std::string& argument, const Look& look) {
    pid_t process = 0;
    const char* end = argument.data() + argument.size();
    const auto [rest, error] = std::from_chars(argument.data(), end, process);
    return error == std::errc() && rest == end ? each_area(process, look)
                                               : each_file(argument, look);
}

json::object describe(const Recording& recording, const Search& search) {
    json::object streams;
    for (const Stream& each : recording.streams) {
        json::object& kinds = streams[each.name].emplace_object();
        for (const auto& [kind, count] : each.kinds)
            kinds[kind] = count;
    }
    json::array openings, pieces;
    for (const Opening& each : search.openings())
        openings.push_back({{"stream", each.stream},
                            {"kind", each.kind},
                            {"secret", hex(each.secret)},
                            {"where", each.where},
                            {"opened", each.opened}});
    for (const Piece& each : search.pieces())
        pieces.push_back({{"secret", each.secret}, {"where", each.where}, {"more", each.more}});
    return {{"streams", std::move(streams)},
            {"openings", std::move(openings)},
            {"pieces", std::move(pieces)},
            {"candidates", search.candidates()}};
}

Result<void> run(std::vector<std::string> arguments) {
    std::vector<Secret> known;
    if (arguments.size() > 2 && arguments[0] == "--known") {
        auto read = read_known(arguments[1]);
        if (!read)
            return read.error();
        known = std::move(*read);
        arguments.erase(arguments.begin(), arguments.begin() + 2);
    }
    if (arguments.empty())
        return Error{"usage: open_recording [--known FILE] PCAP [PID|PATH...]"};
    auto recording = read_recording(arguments[0]);
    if (!recording)
        return recording.error();
    Search search(*recording, known);
    json::object bytes;
    for (std::size_t n = 1; n < arguments.size(); n++) {
        std::size_t total = 0;
        auto looked = look_at(arguments[n], [&](const std::string& where, Bytes area) {
            search.look(where, area);
            total += area.size();
        });
        if (!looked)
            return looked;
        bytes[arguments[n]] = total;
    }
    json::object all = describe(*recording, search);
    all["bytes"] = std::move(bytes);
    fmt::print("{}\n", json::serialize(all));
    return {};
}

} // namespace
} // namespace encsync::recording

int main(int argc, char** argv) {
    if (sodium_init() < 0)
        return 1;
    const auto done = encsync::recording::run({argv + 1, argv + argc});
    if (!done)
        fmt::print(stderr, "open_recording: {}\n", done.error().text);
    return done ? 0 : 1;
}
