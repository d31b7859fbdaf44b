// SPDX-License-Identifier: ISC
#include "cli/render.hpp"

#include "cli/fields.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <map>
#include <optional>

namespace encsync::cli {

namespace json = boost::json;

namespace {

constexpr const char* kUnknown = "-";

template<class Format>
std::string number_as(Format format, const json::value& object, std::string_view name) {
    const auto value = number(object, name);
    return value ? format(*value) : kUnknown;
}

std::string plain(std::uint64_t value) {
    return fmt::format("{}", value);
}

std::string text(const json::value& object, std::string_view name) {
    const auto* value = member(object, name);
    if (!value || !value->is_string() || value->get_string().empty())
        return kUnknown;
    return clean(value->get_string());
}

std::string yes_no(const json::value& object, std::string_view name) {
    const auto value = truth(object, name);
    return !value ? kUnknown : *value ? "yes" : "no";
}

std::string ago(const json::value& object, std::string_view name) {
    const auto value = number(object, name);
    return value ? duration(*value) + " ago" : kUnknown;
}

// "12 (bad_ttl 10, bad_length 2)"; "0" if there is nothing.
std::string refused(const json::value& object) {
    const auto* value = member(object, "refused");
    const auto* reasons = value ? value->if_object() : nullptr;
    if (!reasons)
        return number_as(count, object, "refused");
    std::uint64_t sum = 0;
    std::string parts;
    for (const auto& [reason, times] : *reasons) {
        const auto n = number(*value, reason).value_or(0);
        sum += n;
        if (n != 0)
            parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", clean(reason), count(n));
    }
    return parts.empty() ? count(sum) : fmt::format("{} ({})", count(sum), parts);
}

// "1,234 (1.2 MiB)"
std::string traffic(const json::value& object, std::string_view packets, std::string_view bytes) {
    return fmt::format("{} ({})", number_as(count, object, packets),
                       number_as(size, object, bytes));
}

// "yes, checked 2 s ago": the peer's flows and our copies of them were the same then.
std::string in_step(const json::value& peer) {
    const bool known = member(peer, "in_step") != nullptr;
    std::string out = yes_no(peer, known ? "in_step" : "ready");
    if (!truth(peer, "in_step").value_or(false) || member(peer, "checked_seconds_ago") == nullptr)
        return out;
    if (const auto* check = member(peer, "check");
        check != nullptr && !truth(*check, "equal").value_or(true))
        out = "repairing";
    return out + ", checked " + ago(peer, "checked_seconds_ago");
}

std::string peer_table(const json::value& peers) {
    std::vector<std::vector<std::string>> rows{{"PEER", "STATE", "ROLE", "IN STEP", "SPI IN",
                                                "SPI OUT", "RECEIVED", "SENT", "REFUSED", "HEARD"}};
    for (const auto& peer : array_of(peers))
        rows.push_back({text(peer, "name"), text(peer, "state"), text(peer, "role"), in_step(peer),
                        text(peer, "spi_in"), text(peer, "spi_out"),
                        traffic(peer, "rx_packets", "rx_bytes"),
                        traffic(peer, "tx_packets", "tx_bytes"), number_as(count, peer, "refused"),
                        ago(peer, "last_received")});
    return table(rows);
}

// A value as text: "equal yes, checks 4,711".
std::string shown(const json::value& value) {
    if (const auto* text = value.if_string())
        return clean(*text);
    if (const auto* truth = value.if_bool())
        return *truth ? "yes" : "no";
    std::string out;
    if (const auto* array = value.if_array()) {
        for (const auto& item : *array)
            out += (out.empty() ? "" : ", ") + shown(item);
        return out;
    }
    if (const auto* object = value.if_object()) {
        for (const auto& [name, item] : *object)
            if (const auto text = shown(item); !text.empty())
                out += fmt::format("{}{} {}", out.empty() ? "" : ", ", clean(name), text);
        return out;
    }
    if (value.is_uint64() || (value.is_int64() && value.get_int64() >= 0))
        return count(value.to_number<std::uint64_t>());
    return value.is_null() ? std::string() : json::serialize(value);
}

// Name and value of each field, for fields that are not shown elsewhere.
std::string details(const json::value& object) {
    std::string out;
    const auto* fields = object.if_object();
    if (!fields)
        return out;
    for (const auto& [name, value] : *fields) {
        if (const auto text = shown(value); !text.empty())
            out += fmt::format("  {:<14} {}\n", clean(name), text);
    }
    return out;
}

// "10.0.0.2:40000", "[2001:db8::1]:53", "10.0.0.2"
std::string end(const json::value& tuple, std::string_view address, std::string_view port) {
    auto host = text(tuple, address);
    const auto number_of_port = number(tuple, port);
    if (!number_of_port)
        return host;
    return fmt::format(fmt::runtime(host.find(':') == host.npos ? "{}:{}" : "[{}]:{}"), host,
                       *number_of_port);
}

// "policy installed, refused 0", and a line for each cable.
std::string policy_lines(const json::value& policy) {
    const auto installed = truth(policy, "installed");
    std::string out = fmt::format("policy {}, refused {}\n",
                                  !installed   ? kUnknown
                                  : *installed ? "installed"
                                               : "NOT INSTALLED",
                                  refused(policy));
    for (const auto& cable : array_of(policy, "cables"))
        if (const auto* line = cable.if_string())
            out += fmt::format("cable {}\n", clean(*line));
    return out;
}

} // namespace

std::string clean(std::string_view text) {
    std::string out(text);
    std::ranges::replace_if(
        out, [](char c) { return (c >= 0 && c < ' ') || c == 127; }, '?');
    return out;
}

std::string count(std::uint64_t number) {
    std::string digits = fmt::format("{}", number);
    for (std::size_t at = digits.size(); at > 3; at -= 3)
        digits.insert(at - 3, 1, ',');
    return digits;
}

std::string size(std::uint64_t bytes) {
    if (bytes < 1024)
        return fmt::format("{} B", bytes);
    constexpr std::array<const char*, 6> kUnits{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes) / 1024;
    std::size_t unit = 0;
    // 1023.95 would be shown as 1024.0.
    while (value >= 1023.95 && unit + 1 < kUnits.size()) {
        value /= 1024;
        unit++;
    }
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string duration(std::uint64_t second) {
    if (second < 60)
        return fmt::format("{}s", second);
    if (second < 3600)
        return fmt::format("{}m{}s", second / 60, second % 60);
    if (second < 86400)
        return fmt::format("{}h{}m", second / 3600, second % 3600 / 60);
    return fmt::format("{}d{}h", second / 86400, second % 86400 / 3600);
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); i++)
            widths[i] = std::max(widths[i], row[i].size());
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); i++)
            line += fmt::format("{:<{}}  ", row[i], widths[i]);
        line.erase(line.find_last_not_of(' ') + 1);
        out += line + "\n";
    }
    return out;
}

