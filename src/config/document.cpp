// SPDX-License-Identifier: ISC
#include "config/document.hpp"

#include "config/options.hpp"
#include "util/peer_id.hpp"

#include <fmt/core.h>

namespace encsync::config {

namespace {

enum class Kind { heading, text, code };
struct Block {
    Kind kind;
    std::string text; // `backquotes` mark literal text
};

std::vector<Block> grammar_blocks() {
    return {
        {Kind::text, "`encsyncd` and `encsync` read `/etc/encsync/encsync.conf`, or the file given "
                     "by `--config`. It has the form of strongSwan's ipsec.conf, and strongSwan's "
                     "keywords where there is one; the options of pfsync have pfsync's names. "
                     "`encsync check` checks a file and shows all of its errors at once."},
        {Kind::code, "config setup\n"
                     "\tnode=mickey\n"
                     "\n"
                     "conn %default\n"
                     "\tleft=192.168.1.100\n"
                     "\n"
                     "conn minnie\n"
                     "\tright=192.168.1.101\n"},
        {Kind::heading, "Syntax"},
        {Kind::text, "A section begins in the first column: `config setup`, at most once, `conn "
                     "%default`, or `conn NAME`, one for each peer. Its settings follow, "
                     "`keyword=value`, each on a line that begins with a space or a tab. Spaces "
                     "around the `=` do not matter. A keyword may be set only once in a section."},
        {Kind::text, "`#` begins a comment, except within quotes. A value may be in double quotes, "
                     "which must enclose all of it. Lines may end with LF or CR LF; other control "
                     "characters are refused."},
        {Kind::text, "A conn inherits the settings of `conn %default`, wherever that is in the "
                     "file, and of each conn that it names by `also=NAME`; its own settings win. "
                     "If two of its `also` set the same keyword, the later one wins. `also` may "
                     "lead from conn to conn, but not in a circle."},
        {Kind::text,
         fmt::format("`include FILE`, in the first column, reads another file in this place. The "
                     "name may contain the wildcards `*`, `?` and `[...]`, which may match "
                     "nothing; it is relative to the folder of the file that contains it. An "
                     "include ends the section before it. Includes may be nested {} deep.",
                     kMaxIncludeDepth)},
        {Kind::text, "A duration is a number of seconds, or a number followed by `s`, `m`, `h` or "
                     "`d`: `90`, `90s`, `5m`, `4h`, `1d`. A name has at most 63 letters, digits, "
                     "`.`, `_` and `-`. Addresses are numeric; host names are not looked up."},
        {Kind::heading, "Rules for flows"},
        {Kind::text,
         "`nosync`, `refuse` and `accept` contain rules, separated by commas. A flow "
         "that matches any of them is not sent to a peer, or not accepted from one; with "
         "`accept`, only those that match are accepted. A rule consists of conditions joined by "
         "`and`, all of which must match:"},
        {Kind::code,
         "mark 0x10/0xf0       its conntrack mark, masked by 0xf0, is 0x10\n"
         "mark 16              its conntrack mark is 16 (0x10)\n"
         "src 10.1.0.0/16      its source address is in this prefix\n"
         "dst 2001:db8::/32    its destination address is in this prefix\n"
         "net 10.9.0.0/24      one of the two is; if net is given twice, both must match\n"
         "port 53              its destination port is 53\n"
         "port 6000-6100       its destination port is in this range\n"
         "proto udp            tcp, udp, icmp, icmp6, sctp, dccp, udplite, gre or the "
         "number\n"
         "zone 7               its conntrack zone is 7, for both directions or "
         "for one\n"},
        {Kind::text, "So `nosync=mark 0x10/0x10, proto udp and port 53` matches all flows with "
                     "that bit in their mark, and DNS. Source and destination are those of the "
                     "flow's first packet. An address or port matches if it does so before NAT or "
                     "after it. ICMP and GRE have no ports."},
        {Kind::text,
         "A mark may change during the life of a flow. When a flow begins to match a rule by its "
         "mark, the peers are told to drop their copies; when it no longer matches, it is sent "
         "again. The flow itself is not affected, nor are copies here of flows that a peer owns."},
        {Kind::text, fmt::format("At most {} conns are possible, not counting those with "
                                 "`auto=ignore`. A file with any error is refused as a whole.",
                                 kMaxPeers)},
    };
}

constexpr std::string_view kSetupText =
    "Settings of this node. Every one of them has a default, so the section may be left out.";
constexpr std::string_view kConnText = "Settings of one peer. `left` and `right` must be given, "
                                       "here or through `conn %default` or `also`.";
constexpr std::string_view kAlsoText =
    "Includes the settings of another conn. May be given several times.";
constexpr std::string_view kForeignText =
    "Other keywords of strongSwan's ipsec.conf are refused, with the reason.";

std::string default_of(const Option& option) {
    return option.default_value.empty() ? std::string(option.default_text)
                                        : fmt::format("`{}`", option.default_value);
}

// ---- Markdown --------------------------------------------------------------------------------

// Breaks lines at blanks, at 100 columns.
std::string wrap(std::string_view text) {
    constexpr std::size_t kColumns = 100;
    std::string out;
    std::size_t column = 0;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(' '), text.size());
        if (column > 0 && column + 1 + end > kColumns) {
            out += '\n';
            column = 0;
        } else if (column > 0) {
            out += ' ';
            column++;
        }
        out += text.substr(0, end);
        column += end;
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out + "\n";
}

std::string markdown(const Option& option) {
    const std::string alias =
        option.alias.empty() ? std::string() : fmt::format(" (or `{}`)", option.alias);
    return fmt::format("\n### `{}`{}\n\n", option.name, alias) + wrap(option.doc) +
           fmt::format("\n- Value: {}\n- Default: {}\n- Example: `{}={}`\n", describe_type(option),
                       default_of(option), option.name, option.example);
}

// ---- man(7) ----------------------------------------------------------------------------------

std::string escape(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if ((c == '.' || c == '\'') && (out.empty() || out.back() == '\n'))
            out += "\\&"; // otherwise troff takes it for a request
        if (c == '\\')
            out += "\\e";
        else if (c == '-')
            out += "\\-";
        else
            out += c;
    }
    return out;
}

