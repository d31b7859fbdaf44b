// SPDX-License-Identifier: ISC
// config.xml of OPNsense and pfSense: the element hasync, and from the rest the host's name, the
// interfaces' addresses and which sections are for other programs. Values that are not used are not
// shown, because the file is full of passwords.
#include "import/pfsync_words.hpp"
#include "import/readers.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <pugixml.hpp>

namespace encsync::importer {

namespace {

constexpr int kMaxNesting = 64;
constexpr std::string_view kOnlyStates =
    "encsync syncs states, not settings: keep the nodes alike with another tool";

class Reader;

struct Element {
    std::string_view name;
    Fate fate;
    std::string_view text; // the advice, or why nothing is needed
    void (Reader::*carry)(unsigned line, const std::string& value) = nullptr;
};

class Reader {
  public:
    Reader(std::string_view text, Migration& found) : found_(found) {
        for (std::size_t at = text.find('\n'); at != text.npos; at = text.find('\n', at + 1))
            line_ends_.push_back(static_cast<std::ptrdiff_t>(at));
    }

    Result<void> read(const pugi::xml_node& root) {
        const pugi::xml_node hasync = root.child("hasync");
        if (!hasync)
            return fault(0, "it has no high availability section (hasync)");
        if (const std::string host = root.child("system").child_value("hostname"); !host.empty())
            found_.set_node(line_of(root.child("system").child("hostname")), host);
        for (const pugi::xml_node each : root.child("interfaces").children())
            interface(each);
        found_.peer_line = line_of(hasync);
        for (const pugi::xml_node each : hasync.children())
            if (each.type() == pugi::node_element)
                element(each);
        if (interface_.empty())
            return fault(line_of(hasync),
                         "pfsync has no interface (pfsyncinterface), so it is off");
        if (enabled_ == false)
            found_.note(enabled_line_, "pfsyncenabled is off",
                        "pf does not sync now; encsync does once its service is enabled");
        if (!services_.empty())
            found_.note(services_line_, fmt::format("services that are copied: {}", services_),
                        kOnlyStates);
        set_interface();
        others(root);
        finish_pfsync(found_);
        return {};
    }

    void enabled(unsigned line, const std::string& value) {
        enabled_ = is_on(value);
        enabled_line_ = line;
    }
    void sync_interface(unsigned line, const std::string& value) {
        interface_ = value;
        interface_line_ = line;
    }
    void peer(unsigned line, const std::string& value) { set_syncpeer(found_, line, value); }
    void version(unsigned line, const std::string& value) {
        if (!value.empty())
            set_version(found_, line, value);
    }
    void defer(unsigned, const std::string& value) { found_.defer = is_on(value); }
    void settings_target(unsigned line, const std::string& value) {
        if (value.empty())
            return;
        // Both are usually the same machine, over the same cable.
        if (net::parse_address(value))
            found_.guessed_right = value;
        found_.note(line, "synchronizetoip: settings are copied to the other node", kOnlyStates);
    }
    void clients(unsigned line, const std::string&) {
        found_.note(line, "xmlrpcclients: settings are copied to other nodes", kOnlyStates);
    }
    void services(unsigned line, const std::string& value) {
        if (!value.empty())
            add_service(line, value);
    }
    void no_preempt(unsigned line, const std::string& value) {
        if (is_on(value))
            found_.note(line, "disablepreempt", "set nopreempt in keepalived's vrrp_instance");
    }
    void ppps(unsigned line, const std::string& value) {
        if (is_on(value))
            found_.note(line, "disconnectppps",
                        "start and stop pppd in keepalived's notify scripts");
    }

  private:
    static bool is_on(const std::string& value) {
        return !value.empty() && value != "0" && value != "off" && value != "false" &&
               value != "no";
    }
    unsigned line_of(const pugi::xml_node& node) const {
        const std::ptrdiff_t offset = node.offset_debug();
        const auto line = std::upper_bound(line_ends_.begin(), line_ends_.end(), offset);
        return 1 + static_cast<unsigned>(line - line_ends_.begin());
    }
    void add_service(unsigned line, const std::string& name) {
        services_line_ = services_line_ == 0 ? line : services_line_;
        services_ += (services_.empty() ? "" : ", ") + name;
    }

    // <opt1><if>igb1</if><ipaddr>10.0.0.1</ipaddr><subnet>24</subnet>; "dhcp" is no address.
    void interface(const pugi::xml_node& node) {
        const std::string name = node.child_value("if");
        for (const auto& [address, length] :
             {std::pair{"ipaddr", "subnet"}, std::pair{"ipaddrv6", "subnetv6"}})
            found_.add_own(
                name, fmt::format("{}/{}", node.child_value(address), node.child_value(length)));
        logical_.emplace_back(node.name(), name);
    }

    void element(const pugi::xml_node& node);

    // pfsyncinterface is the name of an element of <interfaces>.
    void set_interface() {
        const auto known = std::find_if(logical_.begin(), logical_.end(),
                                        [&](const auto& each) { return each.first == interface_; });
        if (known == logical_.end() || known->second.empty())
            found_.note(interface_line_, fmt::format("pfsyncinterface {}", interface_),
                        "no such interface is in the file: see whether left= is right");
        else
            set_syncdev(found_, interface_line_, known->second);
    }

