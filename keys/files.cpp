// SPDX-License-Identifier: ISC
#include "keys/files.hpp"

#include "keys/backup.hpp"
#include "keys/io.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/core.h>
#include <sodium.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

namespace encsync::keys {

namespace {

constexpr std::size_t kMaxFile = 65536;
constexpr std::uint8_t kSequence = 0x30; // the first byte of a certificate in DER

// RFC 8410, section 4: the algorithm id-Ed25519, then the key.
constexpr std::array<std::uint8_t, 12> kSpki{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                             0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
using Spki = std::array<std::uint8_t, kSpki.size() + std::tuple_size_v<RawKey>>;

Spki spki_of(const RawKey& key) {
    Spki spki;
    std::ranges::copy(key, std::ranges::copy(kSpki, spki.begin()).out);
    return spki;
}

Error wrong(const std::string& path, std::string_view what) {
    return Error{fmt::format("{}: {}", path, what)};
}

Result<Fd> open_file(const std::string& path, bool is_private) {
    const int follow = is_private ? O_NOFOLLOW : 0;
    Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | follow));
    if (!fd)
        return wrong(path, errno == ELOOP ? "is a symbolic link" : std::strerror(errno));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
        return wrong(path, "not a regular file");
    if (is_private && info.st_uid != ::geteuid())
        return wrong(path, fmt::format("belongs to user {}, not to user {} who reads it",
                                       info.st_uid, ::geteuid()));
    if (is_private && (info.st_mode & 07777 & ~0600U) != 0)
        return wrong(
            path, fmt::format("mode {:04o} lets others in; it must be 0600", info.st_mode & 07777));
    return fd;
}

// Returns the size; `into` is full if there may be more.
Result<std::size_t> read(const std::string& path, bool is_private, MutableBytes into) {
    const auto fd = open_file(path, is_private);
    if (!fd)
        return fd.error();
    const auto size = read_all(fd->get(), into);
    if (!size)
        return wrong(path, std::strerror(errno));
    return *size;
}

// Reads at most one byte more than `most`, enough to see that the file is too long.
Result<WipedBytes> read(const std::string& path, std::size_t most, bool is_private) {
    WipedBytes text(most + 1);
    const auto size = read(path, is_private, text);
    if (!size)
        return size.error();
    text.resize(*size);
    return text;
}

// RFC 7468: what is between the first pair of these lines.
Result<std::vector<std::uint8_t>> decode_pem(std::string_view text, std::string_view label) {
    const std::string first = fmt::format("-----BEGIN {}-----", label);
    const std::string last = fmt::format("-----END {}-----", label);
    const auto begin = text.find(first);
    const auto end = begin == text.npos ? begin : text.find(last, begin);
    if (end == text.npos)
        return Error{fmt::format("no {} in it", label)};
    const auto base64 = text.substr(begin + first.size(), end - begin - first.size());
    std::vector<std::uint8_t> der(base64.size());
    std::size_t size = 0;
    const char* stopped = nullptr;
    if (sodium_base642bin(der.data(), der.size(), base64.data(), base64.size(), " \t\r\n", &size,
                          &stopped, sodium_base64_VARIANT_ORIGINAL) != 0 ||
        stopped != base64.data() + base64.size())
        return Error{fmt::format("its {} is damaged", label)};
    der.resize(size);
    return der;
}

} // namespace

namespace {

constexpr std::size_t kMaxPresharedFile = kMaxPreshared + 2; // with a line end

Result<WipedBytes> without_line_end(const std::string& path, WipedBytes text) {
    for (const std::uint8_t end : {'\n', '\r'})
        if (!text.empty() && text.back() == end)
            text.pop_back();
    if (auto ok = check_preshared(text); !ok)
        return wrong(path, ok.error().text);
    return text;
}

} // namespace

Result<WipedBytes> read_preshared(const std::string& path) {
    auto text = read(path, kMaxPresharedFile, true);
    return text ? without_line_end(path, std::move(*text)) : text;
}

Result<WipedBytes> read_preshared_input() {
    const char* const name = "standard input";
    WipedBytes text(kMaxPresharedFile + 1);
    const auto size = read_all(STDIN_FILENO, text);
    if (!size)
        return wrong(name, std::strerror(errno));
    text.resize(*size);
    return without_line_end(name, std::move(text));
}

