// SPDX-License-Identifier: ISC
// Packets as text: a line for each message with the most important fields, the rest below it.
#include "decode/decode.hpp"

#include "net/protocol.hpp"
#include "pfsync/common.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cmath>
#include <ctime>
#include <fmt/format.h>
#include <span>

namespace encsync::decode {

namespace json = boost::json;

namespace {

// Everything but plain ASCII is escaped: a name from the network must not control the terminal.
std::string printable(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c >= ' ' && c < 127 && c != '\\')
            out += c;
        else
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return out;
}

std::string show(const json::value& value) {
    if (value.is_string())
        return value.get_string().empty() ? "\"\"" : printable(value.get_string());
    if (const auto* list = value.if_array()) {
        std::string out;
        for (const json::value& item : *list)
            out += (out.empty() ? "" : "/") + show(item);
        return out;
    }
    if (const auto* object = value.if_object()) {
        std::string out;
        for (const auto& [name, item] : *object)
            out += (out.empty() ? "(" : " ") + printable(name) + " " + show(item);
        return out.empty() ? "()" : out + ")";
    }
    return json::serialize(value);
}

std::string show(const json::object& object, std::string_view name) {
    const auto* value = object.if_contains(name);
    return value == nullptr ? "-" : show(*value);
}

std::int64_t number(const json::object& object, std::string_view name) {
    const auto* value = object.if_contains(name);
    const auto* number = value == nullptr ? nullptr : value->if_int64();
    if (number != nullptr)
        return *number;
    const auto* large = value == nullptr ? nullptr : value->if_uint64();
    return large == nullptr ? -1 : static_cast<std::int64_t>(*large);
}

template<std::size_t N>
std::string named(const std::array<std::string_view, N>& names, std::int64_t n) {
    return n >= 0 && n < static_cast<std::int64_t>(N)
               ? std::string(names[static_cast<std::size_t>(n)])
               : fmt::format("{}", n);
}

// pf's names, as pfctl(8) prints them.
constexpr std::array<std::string_view, 13> kTcpStates{
    "CLOSED",  "LISTEN",   "SYN_SENT",   "SYN_RCVD",  "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
    "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT", "PROXY_SRC",   "PROXY_DST",
};
constexpr std::array<std::string_view, 3> kOtherStates{"NO_TRAFFIC", "SINGLE", "MULTIPLE"};
constexpr std::array<std::string_view, 20> kTimeouts{
    "tcp.first",
    "tcp.opening",
    "tcp.established",
    "tcp.closing",
    "tcp.finwait",
    "tcp.closed",
    "udp.first",
    "udp.single",
    "udp.multiple",
    "icmp.first",
    "icmp.error",
    "other.first",
    "other.single",
    "other.multiple",
    "14",
    "15",
    "16",
    "17",
    "18",
    "19",
};
constexpr std::array<std::string_view, 11> kFlags{
    "allow-opts", "sloppy",    "pflow",     "no-sync",  "ack",   "no-df",
    "set-tos",    "random-id", "scrub-tcp", "set-prio", "0x400",
};

std::string state_name(const json::object& message, std::int64_t state) {
    if (!message.contains("proto"))
        return fmt::format("{}", state);
    return number(message, "proto") == IPPROTO_TCP ? named(kTcpStates, state)
                                                   : named(kOtherStates, state);
}

std::string protocol(std::int64_t number) {
    if (number == IPPROTO_ESP)
        return "esp";
    const std::string_view word = net::protocol_word(static_cast<std::uint8_t>(number));
    return word.empty() ? fmt::format("proto {}", number) : std::string(word);
}

std::string flag_names(std::int64_t flags) {
    std::string out;
    for (std::size_t bit = 0; bit < 16; bit++) {
        if ((flags >> bit & 1) == 0)
            continue;
        out += out.empty() ? " " : "+";
        out += bit < kFlags.size() ? std::string(kFlags[bit]) : fmt::format("{:#x}", 1U << bit);
    }
    return out;
}

std::string end(const json::object& key, std::size_t index) {
    const std::string addr = show(key.at("addr").as_array().at(index));
    const std::string port = show(key.at("port").as_array().at(index));
    return addr.find(':') == std::string::npos ? addr + ":" + port : "[" + addr + "]:" + port;
}

// From the initiator to the other end. In an outgoing state, the source is the second address.
std::string ends(const json::object& key, bool out) {
    return end(key, out ? 1 : 0) + " > " + end(key, out ? 0 : 1);
}

std::string flow(const json::object& m) {
    const auto& wire = m.at("wire").as_object();
    const auto& stack = m.at("stack").as_object();
    const bool out = show(m, "direction") == "out";
    std::string line =
        fmt::format(" {} {} on {} {}", protocol(number(m, "proto")), show(m, "direction"),
                    show(m, "ifname"), ends(out ? stack : wire, out));
    if (ends(wire, out) != ends(stack, out))
        line += fmt::format(" ({} {})", out ? "wire" : "stack", ends(out ? wire : stack, out));
    return line;
}

std::string states(const json::object& m) {
    return fmt::format(" {}:{}", state_name(m, number(m.at("src").as_object(), "state")),
                       state_name(m, number(m.at("dst").as_object(), "state")));
}

std::string render_message(const json::object& m) {
    // Shown on the first line; all others follow below.
    static constexpr std::array<std::string_view, 10> kShown{
        "id", "creatorid", "ifname", "af", "proto", "direction", "wire", "stack", "error", "offset",
    };
    const bool full = m.contains("wire");
    std::string line = "   ", rest;
    for (const std::string_view name : {"id", "creatorid"})
        if (m.contains(name))
            line += fmt::format(" {} {}", name, show(m, name));
    if (full)
        line += flow(m);
    if (m.contains("src"))
        line += states(m);
    for (const auto& [name, value] : m) {
        const std::string_view key(name);
        if (key == "error" || key == "offset" ||
            (std::ranges::find(kShown, key) != kShown.end() &&
             (full || key == "id" || key == "creatorid")))
            continue;
        std::string text = fmt::format(" {} {}", printable(key), show(value));
        if ((key == "rule" || key == "anchor" || key == "nat_rule") &&
            number(m, key) == pfsync::common::kNoRule)
            text = fmt::format(" {} none", key);
        if (key == "timeout")
            text += fmt::format(" ({})", named(kTimeouts, number(m, "timeout")));
        else if (key == "state_flags")
            text += flag_names(number(m, "state_flags"));
        else if (key == "status" && value.is_number())
            text += number(m, "status") == 1   ? " (start)"
                    : number(m, "status") == 2 ? " (end)"
                                               : "";
        if (key == "src" || key == "dst")
            rest += "      " + text + "\n";
        else if (full || m.contains("src"))
            rest += (rest.empty() || rest.back() == '\n' ? "      " : "") + text;
        else
            line += text;
    }
    if (!rest.empty() && rest.back() != '\n')
        rest += "\n";
    if (m.contains("error"))
        rest += fmt::format("       BAD: {} at byte {}\n", show(m, "error"), show(m, "offset"));
    return line + "\n" + rest;
}

// "2026-01-31 12:00:00.000001" as in `format`, in the time zone of `broken_down`.
std::string clock(double time, std::tm* (*broken_down)(const std::time_t*, std::tm*),
                  const char* format) {
    const auto microseconds = std::llround(time * 1e6);
    const auto whole = static_cast<std::time_t>(microseconds / 1'000'000);
    std::tm parts{};
    std::array<char, 32> out{};
    if (time < 0 || broken_down(&whole, &parts) == nullptr ||
        std::strftime(out.data(), out.size(), format, &parts) == 0)
        return fmt::format("{:.6f}", time);
    return fmt::format("{}.{:06}", out.data(), microseconds % 1'000'000);
}

} // namespace

