// SPDX-License-Identifier: ISC
#include "cli/changed_keys.hpp"
#include "cli/fingerprint.hpp"
#include "cli/key_place.hpp"
#include "cli/render.hpp"
#include "cli/verbs.hpp"
#include "config/config.hpp"
#include "control/client.hpp"
#include "control/request.hpp"
#include "export/export.hpp"
#include "keys/files.hpp"
#include "keys/store.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <thread>

namespace encsync::cli {

namespace json = boost::json;

namespace {

std::uint64_t age(keys::UnixTime created) {
    return static_cast<std::uint64_t>(std::max<keys::UnixTime>(0, keys::unix_now() - created));
}

Result<json::object> describe_identities(const keys::Store& store) {
    auto identities = store.identities();
    if (!identities)
        return identities.error();
    auto creatorid = store.creatorid();
    if (!creatorid)
        return creatorid.error();
    const auto sealing = store.sealing();
    if (!sealing)
        return sealing.error();
    json::array list;
    for (const auto& identity : *identities) {
        json::object shown = describe_fingerprint(identity.key);
        shown["created"] = keys::to_text(identity.created);
        shown["age"] = age(identity.created);
        shown["signs"] = &identity == &identities->front();
        list.push_back(std::move(shown));
    }
    return json::object{{"name", identities->front().name},
                        {"keydir", store.directory()},
                        {"creatorid", fmt::format("{:08x}", *creatorid)},
                        {"secrets", to_string(*sealing)},
                        {"identities", std::move(list)}};
}

Result<json::array> describe_trusted(const keys::Store& store) {
    auto trusted = store.trusted();
    if (!trusted)
        return trusted.error();
    json::array list;
    for (const auto& key : *trusted) {
        json::object shown = describe_fingerprint(key.key);
        shown["name"] = key.name;
        shown["created"] = keys::to_text(key.created);
        shown["since"] = keys::to_text(key.since);
        shown["age"] = age(key.created);
        list.push_back(std::move(shown));
    }
    return list;
}

Result<json::array> describe_revoked(const keys::Store& store) {
    auto revoked = store.revoked();
    if (!revoked)
        return revoked.error();
    json::array list;
    for (const auto& r : *revoked)
        list.push_back({{"name", r.name},
                        {"fingerprint", keys::fingerprint(r.key)},
                        {"when", keys::to_text(r.when)},
                        {"by", r.by}});
    return list;
}

Result<json::array> describe_ppks(const keys::Store& store) {
    auto rings = store.ppks();
    if (!rings)
        return rings.error();
    json::array list;
    for (const keys::PpkRing& ring : *rings)
        for (const keys::Ppk& ppk : ring.keys)
            list.push_back({{"name", ring.peer},
                            {"id", keys::to_text(keys::id_of(ppk))},
                            {"epoch", ppk.epoch},
                            {"created", keys::to_text(ppk.created)},
                            {"age", age(ppk.created)},
                            {"origin", keys::to_string(ppk.origin)},
                            {"offered", &ppk == ring.offered()}});
    return list;
}

Result<json::array> describe_psks(const keys::Store& store) {
    auto psks = store.psks();
    if (!psks)
        return psks.error();
    json::array list;
    for (const keys::PskPair& of : *psks)
        for (const keys::Psk& psk : of.keys)
            list.push_back({{"name", of.peer},
                            {"created", keys::to_text(psk.created)},
                            {"age", age(psk.created)},
                            {"next", &psk != &of.keys.front()}});
    return list;
}

Result<json::array> describe_certificates(const keys::Store& store) {
    auto all = store.certificates();
    if (!all)
        return all.error();
    json::array list;
    for (const keys::PeerCertificates& of : *all)
        for (const keys::CertificateUse use : keys::kCertificateUses)
            for (const keys::HeldCertificate& one : of.of(use)) {
                const auto validity = keys::read_validity(one.der);
                list.push_back({{"name", of.peer},
                                {"use", use == keys::CertificateUse::own ? "own" : "authority"},
                                {"fingerprint", keys::certificate_fingerprint(one.der)},
                                {"created", keys::to_text(one.created)},
                                {"age", age(one.created)},
                                {"until", validity ? keys::to_text(validity->until) : ""},
                                {"next", &one != &of.of(use).front()}});
            }
    return list;
}

json::object describe_log(const keys::KeyLog& log) {
    json::array entries;
    for (const auto& entry : log.entries)
        entries.push_back({{"time", keys::to_text(entry.time)},
                           {"event", keys::to_string(entry.event)},
                           {"name", entry.name},
                           {"fingerprint", entry.fingerprint},
                           {"hash", entry.hash}});
    return {{"entries", std::move(entries)}, {"last", keys::last_hash(log)}};
}

// The peers as reported by encsyncd; none if it does not run.
Result<std::optional<json::array>> ask_peers(const Options& options) {
    auto client = control::Client::connect_if_running(options.run_dir);
    if (!client)
        return client.error();
    if (!*client)
        return std::optional<json::array>();
    auto peers = (*client)->call({{"command", "peers"}});
    if (!peers)
        return peers.error();
    auto* list = peers->if_array();
    if (list == nullptr)
        return Error{"encsyncd has answered with something else than peers"};
    return std::optional(std::move(*list));
}

// The peers that have not shown that they trust the newer identity, but for those that are done
// without.
Result<std::vector<std::string>> who_lacks(const Options& options, const keys::Identity& newer,
                                           const std::vector<std::string>& without) {
    auto peers = ask_peers(options);
    if (!peers)
        return peers.error();
    if (!*peers)
        return Error{"encsyncd does not run, so it is not known whether the peers trust the new "
                     "key"};
    const json::value print(keys::fingerprint(newer.key));
    std::vector<std::string> lacking, names;
    for (const json::value& peer : **peers) {
        names.emplace_back(control::text(peer, "name"));
        const auto* fields = peer.if_object();
        const auto* accepts = fields ? fields->if_contains("accepts") : nullptr;
        const auto* prints = accepts != nullptr ? accepts->if_array() : nullptr;
        const bool told = prints != nullptr && std::ranges::find(*prints, print) != prints->end();
        if (!told && std::ranges::find(without, names.back()) == without.end())
            lacking.push_back(names.back());
    }
    for (const std::string& name : without)
        if (std::ranges::find(names, name) == names.end())
            return Error{fmt::format("no peer '{}'", name)};
    return lacking;
}

std::string have_not_shown(const std::vector<std::string>& lacking) {
    return fmt::format("{} {} not shown that the new key is trusted there",
                       fmt::join(lacking, ", "), lacking.size() == 1 ? "has" : "have");
}

// Without the older identity every peer must accept the newer one.
Result<void> may_retire(const Options& options, const keys::Identity& newer,
                        const std::vector<std::string>& without) {
    const auto lacking = who_lacks(options, newer, without);
    if (!lacking)
        return lacking.error();
    if (lacking->empty())
        return {};
    return Error{have_not_shown(*lacking) +
                 ": take it to the peer (encsync keys export) and run encsync keys trust"};
}

// No peer may be connected with its older key, because that would cut it off.
Result<void> may_retire(const Options& options, const keys::TrustedKey& older) {
    auto peers = ask_peers(options);
    if (!peers)
        return peers.error();
    const std::string print = keys::fingerprint(older.key);
    if (*peers)
        for (const json::value& peer : **peers)
            if (control::text(peer, "state") == "up" && control::text(peer, "key") == print)
                return Error{fmt::format("{} is connected with the older key, {}: run encsync keys "
                                         "retire there first",
                                         control::text(peer, "name"), print)};
    return {};
}

// The whole file, or as much of it as shows that it is too long.
Result<std::string> read_public_text(const std::string& path) {
    const bool standard_input = path == "-";
    Fd opened;
    if (!standard_input) {
        opened.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!opened)
            return Error{fmt::format("{}: {}", path, std::strerror(errno))};
    }
    const int fd = standard_input ? STDIN_FILENO : opened.get();
    std::string text(keys::kMaxPublicText + 1, '\0');
    std::size_t size = 0;
    while (size < text.size()) {
        const ssize_t got = ::read(fd, text.data() + size, text.size() - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return Error{fmt::format("{}: {}", path, std::strerror(errno))};
        if (got == 0)
            break;
        size += static_cast<std::size_t>(got);
    }
    text.resize(size);
    return text;
}

// The key of a peer that is not encsync has neither a name nor a date, nor successions.
Result<keys::PublicFile> read_foreign(std::string_view text, const std::string& name) {
    if (auto good = keys::check_name(name); !good)
        return good.error();
    auto key = keys::from_pem(text);
    if (!key)
        return key.error();
    return keys::PublicFile{{keys::PublicKey{name, keys::unix_now(), *key}}, {}};
}

// What to do at each peer that is not told of the next key inside the tunnel. Without a
// configuration there are none.
Result<std::vector<std::string>> steps_elsewhere(const Options& options, const keys::Store& store) {
    const auto identities = store.identities();
    if (!identities)
        return identities.error();
    const std::string pem = keys::to_pem(identities->back().key);
    std::vector<std::string> all;
    if (const auto loaded = config::load(options.config); loaded.config)
        for (const config::Conn& conn : loaded.config->conns)
            if (auto steps = exporter::steps_for_next_key(loaded.config->setup, conn, pem);
                !steps.empty())
                all.push_back(std::move(steps));
    return all;
}

} // namespace

int keys_init(const Options& options, const std::string& name) {
    auto place = find_place(options, name.empty());
    if (!place)
        return fail(place.error().text);
    auto store = keys::Store::create(place->keydir, unlock_for(options, *place));
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->init(name.empty() ? place->node : name); !ok)
        return fail(ok.error().text);
    return keys_show(options, false);
}

