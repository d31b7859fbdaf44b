// SPDX-License-Identifier: ISC
#include "cli/key_place.hpp"
#include "cli/passphrase.hpp"
#include "cli/verbs.hpp"
#include "keys/files.hpp"
#include "keys/lines.hpp"

#include <fmt/format.h>

namespace encsync::cli {

namespace {

// The passphrase of a store that is about to be sealed: where encsyncd will find it, if anywhere.
Result<keys::Passphrase> first_passphrase(const Options& options, const Place& place) {
    auto given = given_passphrase(options, place);
    if (!given)
        return given.error();
    if (!*given)
        return new_passphrase({}, place.keydir, "--passphrase-file");
    if (auto ok = keys::check_new(**given); !ok)
        return ok.error();
    return std::move(**given);
}

// Of a store whose sealing was interrupted: the one that it was begun with, asked for once.
Result<keys::Passphrase> former_passphrase(const Options& options, const Place& place) {
    auto given = given_passphrase(options, place);
    if (given && !*given)
        given = ask_passphrase(fmt::format("Passphrase of {}: ", place.keydir));
    if (!given)
        return given.error();
    if (!*given)
        return Error{"standard input is no terminal: --passphrase-file names a file with the "
                     "passphrase"};
    return std::move(**given);
}

int report(const Options& options, const keys::Store& store, const std::string& text) {
    const auto sealing = store.sealing();
    if (!sealing)
        return fail(sealing.error().text);
    if (options.json)
        return print_json({{"keydir", store.directory()}, {"secrets", keys::to_string(*sealing)}});
    fmt::print("{}: {}\n", store.directory(), text);
    return 0;
}

} // namespace

int keys_seal(const Options& options, bool change, const std::string& new_passphrase_file) {
    auto place = find_place(options, false);
    if (!place)
        return fail(place.error().text);
    auto store = keys::Store::open(place->keydir, unlock_for(options, *place));
    if (!store)
        return fail(store.error().text);
    const auto sealing = store->sealing();
    if (!sealing)
        return fail(sealing.error().text);
    if (change) {
        if (*sealing == keys::Sealing::plain)
            return fail("the store is not sealed; 'encsync keys seal' seals it");
        if (auto opened = store->identities(); !opened) // before the new one is asked for
            return fail(opened.error().text);
        const auto fresh =
            new_passphrase(new_passphrase_file, place->keydir, "--new-passphrase-file");
        if (!fresh)
            return fail(fresh.error().text);
        if (auto ok = store->change_passphrase(*fresh); !ok)
            return fail(ok.error().text);
        return report(options, *store, "has a new passphrase");
    }
    if (*sealing == keys::Sealing::sealed)
        return fail(
            fmt::format("{}: is sealed already; --change changes the passphrase", place->keydir));
    const auto passphrase = *sealing == keys::Sealing::plain ? first_passphrase(options, *place)
                                                             : former_passphrase(options, *place);
    if (!passphrase)
        return fail(passphrase.error().text);
    if (auto ok = store->seal(*passphrase); !ok)
        return fail(ok.error().text);
    return report(options, *store,
                  fmt::format("sealed. To start, encsyncd needs the passphrase, too: {}",
                              place->keypassphrase.empty()
                                  ? fmt::format("keypassphrase= or the systemd credential {}",
                                                keys::kPassphraseCredential)
                                  : "it reads " + place->keypassphrase));
}

int keys_unseal(const Options& options) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto ok = store->unseal(); !ok)
        return fail(ok.error().text);
    return report(options, *store, "its secrets are plain files again");
}

int keys_backup(const Options& options, const std::string& file,
                const std::string& backup_passphrase_file) {
    auto store = open_store(options);
    if (!store)
        return fail(store.error().text);
    if (auto opened = store->identities(); !opened) // before a passphrase is asked for
        return fail(opened.error().text);
    const auto passphrase =
        new_passphrase(backup_passphrase_file, file, "--backup-passphrase-file");
    if (!passphrase)
        return fail(passphrase.error().text);
    const auto backup = store->backup(*passphrase);
    if (!backup)
        return fail(backup.error().text);
    const std::string text = keys::write_backup(*backup);
    if (auto ok = keys::write_new(file, keys::as_bytes(text)); !ok)
        return fail(ok.error().text);
    if (options.json)
        return print_json({{"file", file}, {"name", backup->of.name}});
    fmt::print("{}: all keys of {}; whoever has it and its passphrase can be {}\n", file,
               backup->of.name, backup->of.name);
    return 0;
}

int keys_restore(const Options& options, const std::string& file,
                 const std::string& backup_passphrase_file, bool seal) {
    auto place = find_place(options, false);
    if (!place)
        return fail(place.error().text);
    const auto text = keys::read_backup_text(file);
    if (!text)
        return fail(text.error().text);
    const auto backup = keys::read_backup(*text);
    if (!backup)
        return fail(fmt::format("{}: {}", file, backup.error().text));
    no_core_dumps();
    auto passphrase =
        backup_passphrase_file.empty()
            ? ask_passphrase(fmt::format("Passphrase of {}, a backup of {} of {}: ", file,
                                         backup->of.name, keys::to_text(backup->of.created)))
            : [&]() -> Result<std::optional<keys::Passphrase>> {
        auto read = keys::read_passphrase(backup_passphrase_file);
        if (!read)
            return read.error();
        return std::optional(std::move(*read));
    }();
    if (!passphrase)
        return fail(passphrase.error().text);
    if (!*passphrase)
        return fail("standard input is no terminal: --backup-passphrase-file names a file with "
                    "the passphrase");
    std::optional<keys::Passphrase> seal_with;
    if (seal) {
        auto fresh = first_passphrase(options, *place);
        if (!fresh)
            return fail(fresh.error().text);
        seal_with = std::move(*fresh);
    }
    const auto store = keys::Store::restore(place->keydir, *backup, **passphrase,
                                            seal_with ? &*seal_with : nullptr);
    if (!store)
        return fail(fmt::format("{}: {}", file, store.error().text));
    const auto log = store->log();
    if (!log)
        return fail(log.error().text);
    const auto differences = store->differences(*log);
    if (!differences)
        return fail(differences.error().text);
    for (const std::string& difference : *differences)
        fmt::print(stderr, "{}: {}\n", store->directory(), difference);
    return report(options, *store,
                  fmt::format("the keys of {}, as they were at {}; 'encsync keys log' shows what "
                              "is in them",
                              backup->of.name, keys::to_text(backup->of.created)));
}

} // namespace encsync::cli
