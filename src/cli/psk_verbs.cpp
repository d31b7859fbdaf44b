// SPDX-License-Identifier: ISC
#include "cli/changed_keys.hpp"
#include "cli/key_place.hpp"
#include "cli/verbs.hpp"
#include "export/export.hpp"
#include "keys/files.hpp"
#include "keys/store.hpp"

#include <fmt/format.h>
#include <unistd.h>

namespace encsync::cli {

namespace {

std::string why_not_used(const std::string& peer, const config::Conn* conn) {
    if (conn == nullptr)
        return no_conn_of(peer);
    if (conn->in_store(ike::CredentialKind::psk))
        return {};
    return fmt::format("conn {} has {}, so it is not used", conn->name,
                       conn->authby == config::Authby::psk ? "a secretfile" : "not authby=psk");
}

int report(const Options& options, const std::string& peer, const std::string& text) {
    return report_credential(options, peer, text,
                             [&](const config::Conn* conn) { return why_not_used(peer, conn); },
                             {});
}

// Of how many there are now.
std::string what_follows(const std::string& peer, std::size_t count) {
    if (count == 1)
        return {};
    return fmt::format(
        "The one before goes on working until encsyncd sees {0} accept this one, which "
        "it tries each minute beside the tunnel: see 'encsync keys status'.\n",
        peer);
}

} // namespace

int keys_psk_import(const Options& options, const std::string& peer, const std::string& file,
                    bool replace) {
    const auto key = file == "-" ? keys::read_preshared_input() : keys::read_preshared(file);
    if (!key)
        return fail(key.error().text);
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    const auto count = store->put_psk(peer, *key, replace);
    if (!count)
        return fail(count.error().text);
    return report(options, peer,
                  fmt::format("preshared key with {}: stored; destroy what it was carried in\n{}",
                              peer, what_follows(peer, *count)));
}

int keys_psk_make(const Options& options, const std::string& peer, const std::string& file,
                  bool replace) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    const auto own = store->own_keys();
    if (!own)
        return fail(own.error().text);
    const auto key = keys::make_preshared();
    WipedBytes line(key.bytes().begin(), key.bytes().end());
    line.push_back('\n');
    // The file first: a key in the store that nobody else can get would cut the peer off.
    if (auto written = keys::write_new(file, line); !written)
        return fail(written.error().text);
    const auto count = store->put_psk(peer, key.bytes(), replace);
    if (!count) {
        ::unlink(file.c_str());
        return fail(count.error().text);
    }
    const std::string& node = own->front().name;
    return report(
        options, peer,
        fmt::format("preshared key with {0}: stored, and {0} needs what is in {1}.\n"
                    "If it is an encsync node, run there 'encsync keys psk import {2} "
                    "{1}'. If it is a strongSwan{4}:\n"
                    "# ---- /etc/swanctl/swanctl.conf\n"
                    "{3}"
                    "Then destroy the file.\n"
                    "{5}",
                    peer, file, node,
                    exporter::strongswan_secret(*count == 1 ? node : node + "-next", file),
                    *count == 1 ? "" : ", beside the secret that is there",
                    what_follows(peer, *count)));
}

int keys_psk_retire(const Options& options, const std::string& peer) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->retire_psk(peer); !ok)
        return fail(ok.error().text);
    if (!options.json)
        fmt::print("preshared key with {}: the older one is gone; do the same there\n", peer);
    return reload_daemon(options, {{"peer", peer}});
}

int keys_psk_forget(const Options& options, const std::string& peer) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->forget_psk(peer); !ok)
        return fail(ok.error().text);
    if (!options.json)
        fmt::print("preshared key with {}: erased; do the same there\n", peer);
    return reload_daemon(options, {{"peer", peer}});
}

} // namespace encsync::cli
