// SPDX-License-Identifier: ISC
#include "cli/changed_keys.hpp"
#include "cli/key_place.hpp"
#include "cli/verbs.hpp"
#include "keys/files.hpp"
#include "keys/lines.hpp"
#include "keys/store.hpp"

#include <fmt/format.h>

namespace encsync::cli {

namespace {

// The id of the last one with a peer.
std::string last_id(const keys::Store& store, const std::string& peer) {
    const auto ring = store.ppks(peer);
    return ring && !ring->keys.empty() ? keys::to_text(keys::id_of(ring->keys.back())) : "";
}

std::string why_not_used(const config::Conn* conn) {
    if (conn == nullptr || conn->ppk != config::PpkUse::no)
        return {};
    return fmt::format("conn {} has ppk=no, so it is not used", conn->name);
}

int report(const Options& options, const keys::Store& store, const std::string& peer,
           const std::string& text) {
    const std::string id = last_id(store, peer);
    return report_credential(options, peer, fmt::format("{} with {}: {}\n", id, peer, text),
                             why_not_used, {{"ppk", id}});
}

} // namespace

int keys_ppk_make(const Options& options, const std::string& peer, const std::string& file) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto text = store->make_carried(peer);
    if (!text)
        return fail(text.error().text);
    if (auto written = keys::write_new(file, text->bytes()); !written) {
        // Nobody will ever have it.
        const auto ring = store->ppks(peer);
        if (ring && ring->keys.size() > 1)
            static_cast<void>(store->drop_unoffered_ppk(peer));
        else
            static_cast<void>(store->forget_ppk(peer));
        return fail(written.error().text);
    }
    return report(options, *store, peer,
                  fmt::format("carry {} to {}, run 'encsync keys ppk import' on it there, and "
                              "destroy it",
                              file, peer));
}

int keys_ppk_import(const Options& options, const std::string& file) {
    const auto text = keys::read_carried_text(file);
    if (!text)
        return fail(text.error().text);
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    const auto peer = store->take_carried(keys::as_text(*text));
    if (!peer)
        return fail(fmt::format("{}: {}", file, peer.error().text));
    return report(options, *store, *peer, "stored; destroy the file");
}

int keys_ppk_forget(const Options& options, const std::string& peer) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto gone = store->forget_ppk(peer);
    if (!gone)
        return fail(gone.error().text);
    if (!options.json)
        fmt::print("{} preshared key{} with {} erased; do so there, too\n", *gone,
                   *gone == 1 ? "" : "s", peer);
    return reload_daemon(options, {{"peer", peer}, {"erased", *gone}});
}

} // namespace encsync::cli
