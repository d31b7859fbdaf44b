// SPDX-License-Identifier: ISC
// Any input is either a configuration or a list of its errors. A line "%file NAME" begins another
// file, for the includes of the first.
#include "config/config.hpp"
#include "tests/unit/config/files.hpp"
#include "util/peer_id.hpp"

#include <cstdlib>
#include <string_view>

namespace {

using namespace encsync::config;

void require(bool held) {
    if (!held)
        std::abort();
}

void check_diagnostics(const Loaded& loaded) {
    bool errors = false;
    for (const Diagnostic& d : loaded.diagnostics) {
        errors = errors || d.severity == Severity::error;
        require(!d.message.empty() && d.message.find('\n') == std::string::npos);
        require((d.line == 0) == (d.column == 0));
        require(d.source_line.size() <= 3 * kMaxLineSize);
        require(!render(d).empty());
    }
    require(loaded.config.has_value() == !errors);
    require(loaded.diagnostics.size() <= kMaxDiagnostics + 1);
}

void check_rules(const std::vector<encsync::state::NoSyncRule>& rules) {
    for (const encsync::state::NoSyncRule& rule : rules) {
        require(rule != encsync::state::NoSyncRule{}); // it would match every flow
        require(!rule.mark || (rule.mark->mask != 0 && (rule.mark->value & ~rule.mark->mask) == 0));
        require(!rule.ports || (rule.ports->first > 0 && rule.ports->first <= rule.ports->last));
    }
}

void check_config(const Config& config) {
    check_rules(config.setup.nosync);
    require(config.setup.delay <= std::chrono::minutes(1));
    require(!config.setup.defer || config.setup.delay.count() == 0);
    require(!config.setup.node.empty() && config.setup.keydir.starts_with('/'));
    require(config.setup.ikeport != config.setup.natport);
    require(config.conns.size() <= encsync::kMaxPeers);
    for (const Conn& conn : config.conns) {
        check_rules(conn.nosync);
        require(conn.left.ip.family == conn.right.ip.family && conn.left != conn.right);
        require(conn.right != Address{} && conn.left != Address{});
        require(conn.left.scope == conn.right.scope);
        require(conn.left.scope.empty() || config.setup.ipsec != Ipsec::kernel);
        require(conn.leftid != conn.rightid && !conn.rightid.empty());
        require(conn.lifetime > conn.margintime && conn.ikelifetime >= conn.lifetime);
        require(conn.margintime.count() > 0 && conn.dpdtimeout >= conn.dpddelay);
        require(!conn.ike.empty() && !conn.esp.empty());
        require(conn.startup != Auto::ignore && conn.mtu >= (conn.left.ip.is_v6() ? 1280 : 576));
        for (const Conn& other : config.conns)
            require(&conn == &other ||
                    (conn.right != other.right && conn.rightid != other.rightid));
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::string_view kMark = "\n%file ";
    std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::string first(text.substr(0, text.find(kMark)));
    std::map<std::string, std::string> files;
    for (std::size_t at = text.find(kMark); at != std::string_view::npos; at = text.find(kMark)) {
        text.remove_prefix(at + kMark.size());
        const std::string_view file = text.substr(0, text.find(kMark));
        const std::size_t name = std::min(file.find('\n'), file.size());
        files.emplace(file.substr(0, name), file.substr(std::min(name + 1, file.size())));
    }
    Files environment(std::move(files));
    const Loaded loaded = parse(first, "main", environment);
    check_diagnostics(loaded);
    if (loaded.config)
        check_config(*loaded.config);
    return 0;
}