std::string render_status(const json::value& status) {
    const auto ready = truth(status, "ready");
    std::string out = fmt::format("{}: {}, ", text(status, "node"), text(status, "role"));
    if (!ready)
        out += "not known whether ready";
    else if (*ready)
        out += "ready";
    else
        out += fmt::format("NOT ready: {}", text(status, "why"));
    if (const auto odd = text(status, "role_warning"); odd != kUnknown)
        out += "\nWARNING: " + odd;
    out += fmt::format("\nencsyncd {}, up {}, memory {}\n", text(status, "version"),
                       number_as(duration, status, "uptime"), number_as(size, status, "memory"));
    out += fmt::format("states {}: own {}, copies {}\n", number_as(count, status, "states"),
                       number_as(count, status, "own"), number_as(count, status, "copies"));
    if (const auto missing = number(status, "missing").value_or(0); missing != 0)
        out += fmt::format("NOT in the kernel: {} of the copies\n", count(missing));
    if (const auto* ipsec = member(status, "ipsec"))
        out += fmt::format("ipsec {}: {}\n", text(*ipsec, "mode"), text(*ipsec, "why"));
    if (const auto* policy = member(status, "policy"))
        out += policy_lines(*policy);
    for (const auto& complaint : array_of(status, "machine"))
        out += fmt::format("warning: {}\n", text(complaint, "text"));
    for (const auto& age : array_of(status, "key_ages"))
        out += fmt::format("warning: {}\n",
                           age.is_string() ? std::string_view(age.get_string()) : kUnknown);
    if (const auto* metrics = member(status, "metrics"))
        if (const auto trouble = text(*metrics, "trouble"); trouble != kUnknown)
            out += fmt::format("warning: metrics are not served: {}\n", trouble);
    if (const auto* defer = member(status, "defer"))
        out += fmt::format(
            "first packets held {}: {} until all peers had the flow, {} for 20 ms; "
            "{} passed over the limit\n",
            number_as(count, *defer, "held"), number_as(count, *defer, "acknowledged"),
            number_as(count, *defer, "timed_out"), number_as(count, *defer, "over_limit"));
    const auto* peers = member(status, "peers");
    if (!peers || array_of(*peers).empty())
        return out + "no peers\n";
    out += "\n" + peer_table(*peers);
    for (const auto& peer : array_of(*peers))
        if (const auto error = text(peer, "last_error"); error != kUnknown)
            out += fmt::format("{}: {}\n", text(peer, "name"), error);
    return out;
}

