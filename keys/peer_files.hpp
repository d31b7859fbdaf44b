// SPDX-License-Identifier: ISC
// The files of one kind of which a store has one for each of some peers: a prefix, and the peer's
// name.
//
//     const PeerFiles files(directory, secrets, kPpkPrefix);
//     auto ring = files.read(peer, read_ppks);     // none: there is no such file
//
//     const PeerFiles files(directory, kX509Prefix, kMaxCertificatesText);     // not secret
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
        : directory_(directory), secrets_(&secrets), prefix_(prefix) {}
    // most: bytes of one.
    PeerFiles(const Directory& directory, std::string_view prefix, std::size_t most)
        : directory_(directory), prefix_(prefix), most_(most) {}

    // parse: from a std::string_view to a Result<T>.
    template<class T>
    Result<std::optional<T>> read(const std::string& peer,
                                  Result<T> (*parse)(std::string_view)) const {
        if (auto ok = check_name(peer); !ok)
            return ok.error();
        return secrets_ != nullptr
                   ? parsed(peer, parse, secrets_->read(directory_, file_of(peer).c_str()))
                   : parsed(peer, parse, directory_.read_text(file_of(peer).c_str(), most_));
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
    Result<void> write(const std::string& peer, std::string_view text) const; // not secret
    // It need not be opened for this. Without effect if there is none.
    Result<void> erase(const std::string& peer) const;

  private:
    static std::string_view view(const SecretText& text) { return text.view(); }
    static std::string_view view(const std::string& text) { return text; }

    template<class T, class Text>
    Result<std::optional<T>> parsed(const std::string& peer, Result<T> (*parse)(std::string_view),
                                    const Result<std::optional<Text>>& text) const {
        if (!text)
            return text.error();
        if (!*text)
            return std::optional<T>();
        Result<T> found = parse(view(**text));
        if (found && found->peer != peer)
            found = Error{fmt::format("is of {}, and somebody has put it here", found->peer)};
        if (!found)
            return Error{fmt::format("{}: {}", directory_.path_of(file_of(peer).c_str()),
                                     found.error().text)};
        return std::optional<T>(std::move(*found));
    }
    std::string file_of(const std::string& peer) const { return std::string(prefix_) + peer; }

    const Directory& directory_;
    const SecretFiles* const secrets_ = nullptr; // null: these are not secret
    const std::string_view prefix_;
    const std::size_t most_ = 0;
};

} // namespace encsync::keys
