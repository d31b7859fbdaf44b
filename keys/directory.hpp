// SPDX-License-Identifier: ISC
// A directory that only its owner can read, and the files in it. All names are relative to the
// directory that was opened and checked, so it cannot be replaced in between.
//
//     auto directory = Directory::open("/var/lib/encsync/keys");
//     auto lock = directory->lock();
//     auto ok = directory->write("identity", bytes);
//
// Refused, with an error that says why: a directory or file that others can read or write (a mode
// wider than 0700 and 0600), that belongs to another user, that is a symbolic link (files) or no
// regular file. A file is written to a temporary file, synced and renamed, and the directory is
// synced. So after a crash there is the old file or the new one.
#pragma once

#include "util/bytes.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

class Directory {
  public:
    static Result<Directory> open(const std::string& path);
    // Makes the directory, mode 0700, and missing parents, mode 0755.
    static Result<Directory> create(const std::string& path);

    const std::string& path() const { return path_; }
    std::string path_of(const char* name) const { return path_ + "/" + name; }

    // Held until the object is destroyed; waits while another process holds it. All writers take
    // it, so two commands never start from the same old state.
    Result<Fd> lock() const;
    // The same, but empty if another process holds it.
    Result<Fd> lock_unless_held() const;

    // Returns the number of bytes read, or none if there is no such file. A file that does not fit
    // is an error.
    Result<std::optional<std::size_t>> read(const char* name, MutableBytes into) const;
    // Likewise, of at most that many bytes; not for secrets.
    Result<std::optional<std::string>> read_text(const char* name, std::size_t most) const;
    Result<bool> has(const char* name) const;
    // The names of all files that begin like this, sorted.
    Result<std::vector<std::string>> names(std::string_view prefix) const;

    // The caller must hold the lock.
    Result<void> write(const char* name, Bytes content) const;
    // Adds to the end of a file, which is made if it is not there. What it has beyond `keep` bytes
    // is the rest of an append that a crash interrupted, and goes. With an error it stays as it
    // was.
    Result<void> append(const char* name, std::size_t keep, Bytes content) const;
    Result<void> rename(const char* from, const char* to) const;
    Result<void> remove(const char* name) const;
    Result<void> clear() const; // of all files

    // Whether that path still leads to this directory.
    bool is_at(const std::string& path) const;
    // It has been renamed.
    void moved_to(std::string path) { path_ = std::move(path); }

  private:
    Directory(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
    Result<Fd> lock(int operation) const; // of flock(2)
    // None: there is no such file.
    Result<Fd> open_file(const char* name) const;
    Result<void> sync() const;
    // Of all files whose names begin like this.
    Result<void> remove_all(std::string_view prefix) const;

    std::string path_;
    Fd fd_;
};

} // namespace encsync::keys