std::string render_peers(const json::value& peers) {
    if (array_of(peers).empty())
        return "no peers\n";
    std::string out;
    for (const auto& peer : array_of(peers))
        out += fmt::format("{}{}\n", out.empty() ? "" : "\n", text(peer, "name")) + details(peer);
    return out;
}

std::string render_flushed(const json::value& answer) {
    return fmt::format("{}: {} states removed\n", text(answer, "peer"),
                       number_as(plain, answer, "removed"));
}

std::string render_sas(const json::value& sas) {
    if (array_of(sas).empty())
        return "no security associations\n";
    std::vector<std::vector<std::string>> rows{{"PEER", "DIRECTION", "SPI", "CIPHER", "ESN", "AGE",
                                                "PACKETS", "BYTES", "REPLAYED", "FAILED",
                                                "KEY EXCHANGE", ""}};
    for (const auto& sa : array_of(sas))
        rows.push_back({text(sa, "peer"), text(sa, "direction"), text(sa, "spi"),
                        text(sa, "cipher"), yes_no(sa, "esn"), number_as(duration, sa, "age"),
                        number_as(count, sa, "packets"), number_as(size, sa, "bytes"),
                        number_as(count, sa, "replayed"), number_as(count, sa, "failed"),
                        text(sa, "key_exchange"),
                        truth(sa, "retiring").value_or(false) ? "retiring" : ""});
    return table(rows);
}

namespace {

// What a peer may send, and what it sent beyond.
std::string peer_policy(const json::value& peer) {
    std::string out = fmt::format("\n{}: {} packets accepted\n", text(peer, "name"),
                                  number_as(count, peer, "accepted"));
    for (const auto& rule : array_of(peer, "rules"))
        if (const auto* line = rule.if_string())
            out += fmt::format("  {}\n", clean(*line));
    if (const auto* refusals = member(peer, "refusals"); refusals && refusals->is_object())
        for (const auto& [reason, times] : refusals->get_object())
            out += fmt::format("  not accepted: {} {}\n",
                               count(number(*refusals, reason).value_or(0)), clean(reason));
    return out;
}

} // namespace

std::string render_policy(const json::value& policy) {
    std::string out = policy_lines(policy);
    for (const auto& peer : array_of(policy, "peers"))
        out += peer_policy(peer);
    if (const auto* counters = member(policy, "counters"); counters && counters->is_object())
        out += details(*counters);
    if (const auto* ruleset = member(policy, "ruleset"); ruleset && ruleset->is_string()) {
        // The only text with several lines.
        std::string_view rest = ruleset->get_string();
        out += "\n";
        while (!rest.empty()) {
            const auto line = rest.substr(0, rest.find('\n'));
            std::string shown;
            for (const char c : line)
                shown += c == '\t' ? std::string(1, c) : clean({&c, 1});
            out += shown + "\n";
            rest.remove_prefix(std::min(line.size() + 1, rest.size()));
        }
    }
    return out;
}

namespace {

// Fixed widths, so that a million lines need not be collected first. Longer cells shift the rest.
std::string state_row(std::string_view proto, std::string_view from, std::string_view to,
                      std::string_view progress, std::string_view owner, std::string_view age,
                      std::string_view expires, std::string_view nat) {
    std::string line = fmt::format("{:<5} {:<21} {:<21} {:<23} {:<10} {:<7} {:<7} {}", proto, from,
                                   to, progress, owner, age, expires, nat);
    line.erase(line.find_last_not_of(' ') + 1);
    return line + "\n";
}

// What only some flows have.
std::string extras_of(const json::value& state, std::string_view separator) {
    std::string out;
    const auto add = [&](const std::string& what) {
        out += std::string(separator) + what;
        separator = ", ";
    };
    if (const auto* helper = member(state, "helper"); helper != nullptr)
        add("helper " + text(state, "helper"));
    if (const auto* labels = member(state, "labels"); labels != nullptr) {
        std::string numbers;
        for (const auto& label : array_of(*labels))
            numbers += " " + json::serialize(label);
        add("labels" + numbers);
    }
    if (member(state, "reply_zone") != nullptr)
        add("original zone " + number_as(plain, state, "zone") + ", reply zone " +
            number_as(plain, state, "reply_zone"));
    else if (member(state, "zone") != nullptr && number_as(plain, state, "zone") != "0")
        add("zone " + number_as(plain, state, "zone"));
    if (member(state, "lifetime") != nullptr)
        add("lifetime " + number_as(duration, state, "lifetime"));
    if (const auto* adjust = member(state, "seq_adjust"); adjust != nullptr)
        add("sequence numbers " + json::serialize(*adjust));
    if (member(state, "expectations") != nullptr)
        add("expectations " + number_as(plain, state, "expectations"));
    return out;
}

} // namespace

