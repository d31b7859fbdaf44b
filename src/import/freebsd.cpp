// SPDX-License-Identifier: ISC
// rc.conf(5): assignments in a shell's syntax, of which those of rc.d/pfsync and of the interfaces
// matter here. Shell code is not run.
#include "import/pfsync_words.hpp"
#include "import/readers.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace encsync::importer {

namespace {

struct Variable {
    std::string_view name;
    Fate fate;
    std::string_view text; // the advice, or why nothing is needed
};

constexpr std::string_view kRules =
    "pf's rules are not read: write the same ones in nftables, for both firewalls";

// Besides those that Reader::take knows: pfsync_*, ifconfig_* and the host's name.
constexpr std::array kVariables = {
    Variable{"pf_enable", Fate::noted, kRules},
    Variable{"pf_rules", Fate::noted, kRules},
    Variable{"pf_flags", Fate::noted, kRules},
    Variable{"pf_program", Fate::needless, "a program of FreeBSD"},
    Variable{"pf_fallback_rules_enable", Fate::noted, kRules},
    Variable{"ipsec_enable", Fate::noted, "encsync has its own IPsec: remove pfsync's tunnel"},
    Variable{"ipsec_file", Fate::noted, "encsync has its own IPsec: remove pfsync's tunnel"},
    Variable{"strongswan_enable", Fate::noted,
             "encsync has its own IPsec and charon: remove pfsync's tunnel, and give other tunnels "
             "another port or address"},
    Variable{"gateway_enable", Fate::noted, "set net.ipv4.ip_forward=1 on Linux"},
    Variable{"ipv6_gateway_enable", Fate::noted, "set net.ipv6.conf.all.forwarding=1 on Linux"},
    Variable{"cloned_interfaces", Fate::noted,
             "make those that the firewall needs on Linux; encsyncd makes its own"},
    Variable{"defaultrouter", Fate::noted, "set the routes on Linux"},
    Variable{"static_routes", Fate::noted, "set the routes on Linux"},
};

bool is_yes(std::string_view value) {
    // As checkyesno of rc.subr reads it.
    std::string lower(value);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return lower == "yes" || lower == "true" || lower == "on" || lower == "1";
}

bool is_name(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '_';
    });
}

class Reader {
  public:
    explicit Reader(Migration& found) : found_(found) {}

    Result<void> read(const std::vector<Line>& lines) {
        for (const Line& line : lines)
            for (const Word& word : line.words)
                if (auto taken = take(line.number, word, line.words.size() == 1); !taken)
                    return taken;
        if (!syncs_)
            return fault(0, "it has no pfsync settings");
        if (found_.interface.empty())
            return fault(0, "it names no pfsync_syncdev, so pf does not sync");
        if (!enabled_)
            found_.note(enable_line_, "pfsync_enable is not YES",
                        "pf does not sync now; encsync does once its service is enabled");
        if (others_ > 0)
            found_.note(
                0, fmt::format("other variables ({})", others_),
                "besides addresses they do not concern the sync: set up on Linux what the firewall "
                "needs");
        finish_pfsync(found_);
        return {};
    }

  private:
    // NAME=VALUE, alone in its line; another word is shell code.
    Result<void> take(unsigned line, const Word& word, bool alone) {
        const std::size_t equals = word.text.find('=');
        const std::string name = word.text.substr(0, equals);
        if (!alone || equals == std::string::npos || !is_name(name)) {
            if (line != code_line_)
                found_.note(line, "shell code", "it is not run: set by hand what it would set");
            code_line_ = line;
            return {};
        }
        const std::string value = word.text.substr(equals + 1);
        const bool matters = name.starts_with("pfsync_") || name.starts_with("ifconfig_");
        if (word.expands && matters) {
            syncs_ = syncs_ || name.starts_with("pfsync_");
            found_.peer_named = found_.peer_named || name == "pfsync_syncpeer";
            found_.note(line, name, "its value is made by a shell: set by hand what it stands for");
            return {};
        }
        if (name.starts_with("pfsync_"))
            return pfsync(line, name.substr(7), value);
        if (name == "ifconfig_pfsync0")
            return words(line, value);
        if (name.starts_with("ifconfig_"))
            return interface(line, name.substr(9), value);
        if (name == "hostname" && !word.expands)
            found_.set_node(line, value);
        else
            other(line, name);
        return {};
    }

    Result<void> pfsync(unsigned line, std::string_view name, const std::string& value) {
        syncs_ = true;
        if (name == "enable") {
            enabled_ = is_yes(value);
            enable_line_ = line;
        } else if (name == "syncdev")
            set_syncdev(found_, line, value);
        else if (name == "syncpeer")
            set_syncpeer(found_, line, value);
        else if (name == "ifconfig")
            return words(line, value);
        else
            found_.note(line, fmt::format("unknown variable pfsync_{}", name),
                        "see rc.conf(5) of that system, and docs/configuration.md");
        return {};
    }

    // The arguments of ifconfig in a variable.
    Result<void> words(unsigned line, const std::string& value) {
        syncs_ = true;
        auto lines = shell_lines(value);
        if (!lines)
            return fault(line, "a quote within the value is not closed");
        for (const Line& each : *lines)
            read_pfsync_words(found_, line, each.words);
        return {};
    }

    // ifconfig_em0, ifconfig_em0_alias0, ifconfig_em0_ipv6
    Result<void> interface(unsigned line, std::string_view name, const std::string& value) {
        const std::string_view suffix = name.substr(std::min(name.find('_'), name.size()));
        others_++;
        if (suffix == "_name")
            found_.note(line,
                        fmt::format("{} is renamed to {}", name.substr(0, name.find('_')), value),
                        "name the interfaces of the Linux firewall by systemd.link(5)");
        for (const Line& each : plain_lines(value))
            read_interface_words(found_, line, std::string(name.substr(0, name.find('_'))),
                                 each.words);
        return {};
    }

    void other(unsigned line, const std::string& name) {
        const auto row = std::find_if(kVariables.begin(), kVariables.end(),
                                      [&](const Variable& each) { return each.name == name; });
        if (row == kVariables.end())
            others_++;
        else if (row->fate == Fate::noted)
            found_.note(line, name, row->text);
    }

    Migration& found_;
    bool syncs_ = false, enabled_ = false;
    unsigned enable_line_ = 0, code_line_ = 0;
    std::size_t others_ = 0;
};

} // namespace

Result<void> read_freebsd(std::string_view text, Migration& found) {
    auto lines = shell_lines(text);
    if (!lines)
        return lines.error();
    return Reader(found).read(*lines);
}

} // namespace encsync::importer