std::string utc(double time) {
    return clock(time, ::gmtime_r, "%FT%T") + "Z";
}

std::string to_text(const json::object& packet) {
    std::string out;
    if (const auto* time = packet.if_contains("time"); time != nullptr && time->is_double())
        out += clock(time->get_double(), ::localtime_r, "%F %T") + " ";
    if (const auto* ip = packet.if_contains("ip"); ip != nullptr && ip->is_object()) {
        const auto& header = ip->get_object();
        out += fmt::format("{} > {} ttl {}: ", show(header, "src_ip"), show(header, "dst_ip"),
                           show(header, "ttl"));
    }
    out += fmt::format("pfsync {}, length {}", show(packet, "version"), show(packet, "length"));
    const std::string sum = show(packet, "pfcksum");
    if (sum.find_first_not_of("0-") != std::string::npos)
        out += ", pfcksum " + sum;
    out += "\n";
    if (const auto* sections = packet.if_contains("sections"))
        for (const json::value& value : sections->as_array()) {
            const auto& section = value.as_object();
            out += fmt::format("  {} ({}), count {}{}\n", show(section, "action"),
                               show(section, "number"), show(section, "count"),
                               section.contains("skipped") ? ", skipped" : "");
            for (const json::value& message : section.at("messages").as_array())
                out += render_message(message.as_object());
        }
    if (packet.contains("error"))
        out += fmt::format("  BAD: {} at byte {}\n", show(packet, "error"), show(packet, "offset"));
    return out;
}

} // namespace encsync::decode