Result<Passphrase> read_passphrase(const std::string& path) {
    Passphrase passphrase;
    const auto room = passphrase.room();
    auto size = read(path, true, room);
    if (!size)
        return size.error();
    for (const std::uint8_t end : {'\n', '\r'})
        if (*size != 0 && room[*size - 1] == end)
            --*size;
    if (*size == 0)
        return wrong(path, "no passphrase in it");
    if (*size > kMaxPassphrase)
        return wrong(path, fmt::format("a passphrase has {} bytes at most", kMaxPassphrase));
    passphrase.set_size(*size);
    return passphrase;
}

Result<WipedBytes> read_carried_text(const std::string& path) {
    auto text = read(path, kMaxSecretText, true);
    if (text && text->size() > kMaxSecretText)
        return wrong(path, "too long for a preshared key that was carried");
    return text;
}

Result<std::string> read_backup_text(const std::string& path) {
    std::error_code error;
    const auto there = std::filesystem::file_size(path, error);
    if (error)
        return wrong(path, error.message());
    if (there > kMaxBackupText)
        return wrong(path, "too long for a backup");
    std::string text(there + 1, '\0');
    const auto size =
        read(path, false, {reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
    if (!size)
        return size.error();
    text.resize(*size);
    return text;
}

Result<void> write_new(const std::string& path, Bytes content) {
    const Error exists = wrong(path, "is there already, and is not overwritten");
    if (::access(path.c_str(), F_OK) == 0)
        return exists;
    const std::string temporary = path + ".new";
    const auto attempt = [&]() -> Result<void> {
        const Fd fd(
            ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
        if (!fd || ::fchmod(fd.get(), 0600) != 0)
            return wrong(temporary, std::strerror(errno));
        if (!write_and_sync(fd.get(), content))
            return wrong(path, std::strerror(errno));
        // Some file systems, of which memory sticks are full, cannot refuse in one step.
        if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) == 0)
            return {};
        if (errno == EEXIST || (errno == EINVAL && ::access(path.c_str(), F_OK) == 0))
            return exists;
        if (errno != EINVAL || ::rename(temporary.c_str(), path.c_str()) != 0)
            return wrong(path, std::strerror(errno));
        return {};
    };
    auto done = attempt();
    if (!done) {
        ::unlink(temporary.c_str());
        return done;
    }
    const auto slash = path.rfind('/');
    const std::string parent = slash == path.npos ? "." : path.substr(0, slash + 1);
    const Fd directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory || ::fsync(directory.get()) != 0)
        return wrong(path, fmt::format("may not survive a crash yet: {}", std::strerror(errno)));
    return {};
}

Result<std::vector<std::uint8_t>> read_certificate(const std::string& path) {
    const auto text = read(path, kMaxFile, false);
    if (!text)
        return text.error();
    if (text->size() > kMaxFile)
        return wrong(path, "too long for a certificate");
    std::vector<std::uint8_t> der;
    if (!text->empty() && text->front() == kSequence) {
        der.assign(text->begin(), text->end());
    } else {
        auto decoded =
            decode_pem({reinterpret_cast<const char*>(text->data()), text->size()}, "CERTIFICATE");
        if (!decoded)
            return wrong(path, decoded.error().text);
        der = std::move(*decoded);
        if (der.empty() || der[0] != kSequence)
            return wrong(path, "its certificate is damaged");
    }
    if (der.size() > kMaxCertificate)
        return wrong(path, "too long for a certificate");
    return der;
}

bool certifies(Bytes certificate, const RawKey& key) {
    const Spki spki = spki_of(key);
    return std::search(certificate.begin(), certificate.end(), spki.begin(), spki.end()) !=
           certificate.end();
}

Result<RawKey> from_pem(std::string_view text) {
    const auto der = decode_pem(text, "PUBLIC KEY");
    if (!der)
        return der.error();
    RawKey key;
    if (der->size() != kSpki.size() + key.size() ||
        std::memcmp(der->data(), kSpki.data(), kSpki.size()) != 0)
        return Error{"its PUBLIC KEY is not one of Ed25519"};
    std::memcpy(key.data(), der->data() + kSpki.size(), key.size());
    return key;
}

std::string to_pem(const RawKey& key) {
    const Spki spki = spki_of(key);
    std::array<char, sodium_base64_ENCODED_LEN(sizeof spki, sodium_base64_VARIANT_ORIGINAL)> text;
    sodium_bin2base64(text.data(), text.size(), spki.data(), spki.size(),
                      sodium_base64_VARIANT_ORIGINAL);
    return fmt::format("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", text.data());
}

} // namespace encsync::keys
