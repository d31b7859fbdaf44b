// SPDX-License-Identifier: ISC
#include "keys/backup.hpp"

#include "keys/base64.hpp"
#include "keys/lines.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <utility>

namespace encsync::keys {

namespace {

constexpr std::string_view kTitle = "encsync key backup 1";
constexpr std::string_view kContentTitle = "encsync key store 1";

std::string header(const Backup& backup) {
    return fmt::format("{}\nname: {}\ncreated: {}\n{}", kTitle, backup.of.name,
                       to_text(backup.of.created), write_derivation(backup.derivation));
}

// The place of a file in a backup: its number, or after all of these that of its prefix, and its
// name. None: it does not belong there.
using Place = std::pair<std::size_t, std::string_view>;
std::optional<Place> place_of(std::string_view name) {
    const auto file = std::ranges::find(kBackupFiles, name, &BackupFile::name);
    if (file != kBackupFiles.end())
        return Place(file - kBackupFiles.begin(), name);
    const auto files = std::ranges::find_if(kBackupPrefixes, [&](const BackupPrefix& each) {
        return name.starts_with(each.prefix) && check_name(name.substr(each.prefix.size()));
    });
    if (files == kBackupPrefixes.end())
        return std::nullopt;
    return Place(kBackupFiles.size() + (files - kBackupPrefixes.begin()), name);
}

std::size_t most_at(const Place& place) {
    return place.first < kBackupFiles.size()
               ? kBackupFiles[place.first].most
               : kBackupPrefixes[place.first - kBackupFiles.size()].most;
}

constexpr std::size_t kMaxParts = [] {
    std::size_t most = kBackupFiles.size();
    for (const BackupPrefix& files : kBackupPrefixes)
        most += files.count;
    return most;
}();

std::string part_line(const Part& part) {
    return fmt::format("file: {} {}\n", part.name, part.content.size());
}

} // namespace

SecretBytes pack(const std::vector<Part>& parts) {
    const std::string title = fmt::format("{}\n", kContentTitle);
    std::size_t size = title.size();
    for (const Part& part : parts)
        size += part_line(part).size() + part.content.size();
    SecretBytes packed(size);
    auto at = std::ranges::copy(title, packed.bytes().begin()).out;
    for (const Part& part : parts) {
        at = std::ranges::copy(part_line(part), at).out;
        at = std::ranges::copy(part.content, at).out;
    }
    return packed;
}

Result<std::vector<Part>> unpack(std::string_view content) {
    Lines lines(content);
    if (auto ok = lines.title(kContentTitle); !ok)
        return ok.error();
    std::vector<Part> parts;
    while (!lines.at_end()) {
        auto line = lines.field("file");
        if (!line)
            return line.error();
        const auto words = split<2>(*line);
        if (!words)
            return lines.error("expected a file's name and its size");
        const auto place = place_of((*words)[0]);
        if (!place || (!parts.empty() && !(place_of(parts.back().name) < place)))
            return lines.error("an unknown file, or in the wrong order");
        if (parts.size() == kMaxParts)
            return lines.error("too many files");
        const std::size_t most = most_at(*place);
        std::size_t size = 0;
        const auto [end, error] =
            std::from_chars((*words)[1].data(), (*words)[1].data() + (*words)[1].size(), size);
        if (error != std::errc() || (*words)[1] != std::to_string(size) || size > most)
            return lines.error(fmt::format("not a size up to {}", most));
        auto raw = lines.raw(size);
        if (!raw)
            return raw.error();
        parts.push_back({std::string((*words)[0]), as_bytes(*raw)});
    }
    return parts;
}

Result<Backup> make_backup(const std::string& name, UnixTime created, const SecretBytes& content,
                           const Passphrase& passphrase, KdfCost cost) {
    Backup backup;
    backup.of.name = name;
    backup.of.created = created;
    backup.derivation = Derivation::random(cost);
    auto key = derive(passphrase, backup.derivation);
    if (!key)
        return key.error();
    backup.sealed = encrypt(*key, backup.derivation.nonce, header(backup), content.bytes());
    return backup;
}

Result<SecretBytes> open_backup(const Backup& backup, const Passphrase& passphrase) {
    auto key = derive(passphrase, backup.derivation);
    if (!key)
        return key.error();
    SecretBytes content(backup.sealed.size() - kTag);
    if (!decrypt(*key, backup.derivation.nonce, header(backup), backup.sealed, content.bytes()))
        return Error{"the passphrase is wrong, or somebody has changed this file"};
    return content;
}

std::string write_backup(const Backup& backup) {
    const std::string text = header(backup) + fmt::format("sealed: {}\n", base64(backup.sealed));
    return text + checksum_line(text);
}

Result<Backup> read_backup(std::string_view text) {
    if (text.size() > kMaxBackupText)
        return Error{fmt::format("longer than {} bytes", kMaxBackupText)};
    Lines lines(text);
    Backup backup;
    if (auto ok = lines.title(kTitle); !ok)
        return ok.error();
    if (auto ok = read_name_and_time(lines, backup.of); !ok)
        return ok.error();
    auto derivation = read_derivation(lines);
    if (!derivation)
        return derivation.error();
    backup.derivation = *derivation;
    auto sealed = lines.base64_field("sealed", kMaxBackupContent + kTag);
    if (!sealed)
        return sealed.error();
    if (sealed->size() < kTag)
        return lines.error("too short to be sealed");
    backup.sealed = std::move(*sealed);
    if (auto ok = read_checksum(lines, text); !ok)
        return ok.error();
    return backup;
}

} // namespace encsync::keys