int keys_show(const Options& options, bool words) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto shown = describe_identities(*store);
    if (!shown)
        return fail(shown.error().text);
    if (options.json)
        return print_json(*shown);
    std::fputs(render_identities(*shown).c_str(), stdout);
    if (words)
        fmt::print("\n{}", render_words(shown->at("identities")));
    return 0;
}

int keys_export(const Options& options, bool pem) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto identities = store->identities();
    if (!identities)
        return fail(identities.error().text);
    auto text = pem ? keys::to_pem(identities->front().key) : store->export_public();
    if (!text)
        return fail(text.error().text);
    if (options.json) {
        json::array prints;
        for (const auto& identity : *identities)
            prints.emplace_back(keys::fingerprint(identity.key));
        return print_json({{"public", *text}, {"fingerprints", std::move(prints)}});
    }
    std::fputs(text->c_str(), stdout);
    // What `keys trust` prints on the other side, for comparison; not part of the file.
    if (!pem)
        for (const auto& identity : *identities)
            fmt::print(stderr, "{}  {}\n", identity.name, keys::fingerprint(identity.key));
    return 0;
}

int keys_trust(const Options& options, const std::string& file, const std::string& name,
               bool new_identity) {
    auto text = read_public_text(file);
    if (!text)
        return fail(text.error().text);
    auto content = name.empty() ? keys::read_public_file(*text) : read_foreign(*text, name);
    if (!content)
        return fail(fmt::format("{}: {}", file, content.error().text));
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto fresh = new_identity ? store->trust(content->keys) : store->trust(*content);
    if (!fresh)
        return fail(fmt::format("{}: {}", file, fresh.error().text));
    return report_trusted(options, content->keys, *fresh);
}