    // What else is in the file.
    void others(const pugi::xml_node& root) {
        for (const pugi::xml_node each : root.children()) {
            const std::string_view name = each.name();
            if (name == "virtualip")
                virtual_addresses(each);
            else if (name == "filter" || name == "nat")
                found_.note(line_of(each), fmt::format("section {}", name),
                            "pf's rules are not read: write the same ones in nftables, for both "
                            "firewalls");
        }
        found_.note(0, "the rest of the file",
                    "only hasync, the host's name and the addresses were read: set up on Linux "
                    "what the firewall needs");
    }

    void virtual_addresses(const pugi::xml_node& section) {
        for (const pugi::xml_node each : section.children("vip"))
            if (std::string_view(each.child_value("mode")) == "carp")
                found_.note(line_of(each),
                            fmt::format("CARP address {}/{}", each.child_value("subnet"),
                                        each.child_value("subnet_bits")),
                            "make it a vrrp_instance of keepalived, see docs/operation.md");
            else if (each.first_child())
                found_.note(line_of(each),
                            fmt::format("virtual address {}/{}", each.child_value("subnet"),
                                        each.child_value("subnet_bits")),
                            "set it on Linux");
    }

    Migration& found_;
    std::vector<std::ptrdiff_t> line_ends_;                    // offsets, ascending
    std::vector<std::pair<std::string, std::string>> logical_; // "opt1", "igb1"
    std::string interface_, services_;
    std::optional<bool> enabled_; // OPNsense has no such element any more
    unsigned enabled_line_ = 0, interface_line_ = 0, services_line_ = 0;
};

constexpr std::string_view kLogin = "for the copy of the settings";

constexpr std::array kElements = {
    Element{"pfsyncenabled", Fate::carried, "", &Reader::enabled},
    Element{"pfsyncinterface", Fate::carried, "", &Reader::sync_interface},
    Element{"pfsyncpeerip", Fate::carried, "", &Reader::peer},
    Element{"pfsyncversion", Fate::carried, "", &Reader::version},
    Element{"pfsyncdefer", Fate::carried, "", &Reader::defer},
    Element{"pfhostid", Fate::needless, "encsync's creatorid comes from its own secret"},
    Element{"synchronizetoip", Fate::carried, "", &Reader::settings_target},
    Element{"xmlrpcclients", Fate::carried, "", &Reader::clients},
    Element{"syncitems", Fate::carried, "", &Reader::services},
    Element{"disablepreempt", Fate::carried, "", &Reader::no_preempt},
    Element{"disconnectppps", Fate::carried, "", &Reader::ppps},
    Element{"username", Fate::needless, kLogin},
    Element{"password", Fate::needless, kLogin},
    Element{"verifypeer", Fate::needless, kLogin},
    Element{"adminsync", Fate::needless, kLogin},
};

void Reader::element(const pugi::xml_node& node) {
    const std::string_view name = node.name();
    const auto row = std::find_if(kElements.begin(), kElements.end(),
                                  [&](const Element& each) { return each.name == name; });
    const std::string value = node.child_value();
    if (row != kElements.end()) {
        if (row->fate == Fate::carried)
            (this->*row->carry)(line_of(node), value);
    } else if (name.starts_with("synchronize") || name.starts_with("syncronize")) {
        // One for each service; OPNsense has misspelt some.
        if (is_on(value) || !node.first_child())
            add_service(line_of(node), std::string(name.substr(name.find("ize") + 3)));
    } else
        found_.note(line_of(node), fmt::format("unknown element {}", name),
                    "see the manual of that system, and docs/configuration.md");
}

// Without recursion: the file may be made to exhaust the stack.
bool too_deep(const pugi::xml_document& document) {
    int depth = 0;
    for (pugi::xml_node node = document.first_child(); node;) {
        if (depth > kMaxNesting)
            return true;
        if (node.first_child()) {
            node = node.first_child();
            depth++;
            continue;
        }
        while (node && !node.next_sibling()) {
            node = node.parent();
            depth--;
        }
        node = node ? node.next_sibling() : node;
    }
    return false;
}

} // namespace

Result<void> read_config_xml(std::string_view text, std::string_view root, Migration& found) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed =
        document.load_buffer(text.data(), text.size(), pugi::parse_default, pugi::encoding_utf8);
    if (!parsed) {
        const auto at = std::min(static_cast<std::size_t>(parsed.offset), text.size());
        const auto line = std::count(text.begin(), text.begin() + static_cast<long>(at), '\n') + 1;
        return fault(static_cast<unsigned>(line),
                     fmt::format("it is not XML: {}", parsed.description()));
    }
    if (too_deep(document))
        return fault(0, fmt::format("elements are nested more than {} deep", kMaxNesting));
    const pugi::xml_node outermost = document.document_element();
    if (outermost.name() != root)
        return fault(
            0, fmt::format("its outermost element is <{}>, not <{}>", outermost.name(), root));
    return Reader(text, found).read(outermost);
}

} // namespace encsync::importer
