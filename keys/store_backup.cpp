// SPDX-License-Identifier: ISC
// A store into a backup, and out of one. A restored store is made beside its place, in a directory
// `.NAME.restore`, checked there and renamed: so there is all of it or nothing. What a crash has
// left of such a directory, the next restore removes.
#include "keys/backup.hpp"
#include "keys/lines.hpp"
#include "keys/store.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>

namespace encsync::keys {

namespace {

namespace fs = std::filesystem;

bool is_secret(std::string_view name) {
    return std::ranges::find(kSecretFiles, name) != kSecretFiles.end() ||
           name.starts_with(kPskPrefix);
}

// There may be an empty directory: a package may have made it.
Result<void> check_free(const fs::path& place) {
    std::error_code error;
    const auto status = fs::symlink_status(place, error);
    if (status.type() == fs::file_type::not_found)
        return {};
    if (!error && status.type() == fs::file_type::directory && fs::is_empty(place, error))
        return {};
    if (error)
        return Error{fmt::format("{}: {}", place.string(), error.message())};
    return Error{fmt::format("{}: there is something here already, and a backup is restored only "
                             "where there is no key store; move it away first",
                             place.string())};
}

Result<void> put_in_place(const std::string& made, const fs::path& place) {
    if (::rename(made.c_str(), place.c_str()) != 0)
        return Error{
            fmt::format("{}: cannot put it in place: {}", place.string(), std::strerror(errno))};
    const Fd parent(::open(place.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!parent || ::fsync(parent.get()) != 0)
        return Error{fmt::format("{}: cannot be synced: {}", place.parent_path().string(),
                                 std::strerror(errno))};
    return {};
}

} // namespace

Result<Backup> Store::backup(const Passphrase& passphrase, KdfCost cost, UnixTime now) const {
    auto lock = directory_.lock(); // so that the files fit together
    if (!lock)
        return lock.error();
    auto own = own_keys();
    if (!own)
        return own.error();
    std::vector<BackupFile> files(kBackupFiles.begin(), kBackupFiles.end());
    std::deque<std::string> of_peers; // whose elements stay where they are
    for (const BackupPrefix& each : kBackupPrefixes) {
        auto names = directory_.names(each.prefix);
        if (!names)
            return names.error();
        for (std::string& name : *names)
            files.push_back({of_peers.emplace_back(std::move(name)).c_str(), each.most});
    }
    std::vector<SecretText> secrets;
    secrets.reserve(files.size());
    std::vector<std::string> texts;
    texts.reserve(files.size());
    std::vector<Part> parts;
    for (const BackupFile& file : files) {
        if (is_secret(file.name)) {
            auto text = secrets_.read(directory_, file.name);
            if (!text)
                return text.error();
            if (*text)
                parts.push_back({file.name, secrets.emplace_back(std::move(**text)).bytes()});
            continue;
        }
        auto text = directory_.read_text(file.name, file.most);
        if (!text)
            return text.error();
        if (*text)
            parts.push_back({file.name, as_bytes(texts.emplace_back(std::move(**text)))});
    }
    return make_backup(own->front().name, now, pack(parts), passphrase, cost);
}

Result<void> Store::fill(const std::vector<Part>& parts, const Passphrase* seal, KdfCost cost,
                         UnixTime now) const {
    if (seal != nullptr)
        if (auto ok = secrets_.seal(directory_, *seal, cost); !ok)
            return ok;
    for (const Part& part : parts) {
        Result<void> ok;
        if (is_secret(part.name)) {
            SecretText text;
            text.append(as_text(part.content));
            ok = secrets_.write(directory_, part.name.c_str(), text);
        } else {
            ok = directory_.write(part.name.c_str(), part.content);
        }
        if (!ok)
            return ok;
    }
    // All of it must be good, or it is not put in place.
    auto own = identities();
    if (!own)
        return own.error();
    if (auto secret = node_secret(); !secret)
        return secret.error();
    if (auto others = trusted(); !others) // and those that were revoked
        return others.error();
    if (auto before = successions(); !before)
        return before.error();
    if (auto preshared = psks(); !preshared)
        return preshared.error();
    if (auto held = certificates(); !held)
        return held.error();
    return log_and(now, KeyEvent::restore, {own->begin(), own->end()},
                   [] { return Result<void>(); });
}

Result<Store> Store::restore(const std::string& directory, const Backup& backup,
                             const Passphrase& passphrase, const Passphrase* seal, KdfCost cost,
                             UnixTime now) {
    if (sodium_init() < 0)
        return Error{"libsodium does not start"};
    fs::path place = fs::absolute(directory).lexically_normal();
    if (!place.has_filename()) // it ended in a slash
        place = place.parent_path();
    if (auto ok = check_free(place); !ok)
        return ok.error();
    auto content = open_backup(backup, passphrase);
    if (!content)
        return content.error();
    auto parts = unpack(as_text(content->bytes()));
    if (!parts)
        return parts.error();
    const std::string beside =
        place.parent_path() / fmt::format(".{}.restore", place.filename().string());
    auto made = Directory::create(beside);
    if (!made)
        return made.error();
    auto lock = made->lock();
    if (!lock)
        return lock.error();
    // Another restore may have put it in its place while we waited.
    if (!made->is_at(beside))
        return Error{fmt::format("{}: another restore was faster", place.string())};
    if (auto ok = made->clear(); !ok)
        return ok.error();
    Store store(std::move(*made),
                std::make_shared<Unlock>([] { return Result(std::optional<Passphrase>()); }));
    auto done = store.fill(*parts, seal, cost, now);
    if (done)
        done = put_in_place(beside, place);
    if (!done) {
        if (store.directory_.is_at(beside) && store.directory_.clear())
            ::rmdir(beside.c_str());
        return done.error();
    }
    store.directory_.moved_to(place);
    return store;
}

} // namespace encsync::keys
