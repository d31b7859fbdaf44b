// SPDX-License-Identifier: ISC
// What the tests of key stores share: a directory of their own, its files.
#pragma once

#include "keys/store.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace encsync::keys {

inline constexpr UnixTime kNow = 1767225600;

template<class T>
std::string why(const Result<T>& result) {
    return result ? std::string("accepted") : result.error().text;
}

// A new directory, removed with all that is in it.
class Scratch {
  public:
    Scratch() {
        std::string pattern = std::filesystem::temp_directory_path() / "encsync-keys-XXXXXX";
        if (!::mkdtemp(pattern.data()))
            std::abort();
        path_ = pattern;
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::filesystem::remove_all(path_); }

    const std::filesystem::path& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ / name; }

  private:
    std::filesystem::path path_;
};

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

// Mode 0600.
inline void write_file(const std::filesystem::path& path, const std::string& text) {
    const mode_t before = ::umask(0077);
    std::ofstream(path, std::ios::binary) << text;
    ::umask(before);
}

inline mode_t mode(const std::filesystem::path& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
}

// Of the identity that signs.
inline PublicKey public_part(const Store& store) {
    auto all = store.identities();
    EXPECT_TRUE(all) << why(all);
    return all ? PublicKey(all->front()) : PublicKey();
}

} // namespace encsync::keys