std::string states_header() {
    return state_row("PROTO", "FROM", "TO", "STATE", "OWNER", "AGE", "EXPIRES", "NAT, EXTRAS");
}

std::string render_state(const json::value& state) {
    // The reply tuple, reversed, is what the other end sees.
    std::string nat;
    const auto* reply = member(state, "reply");
    const bool icmp = member(state, "icmp_id") != nullptr;
    if (reply) {
        const auto from = end(state, "src", "sport"), to = end(state, "dst", "dport");
        const auto seen_from = end(*reply, "dst", "dport"), seen_to = end(*reply, "src", "sport");
        if (from != seen_from || to != seen_to)
            nat = fmt::format("{} > {}", seen_from, seen_to);
    }
    const std::string more = nat + extras_of(state, nat.empty() ? "" : ", ");
    const std::string to =
        icmp ? fmt::format("{} id {}", text(state, "dst"), number_as(plain, state, "icmp_id"))
             : end(state, "dst", "dport");
    return state_row(text(state, "proto"), end(state, "src", "sport"), to, text(state, "state"),
                     text(state, "owner"), number_as(duration, state, "age"),
                     number_as(duration, state, "expires"), more);
}

std::string render_identities(const json::value& keys) {
    std::vector<std::vector<std::string>> rows{{"FINGERPRINT", "AGE", "CREATED", ""}};
    const auto* identities = member(keys, "identities");
    if (identities)
        for (const auto& identity : array_of(*identities))
            rows.push_back({text(identity, "fingerprint"), number_as(duration, identity, "age"),
                            text(identity, "created"),
                            truth(identity, "signs").value_or(false) ? "in use" : "coming"});
    const auto secrets = text(keys, "secrets");
    return fmt::format("{} ({}), creatorid {}{}\n", text(keys, "name"), text(keys, "keydir"),
                       text(keys, "creatorid"),
                       secrets.ends_with("sealed") ? fmt::format(", {}", secrets) : "") +
           table(rows);
}

std::string render_trusted(const json::value& keys) {
    if (array_of(keys).empty())
        return "no key is trusted\n";
    std::vector<std::vector<std::string>> rows{{"NAME", "FINGERPRINT", "AGE", "TRUSTED SINCE"}};
    for (const auto& key : array_of(keys))
        rows.push_back({text(key, "name"), text(key, "fingerprint"),
                        number_as(duration, key, "age"), text(key, "since")});
    return table(rows);
}

namespace {

constexpr std::size_t kHexGroup = 4, kGroupsInLine = 8, kWordsInLine = 6;

std::string hex_lines(std::string_view hex) {
    std::string out;
    for (std::size_t at = 0; at < hex.size(); at += kHexGroup) {
        if (at % (kHexGroup * kGroupsInLine) == 0)
            out += fmt::format("{}  {:<5}", at == 0 ? "" : "\n", at == 0 ? "hex" : "");
        out += fmt::format(" {}", hex.substr(at, kHexGroup));
    }
    return out + "\n";
}

// Each line begins with the number of its first word.
std::string word_lines(const json::array& words) {
    std::string out;
    for (std::size_t n = 0; n < words.size(); n++) {
        if (n % kWordsInLine == 0)
            out += fmt::format("{}  {:<5}", n == 0 ? "" : "\n", n + 1);
        out += fmt::format(" {}", words[n].is_string() ? clean(words[n].get_string()) : kUnknown);
    }
    return out + "\n";
}

} // namespace

std::string render_words(const json::value& keys) {
    std::string out;
    for (const auto& key : array_of(keys)) {
        const auto* words = member(key, "words");
        if (!out.empty())
            out += "\n";
        if (member(key, "name") != nullptr)
            out += text(key, "name") + "  ";
        out += fmt::format("{}\n{}{}", text(key, "fingerprint"), hex_lines(text(key, "hex")),
                           word_lines(words != nullptr ? array_of(*words) : json::array()));
    }
    return out;
}

