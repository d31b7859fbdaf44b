// SPDX-License-Identifier: ISC
// A backup of a key store: one text with all of its files, encrypted with a passphrase.
//
//     encsync key backup 1
//     name: mickey                                   (whose store it is)
//     created: 2026-01-31T12:00:00Z                  (when the backup was made)
//     kdf: ...  salt: ...  nonce: ...                (three lines, see keys/passphrase.hpp)
//     sealed: (the content, encrypted, base64)
//     checksum: ...
//
// The lines above `sealed` are authenticated with it. The content is text, too: a title, and each
// file of the store, its plain text, after a line with its name and size in bytes:
//
//     encsync key store 1
//     file: identity 287
//     (287 bytes)
//     file: node.secret 118
//     ...
//
// in the order of kBackupFiles, without those that are not there, and then those of peers, in the
// order of kBackupPrefixes, sorted. Every parser accepts only the exact output of its writer.
#pragma once

#include "keys/log.hpp"
#include "keys/passphrase.hpp"
#include "keys/psk.hpp"
#include "keys/revocation.hpp"
#include "keys/store_names.hpp"
#include "keys/x509.hpp"

namespace encsync::keys {

struct BackupFile {
    const char* name;
    std::size_t most; // bytes
};
inline constexpr std::array kBackupFiles = {BackupFile{kIdentity, kMaxSecretText},
                                            BackupFile{kNextIdentity, kMaxSecretText},
                                            BackupFile{kNodeSecret, kMaxSecretText},
                                            BackupFile{kSuccessions, kMaxPublicText},
                                            BackupFile{kTrusted, kMaxTrustedText},
                                            BackupFile{kRevoked, kMaxRevokedText},
                                            BackupFile{kLog, kMaxLogText}};

// Files of peers. Not those of post-quantum preshared keys: an old one is of no use.
struct BackupPrefix {
    std::string_view prefix;
    std::size_t most;  // bytes of a file
    std::size_t count; // files
};
inline constexpr std::array kBackupPrefixes = {
    BackupPrefix{kPskPrefix, kMaxSecretText, kMaxPsks},
    BackupPrefix{kX509Prefix, kMaxCertificatesText, kMaxCertified}};

inline constexpr std::size_t kMaxBackupContent = [] {
    std::size_t most = 0;
    for (const BackupFile& file : kBackupFiles)
        most += file.most;
    for (const BackupPrefix& files : kBackupPrefixes)
        most += files.count * (files.most + 128); // with the line before it
    return most + 1024;                           // with the lines between the others
}();
inline constexpr std::size_t kMaxBackupText = kMaxBackupContent / 3 * 4 + 1024;

// A file and what is in it, in memory that another object owns.
struct Part {
    std::string name; // as above
    Bytes content;
};
SecretBytes pack(const std::vector<Part>& parts); // in that order
Result<std::vector<Part>> unpack(std::string_view content);

struct Backup {
    PublicKey of; // name and time; no key
    Derivation derivation;
    std::vector<std::uint8_t> sealed;
};
Result<Backup> make_backup(const std::string& name, UnixTime created, const SecretBytes& content,
                           const Passphrase& passphrase, KdfCost cost);
Result<SecretBytes> open_backup(const Backup& backup, const Passphrase& passphrase);
std::string write_backup(const Backup& backup);
Result<Backup> read_backup(std::string_view text);

} // namespace encsync::keys
