// SPDX-License-Identifier: ISC
#include "cli/key_place.hpp"

#include "cli/passphrase.hpp"
#include "config/disk.hpp"

#include <fmt/format.h>
#include <unistd.h>

namespace encsync::cli {

Result<Place> find_place(const Options& options, bool need_node) {
    Place place{options.keydir, {}, {}};
    if (!place.keydir.empty() && !need_node)
        return place;
    if (!options.config_given && ::access(options.config.c_str(), F_OK) != 0) {
        if (place.keydir.empty())
            place.keydir = config::default_setup().keydir;
        place.node = config::Disk().host_name();
        return place;
    }
    const config::Loaded loaded = config::load(options.config);
    if (!loaded.config)
        return Error{fmt::format("{}: has errors; 'encsync check' lists them, and with --keydir "
                                 "{}it is not needed",
                                 options.config, need_node ? "and --name " : "")};
    const config::Setup& setup = loaded.config->setup;
    // Of the configured directory: another one has its own.
    if (place.keydir.empty() || place.keydir == setup.keydir)
        place.keypassphrase = setup.keypassphrase;
    if (place.keydir.empty())
        place.keydir = setup.keydir;
    place.node = setup.node;
    return place;
}

Result<std::optional<keys::Passphrase>> given_passphrase(const Options& options,
                                                         const Place& place) {
    no_core_dumps();
    return keys::unattended_passphrase(options.passphrase_file.empty() ? place.keypassphrase
                                                                       : options.passphrase_file);
}

std::shared_ptr<keys::Unlock> unlock_for(const Options& options, const Place& place) {
    return std::make_shared<keys::Unlock>([options, place] {
        auto given = given_passphrase(options, place);
        if (!given || *given)
            return given;
        return ask_passphrase(fmt::format("Passphrase of {}: ", place.keydir));
    });
}

Result<keys::Store> open_or_make_store(const Options& options, const config::Setup& setup,
                                       std::FILE* out) {
    const Place place{setup.keydir, setup.node, setup.keypassphrase};
    auto store = keys::Store::create(setup.keydir, unlock_for(options, place));
    if (!store)
        return store.error();
    auto identities = store->identities();
    if (!identities) {
        if (!store->init(setup.node))
            return identities.error();
        identities = store->identities();
        if (!identities)
            return identities.error();
        fmt::print(out, "{} has an identity now: {}\n", setup.node,
                   keys::fingerprint(identities->front().key));
    }
    if (identities->front().name != setup.node)
        return Error{fmt::format("the identity in {} is that of '{}', but this node is '{}'",
                                 store->directory(), identities->front().name, setup.node)};
    return store;
}

Result<keys::Store> open_store(const Options& options) {
    auto place = find_place(options, false);
    if (!place)
        return place.error();
    return keys::Store::open(place->keydir, unlock_for(options, *place));
}

} // namespace encsync::cli
