// SPDX-License-Identifier: ISC
// The secret files of one kind of which a store has one for each of some peers: a prefix, and the
// peer's name.
//
//     const PeerFiles files(directory, secrets, kPpkPrefix);
//     auto ring = files.read(peer, read_ppks);     // none: there is no such file
//
// What they contain names the peer, too, in a member `peer`: a file that was put in another's place
// is refused. Errors name the file. Who writes must hold the directory's lock.
#pragma once

#include "keys/secret_files.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::keys {

class PeerFiles {
  public:
    // Both outlive it.
    PeerFiles(const Directory& directory, const SecretFiles& secrets, std::string_view prefix)
        : directory_(directory), secrets_(secrets), prefix_(prefix) {}

    // parse: from a std::string_view to a Result<T>.
    template<class T>
    Result<std::optional<T>> read(const std::string& peer,
                                  Result<T> (*parse)(std::string_view)) const {
        if (auto ok = check_name(peer); !ok)
            return ok.error();
        auto text = secrets_.read(directory_, file_of(peer).c_str());
        if (!text)
            return text.error();
        if (!*text)
            return std::optional<T>();
        Result<T> parsed = parse((*text)->view());
        if (parsed && parsed->peer != peer)
            parsed = Error{fmt::format("is of {}, and somebody has put it here", parsed->peer)};
        if (!parsed)
            return Error{fmt::format("{}: {}", directory_.path_of(file_of(peer).c_str()),
                                     parsed.error().text)};
        return std::optional<T>(std::move(*parsed));
    }

    // Of all peers, sorted by name.
    template<class T>
    Result<std::vector<T>> read_all(Result<T> (*parse)(std::string_view)) const {
        auto names = directory_.names(prefix_);
        if (!names)
            return names.error();
        std::vector<T> all;
        for (const std::string& name : *names) {
            auto one = read(name.substr(prefix_.size()), parse);
            if (!one)
                return one.error();
            if (*one)
                all.push_back(std::move(**one));
        }
        return all;
    }

    Result<std::size_t> count() const;
    Result<bool> has(const std::string& peer) const;
    Result<void> write(const std::string& peer, const SecretText& text) const;
    // It need not be opened for this. Without effect if there is none.
    Result<void> erase(const std::string& peer) const;

  private:
    std::string file_of(const std::string& peer) const { return std::string(prefix_) + peer; }

    const Directory& directory_;
    const SecretFiles& secrets_;
    const std::string_view prefix_;
};

} // namespace encsync::keys
