// SPDX-License-Identifier: ISC
// From sections to a Config: every setting is read once, in its section; then each conn gets what
// it inherits and its own settings, the nearest last.
#include "config/check.hpp"
#include "config/disk.hpp"
#include "config/inherit.hpp"
#include "config/options.hpp"
#include "config/text.hpp"
#include "net/pfsync_group.hpp"

#include <algorithm>
#include <fmt/core.h>

namespace encsync::config {

namespace {

class Assembler {
  public:
    Assembler(const Document& document, Environment& environment, Report& report)
        : document_(document), environment_(environment), report_(report),
          inheritance_(document, report) {}

    Config run();

  private:
    // A setting of a known option; once per section.
    struct Setting {
        const Option* option;
        const Entry* entry;
        bool valid;
    };

    void read_section(const Section& section);
    void unknown(const Section& section, const Entry& entry);
    void repeated(const Entry& entry, const Entry& first);
    bool read(const Option& option, const Entry& entry);

    void setup(Setup& setup);
    PlacedConn conn(const Section& section, const Setup& setup);
    std::vector<PlacedConn> conns(const Setup& setup);
    void apply(const Section& section, std::size_t rank, Target target, Origins& origins);

    const Document& document_;
    Environment& environment_;
    Report& report_;
    Inheritance inheritance_;
    std::map<const Section*, std::vector<Setting>> settings_;
};

Config Assembler::run() {
    for (const Section& section : document_.sections)
        read_section(section);
    Config config;
    setup(config.setup);
    if (inheritance_.has_loops())
        return config;
    std::vector<PlacedConn> placed = conns(config.setup);
    check_conns(config.setup, placed, report_);
    if (placed.empty() && !report_.has_errors())
        report_.warning({&document_.files.front(), 0, 0},
                        "no conn is in use: this node has no peer to keep in step with");
    for (PlacedConn& each : placed)
        config.conns.push_back(std::move(each.conn));
    return config;
}

void Assembler::read_section(const Section& section) {
    std::map<std::string_view, const Entry*> seen;
    for (const Entry& entry : section.entries) {
        if (entry.key == "also")
            continue;
        const Option* option = find_option(section.kind, entry.key);
        const auto [first, fresh] = seen.emplace(option ? option->name : entry.key, &entry);
        if (!fresh)
            repeated(entry, *first->second);
        else if (option)
            settings_[&section].push_back({option, &entry, !entry.broken && read(*option, entry)});
        else
            unknown(section, entry);
    }
}

void Assembler::repeated(const Entry& entry, const Entry& first) {
    const std::string where = describe(first.key_at, entry.key_at);
    if (entry.key == first.key)
        report_.error(entry.key_at, fmt::format("'{}' is already set on {}", entry.key, where));
    else
        report_.error(entry.key_at, fmt::format("'{}' is another name for '{}', which is already "
                                                "set on {}",
                                                entry.key, first.key, where));
}

void Assembler::unknown(const Section& section, const Entry& entry) {
    const bool in_setup = section.kind == SectionKind::setup;
    const SectionKind other = in_setup ? SectionKind::conn : SectionKind::setup;
    const char* there = in_setup ? "a conn" : "'config setup'";
    if (find_option(other, entry.key)) {
        report_.error(entry.key_at, fmt::format("'{}' belongs in {}", entry.key, there));
        return;
    }
    if (const std::string known = foreign_keyword(entry.key); !known.empty()) {
        report_.error(entry.key_at, known);
        return;
    }
    std::string hint = did_you_mean(nearest(entry.key, option_names(section.kind)));
    if (hint.empty()) {
        hint = did_you_mean(nearest(entry.key, option_names(other)));
        if (!hint.empty())
            hint += fmt::format(" It belongs in {}", there);
    }
    report_.error(entry.key_at, fmt::format("unknown keyword '{}'", entry.key), hint);
}

bool Assembler::read(const Option& option, const Entry& entry) {
    Setup setup;
    Conn conn;
    const Verdict problem = option.store(option, entry.value, {&setup, &conn});
    if (!problem)
        return true;
    Place at = entry.value_at;
    at.offset += problem->offset;
    report_.error(at, fmt::format("{}: {}", entry.key, problem->message), problem->hint);
    return false;
}

void Assembler::apply(const Section& section, std::size_t rank, Target target, Origins& origins) {
    for (const Setting& setting : settings_[&section]) {
        if (setting.valid)
            (void)setting.option->store(*setting.option, setting.entry->value, target);
        origins[setting.option->name] = {setting.entry, rank, setting.valid};
    }
}

void Assembler::setup(Setup& setup) {
    setup = default_setup();
    Origins origins;
    Place at{&document_.files.front(), 0, 0};
    for (const Section& section : document_.sections)
        if (section.kind == SectionKind::setup) {
            apply(section, 0, {&setup, nullptr}, origins);
            at = section.at;
            break; // a second one was refused
        }
    if (!origins.contains("node")) {
        const std::string name = environment_.host_name();
        if (name.empty() || read_name(name, setup.node))
            report_.error(at, fmt::format("the host's name, '{}', cannot be a node's", name),
                          "write node=NAME in 'config setup'");
    }
    check_setup(setup, origins, report_);
}

std::vector<PlacedConn> Assembler::conns(const Setup& setup) {
    std::vector<PlacedConn> placed;
    for (const Section& section : document_.sections) {
        if (section.kind != SectionKind::conn || section.name == "%default" ||
            find_conn(document_, section.name) != &section)
            continue;
        PlacedConn next = conn(section, setup);
        if (next.conn.startup != Auto::ignore) {
            placed.push_back(std::move(next));
            continue;
        }
        // Reported, so that a line far from a conn cannot drop the peer silently.
        const Entry* said = next.origins["auto"].entry;
        const auto own = [&](const Entry& entry) { return &entry == said; };
        if (std::none_of(section.entries.begin(), section.entries.end(), own))
            report_.warning(section.at,
                            fmt::format("conn {} is ignored: it inherits auto=ignore from {}",
                                        section.name, describe(said->key_at, section.at)),
                            "give it an auto of its own");
    }
    return placed;
}

PlacedConn Assembler::conn(const Section& section, const Setup& setup) {
    PlacedConn placed;
    placed.at = section.at;
    placed.conn = default_conn();
    const std::vector<const Section*> order = inheritance_.order(section);
    for (std::size_t rank = 0; rank < order.size(); rank++)
        apply(*order[order.size() - 1 - rank], rank, {nullptr, &placed.conn}, placed.origins);

    Conn& conn = placed.conn;
    conn.name = section.name;
    if (!placed.origins.contains("leftid"))
        conn.leftid = setup.node;
    if (!placed.origins.contains("rightid"))
        conn.rightid = conn.name;
    if (conn.is_group()) {
        // By now the family is known.
        conn.right = {net::pfsync_group(conn.left.ip.family), conn.left.scope};
        if (!placed.origins.contains("multicast"))
            conn.multicast = true;
    }
    if (!placed.origins.contains("margintime"))
        conn.margintime = std::max(conn.lifetime / 10, std::chrono::seconds(1));
    return placed;
}

} // namespace

Loaded parse(std::string_view text, const std::string& filename, Environment& environment) {
    Document document;
    Report report;
    read_document(text, filename, environment, document, report);
    Config config = Assembler(document, environment, report).run();
    Loaded loaded;
    if (!report.has_errors())
        loaded.config = std::move(config);
    loaded.diagnostics = report.finish();
    return loaded;
}

Loaded load(const std::string& path) {
    Disk disk;
    Result<std::string> text = disk.read(path);
    if (text)
        return parse(*text, path, disk);
    Loaded loaded;
    loaded.diagnostics.emplace_back();
    loaded.diagnostics.back().file = printable(path);
    loaded.diagnostics.back().message = fmt::format("cannot read it: {}", text.error().text);
    return loaded;
}

} // namespace encsync::config