namespace {

// Which peers have shown that they accept this key of ours.
std::string accepted_by(const json::value& status, std::string_view print) {
    std::vector<std::string> yes, no;
    for (const auto& peer : array_of(status.at("peers"))) {
        const auto& prints = array_of(peer.at("accepts"));
        const bool accepts = std::ranges::find(prints, json::value(print)) != prints.end();
        (accepts ? yes : no).push_back(text(peer, "name"));
    }
    std::string out = yes.empty() ? "" : fmt::format("accepted by {}", fmt::join(yes, ", "));
    if (!no.empty())
        out += fmt::format("{}not yet by {}", yes.empty() ? "" : "; ", fmt::join(no, ", "));
    return out;
}

// The conns of which the key is in use.
std::string used_by(const json::value& status, std::string_view print) {
    std::vector<std::string> conns;
    for (const auto& peer : array_of(status.at("peers")))
        if (text(peer, "key") == print && text(peer, "state") == "up")
            conns.push_back(text(peer, "name"));
    return conns.empty() ? "" : fmt::format("conn {} is up with it", fmt::join(conns, ", "));
}

} // namespace

namespace {

// What is done with a preshared key.
std::string ppk_use(const json::value& status, const json::value& key) {
    std::string out = truth(key, "offered").value_or(false) ? "offered" : "accepted";
    for (const auto& peer : array_of(status.at("peers"))) {
        const auto* ppk = member(peer, "ppk");
        if (ppk != nullptr && text(*ppk, "used") == text(key, "id"))
            out += fmt::format(", conn {} is up with it", text(peer, "name"));
        if (ppk != nullptr && text(peer, "name") == text(key, "name"))
            out += fmt::format("; {}{}", text(*ppk, "step"),
                               truth(*ppk, "required").value_or(false) ? ", required" : "");
    }
    return out;
}

} // namespace

std::string render_key_status(const json::value& status) {
    const json::value& own = status.at("own");
    const bool running = truth(status, "running").value_or(false);
    std::vector<std::vector<std::string>> rows{{"NAME", "FINGERPRINT", "AGE", "", ""}};
    for (const auto& key : array_of(own.at("identities")))
        rows.push_back({text(own, "name"), text(key, "fingerprint"),
                        number_as(duration, key, "age"),
                        truth(key, "signs").value_or(false) ? "in use" : "coming",
                        accepted_by(status, text(key, "fingerprint"))});
    std::map<std::string, std::size_t> seen;
    for (const auto& key : array_of(status.at("trusted")))
        seen[text(key, "name")]++;
    std::map<std::string, std::size_t> at;
    for (const auto& key : array_of(status.at("trusted"))) {
        const std::string name = text(key, "name");
        const bool first = at[name]++ == 0;
        rows.push_back({name, text(key, "fingerprint"), number_as(duration, key, "age"),
                        seen[name] == 1 ? "trusted"
                        : first         ? "trusted, older"
                                        : "trusted, newer",
                        used_by(status, text(key, "fingerprint"))});
    }
    for (const auto& key : array_of(status.at("ppks")))
        rows.push_back({text(key, "name"), text(key, "id"), number_as(duration, key, "age"),
                        fmt::format("epoch {}, {}", number_as(plain, key, "epoch"),
                                    text(key, "origin") == "tunnel" ? "made in the tunnel"
                                    : text(key, "origin") == "hand" ? "carried by hand"
                                                                    : "of one carried by hand"),
                        ppk_use(status, key)});
    for (const auto& key : array_of(status.at("psks")))
        rows.push_back({text(key, "name"), "preshared key", number_as(duration, key, "age"),
                        key.as_object().contains("next") && key.at("next").as_bool()
                            ? "for authby=psk, next"
                            : "for authby=psk",
                        ""});
    for (const auto& one : array_of(status.at("certificates"))) {
        const std::string what =
            text(one, "use") == "own" ? "our certificate for it" : "its authority";
        rows.push_back({text(one, "name"), text(one, "fingerprint"),
                        number_as(duration, one, "age"),
                        what + (truth(one, "next").value_or(false) ? ", next" : ""),
                        fmt::format("until {}", text(one, "until"))});
    }
    for (const auto& key : array_of(status.at("revoked")))
        rows.push_back({text(key, "name"), text(key, "fingerprint"), "", "revoked",
                        fmt::format("on {}, {}", text(key, "by"), text(key, "when"))});
    return table(rows) + (running ? "" : "encsyncd is not running\n");
}

std::string render_key_log(const json::value& log) {
    std::vector<std::vector<std::string>> rows{{"TIME", "EVENT", "NAME", "FINGERPRINT", "HASH"}};
    for (const auto& entry : array_of(log.at("entries")))
        rows.push_back({text(entry, "time"), text(entry, "event"), text(entry, "name"),
                        text(entry, "fingerprint"), text(entry, "hash")});
    return rows.size() == 1 ? "" : table(rows);
}

} // namespace encsync::cli
