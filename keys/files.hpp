// SPDX-License-Identifier: ISC
// Reads preshared keys and certificates, which authenticate peers that are not encsync, and
// passphrases from files that the configuration or a command names.
//
//     Result<WipedBytes> psk = read_preshared("/etc/encsync/minnie.psk");
//     Result<std::vector<std::uint8_t>> ca = read_certificate("/etc/encsync/ca.pem");
//
// The error names the file and the problem.
#pragma once

#include "keys/format.hpp"
#include "keys/passphrase.hpp"
#include "keys/psk.hpp"
#include "keys/x509.hpp"
#include "util/result.hpp"
#include "util/wiped.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

// The content without a trailing line end. Refused: a file that is not ours or that others can
// read, a symbolic link, and what check_preshared() refuses.
Result<WipedBytes> read_preshared(const std::string& path);
// Likewise, of standard input.
Result<WipedBytes> read_preshared_input();

// Likewise; one line end at its end is not part of it.
Result<Passphrase> read_passphrase(const std::string& path);

// The text of a preshared key that somebody has carried (keys/ppk.hpp); as private as the others.
Result<WipedBytes> read_carried_text(const std::string& path);

// Of a backup (keys/backup.hpp), from wherever it was brought.
Result<std::string> read_backup_text(const std::string& path);

// A new file, mode 0600. Refuses if there is one. After a crash there is all of it or, but for a
// file NAME.new, nothing.
Result<void> write_new(const std::string& path, Bytes content);

// The DER of the first certificate in the file (RFC 7468), or the whole file if it is DER. The
// certificate itself is not checked.
Result<std::vector<std::uint8_t>> read_certificate(const std::string& path);

// Whether a certificate is for this key: it holds the key's SubjectPublicKeyInfo.
bool certifies(Bytes certificate, const RawKey& key);

// The SubjectPublicKeyInfo of a key (RFC 8410), as PEM.
std::string to_pem(const RawKey& key);
Result<RawKey> from_pem(std::string_view text);

} // namespace encsync::keys