int keys_list(const Options& options, bool words) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto list = describe_trusted(*store);
    if (!list)
        return fail(list.error().text);
    if (options.json)
        return print_json(*list);
    std::fputs(render_trusted(*list).c_str(), stdout);
    if (words && !list->empty())
        fmt::print("\n{}", render_words(*list));
    return 0;
}

int keys_rotate_identity(const Options& options) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->rotate_identity(); !ok)
        return fail(ok.error().text);
    auto shown = describe_identities(*store);
    if (!shown)
        return fail(shown.error().text);
    const auto steps = steps_elsewhere(options, *store);
    if (!steps)
        return fail(steps.error().text);
    (*shown)["steps"] = json::value_from(*steps);
    if (!options.json) {
        std::fputs(render_identities(*shown).c_str(), stdout);
        fmt::print("encsyncd tells the peers, and retires the older key when all accept the newer: "
                   "see 'encsync keys status'.\nNodes with keysync=no need it by hand: 'encsync "
                   "keys export', and there 'encsync keys trust'.\n");
        for (const std::string& each : *steps)
            fmt::print("\n{}", each);
    }
    return reload_daemon(options, std::move(*shown));
}

int keys_rotate_without(const Options& options, const std::vector<std::string>& without,
                        std::chrono::seconds patience) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto identities = store->identities();
    if (!identities)
        return fail(identities.error().text);
    // Before anything is changed.
    if (const auto known = who_lacks(options, identities->back(), without); !known)
        return fail(known.error().text);
    if (identities->size() == 1) {
        if (auto ok = store->rotate_identity(); !ok)
            return fail(ok.error().text);
        if (const auto told = reload_daemon(options); !told)
            return fail(told.error().text);
        if (identities = store->identities(); !identities)
            return fail(identities.error().text);
    }
    const auto steps = steps_elsewhere(options, *store);
    if (!steps)
        return fail(steps.error().text);
    if (!options.json)
        for (const std::string& each : *steps)
            fmt::print("{}\n", each);
    for (const auto end = std::chrono::steady_clock::now() + patience;;) {
        const auto lacking = who_lacks(options, identities->back(), without);
        if (!lacking)
            return fail(lacking.error().text);
        if (lacking->empty())
            break;
        if (std::chrono::steady_clock::now() >= end)
            return fail(fmt::format("{}; both keys stay until it is: the same command goes on",
                                    have_not_shown(*lacking)));
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    return keys_retire(options, "", without, false);
}