// `x` to bold.
std::string troff(std::string_view text) {
    std::string out;
    bool bold = false;
    for (;;) {
        const std::size_t quote = text.find('`');
        const std::string_view part = text.substr(0, quote);
        out += out.empty() ? escape(part) : escape(std::string("x") + std::string(part)).substr(1);
        if (quote == std::string_view::npos)
            return out + "\n";
        bold = !bold;
        out += bold ? "\\fB" : "\\fR";
        text.remove_prefix(quote + 1);
    }
}

std::string man_code(std::string_view text) {
    return ".PP\n.RS\n.nf\n" + escape(text) + ".fi\n.RE\n";
}

std::string man(const Option& option) {
    const std::string alias =
        option.alias.empty() ? std::string() : fmt::format(" \\fR(or\\fB {}\\fR)", option.alias);
    return fmt::format(".TP\n.B {}{}\n", escape(option.name), alias) + troff(option.doc) + ".br\n" +
           troff(fmt::format("Value: {}.", describe_type(option))) + ".br\n" +
           troff(fmt::format("Default: {}.", default_of(option))) + ".br\n" +
           troff(fmt::format("Example: `{}={}`", option.name, option.example));
}

} // namespace

std::string markdown_page() {
    std::string out = "# Configuration\n\n"
                      "<!-- Written by config_docs from src/config/options.cpp and "
                      "src/config/document.cpp. -->\n";
    for (const Block& block : grammar_blocks())
        switch (block.kind) {
        case Kind::heading:
            out += "\n## " + block.text + "\n";
            break;
        case Kind::text:
            out += "\n" + wrap(block.text);
            break;
        case Kind::code:
            out += "\n```\n" + block.text + "```\n";
            break;
        }
    out += "\n## config setup\n\n" + wrap(kSetupText);
    for (const Option& option : options())
        if (option.section == SectionKind::setup)
            out += markdown(option);
    out += "\n## conn\n\n" + wrap(kConnText) + "\n### `also`\n\n" + wrap(kAlsoText) +
           "\n- Value: name of a conn\n- Example: `also=minnie`\n";
    for (const Option& option : options())
        if (option.section == SectionKind::conn)
            out += markdown(option);
    out += "\n## Other keywords of strongSwan\n\n" + wrap(kForeignText);
    return out;
}

std::string man_page() {
    std::string out =
        ".\\\" Written by config_docs from src/config/options.cpp and src/config/document.cpp.\n"
        ".TH ENCSYNC.CONF 5 \"\" encsync \"File formats\"\n"
        ".SH NAME\nencsync.conf \\- configuration of encsync\n"
        ".SH SYNOPSIS\n.I /etc/encsync/encsync.conf\n.SH DESCRIPTION\n";
    for (const Block& block : grammar_blocks())
        switch (block.kind) {
        case Kind::heading:
            out += ".SS " + block.text + "\n";
            break;
        case Kind::text:
            out += ".PP\n" + troff(block.text);
            break;
        case Kind::code:
            out += man_code(block.text);
            break;
        }
    out += ".SH CONFIG SETUP\n" + troff(kSetupText);
    for (const Option& option : options())
        if (option.section == SectionKind::setup)
            out += man(option);
    out += ".SH CONN\n" + troff(kConnText) + ".TP\n.B also\n" + troff(kAlsoText) +
           ".br\nValue: name of a conn.\n.br\n" + troff("Example: `also=minnie`");
    for (const Option& option : options())
        if (option.section == SectionKind::conn)
            out += man(option);
    out += ".PP\n" + troff(kForeignText);
    out += ".SH FILES\n.TP\n.I /etc/encsync/encsync.conf\nthe configuration\n"
           ".TP\n.I /var/lib/encsync/keys\nthis node's key and those it trusts\n"
           ".SH SEE ALSO\n.BR encsyncd (8),\n.BR encsync (8),\n.BR ipsec.conf (5),\n"
           ".BR tcpdump (8)\n";
    return out;
}

} // namespace encsync::config