int keys_retire(const Options& options, const std::string& peer,
                const std::vector<std::string>& without, bool force) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (!peer.empty()) {
        auto trusted = store->trusted();
        if (!trusted)
            return fail(trusted.error().text);
        const auto older = std::ranges::find(*trusted, peer, &keys::TrustedKey::name);
        if (older != trusted->end() && !force)
            if (auto ok = may_retire(options, *older); !ok)
                return fail(ok.error().text + "; --force cuts it off");
        if (auto ok = store->retire_peer(peer); !ok)
            return fail(ok.error().text);
        auto list = describe_trusted(*store);
        if (!list)
            return fail(list.error().text);
        if (!options.json)
            std::fputs(render_trusted(*list).c_str(), stdout);
        return reload_daemon(options, {{"trusted", std::move(*list)}});
    }
    auto identities = store->identities();
    if (!identities)
        return fail(identities.error().text);
    if (identities->size() == 2 && !force)
        if (auto ok = may_retire(options, identities->back(), without); !ok)
            return fail(ok.error().text + "; --force retires the old key all the same");
    if (auto ok = store->retire(); !ok)
        return fail(ok.error().text);
    auto shown = describe_identities(*store);
    if (!shown)
        return fail(shown.error().text);
    if (!options.json)
        std::fputs(render_identities(*shown).c_str(), stdout);
    return reload_daemon(options, std::move(*shown));
}

int keys_revoke(const Options& options, const std::string& name) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto revoked = store->revoke(name);
    if (!revoked)
        return fail(revoked.error().text);
    if (!options.json)
        fmt::print("{} {} of {} revoked; all that {} has brought stays until 'encsync flush'\n",
                   *revoked, *revoked == 1 ? "key" : "keys", name, name);
    return reload_daemon(options, {{"name", name}, {"revoked", *revoked}});
}

int keys_status(const Options& options) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto own = describe_identities(*store);
    auto trusted = describe_trusted(*store);
    auto revoked = describe_revoked(*store);
    auto ppks = describe_ppks(*store);
    auto psks = describe_psks(*store);
    auto certificates = describe_certificates(*store);
    auto peers = ask_peers(options);
    if (!own || !trusted || !revoked || !ppks || !psks || !certificates)
        return fail(!own       ? own.error().text
                    : !trusted ? trusted.error().text
                    : !revoked ? revoked.error().text
                    : !ppks    ? ppks.error().text
                    : !psks    ? psks.error().text
                               : certificates.error().text);
    if (!peers)
        return fail(peers.error().text);
    json::object status{
        {"own", std::move(*own)},         {"trusted", std::move(*trusted)},
        {"revoked", std::move(*revoked)}, {"ppks", std::move(*ppks)},
        {"psks", std::move(*psks)},       {"certificates", std::move(*certificates)},
        {"running", peers->has_value()}};
    json::array shown;
    if (*peers)
        for (const json::value& peer : **peers) {
            shown.push_back({{"name", control::text(peer, "name")},
                             {"state", control::text(peer, "state")},
                             {"key", control::text(peer, "key")},
                             {"accepts", peer.at("accepts")}});
            if (const auto* ppk = peer.as_object().if_contains("ppk"))
                shown.back().as_object()["ppk"] = *ppk;
        }
    status["peers"] = std::move(shown);
    if (options.json)
        return print_json(status);
    std::fputs(render_key_status(status).c_str(), stdout);
    return 0;
}

int keys_log(const Options& options, bool verify, const std::string& noted) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto lock = store->lock();
    if (!lock)
        return fail(lock.error().text);
    const auto log = store->log();
    if (!log)
        return fail(log.error().text);
    auto differences = store->differences(*log);
    if (!differences)
        return fail(differences.error().text);
    lock->reset(); // a pager that is given the log may stay for hours
    if (!noted.empty() &&
        std::ranges::find(log->entries, noted, &keys::LogEntry::hash) == log->entries.end())
        differences->push_back(fmt::format("no event has the hash {}: the log was cut, or written "
                                           "anew",
                                           noted));
    json::object shown = describe_log(*log);
    if (options.json) {
        shown["differences"] = json::value_from(*differences);
        print_json(shown);
        return differences->empty() ? 0 : 1;
    }
    if (!verify)
        std::fputs(render_key_log(shown).c_str(), stdout);
    if (!differences->empty())
        return fail(fmt::format("{}: {}", store->directory(), fmt::join(*differences, "; ")));
    if (log->entries.empty())
        fmt::print("no log yet; it begins with the next change\n");
    else
        fmt::print("{} events, the last one's hash is {}; the keys that are there are those of the "
                   "log\n",
                   log->entries.size(), keys::last_hash(*log));
    return 0;
}

int keys_forget(const Options& options, const std::string& name) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    auto gone = store->forget(name);
    if (!gone)
        return fail(gone.error().text);
    if (!options.json)
        fmt::print("{}: {} key{} no longer trusted; the states it has brought stay, encsync flush "
                   "removes them\n",
                   name, *gone, *gone == 1 ? " is" : "s are");
    return reload_daemon(options, {{"name", name}, {"forgotten", *gone}});
}

} // namespace encsync::cli
