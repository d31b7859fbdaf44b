// SPDX-License-Identifier: ISC
// Looks in bytes for whatever opens a recording.
#pragma once

#include "tests/lab/recording/recording.hpp"

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace encsync::recording {

struct Secret {
    std::string name; // "PPK...": a preshared key, which SK_d may be mixed with
    std::vector<std::uint8_t> bytes;
};

// Something that opens a stream.
struct Opening {
    std::string stream;
    std::string kind;                 // "key", "SK_d", "SKEYSEED", "g^ir", ...
    std::vector<std::uint8_t> secret; // what was found
    std::string where;
    std::size_t opened; // of the stream's packets, by OpenSSL's AES-256-GCM
};

// 16 bytes in a row of a known secret, or of the round keys that AES makes of it: the first in an
// area.
struct Piece {
    std::string secret;
    std::string where;
    std::size_t more; // in this area
};

class Search {
  public:
    // Both must outlive it.
    Search(const Recording& recording, const std::vector<Secret>& known);

    // All bytes, and what base64 in them stands for. Each opening and piece is noted.
    void look(const std::string& where, Bytes area);

    const std::vector<Opening>& openings() const { return openings_; }
    const std::vector<Piece>& pieces() const { return pieces_; }
    std::size_t candidates() const { return candidates_; }

  private:
    struct Found {
        const char* kind;
        Bytes secret;
        const std::string& where;
    };

    void add_pieces(const Secret& of, Bytes bytes);
    void look_at(const std::string& where, Bytes area);
    void look_for_pieces(const std::string& where, Bytes area);
    void try_short(const std::string& where, Bytes candidate);
    void try_long(const std::string& where, Bytes candidate);
    void try_private(const std::string& where, Bytes candidate);
    void try_skeyseed(const Negotiation& negotiation, Bytes skeyseed, const Found& found);
    void try_sk_d(const Negotiation& negotiation, Bytes sk_d, const Found& found);
    // With each known preshared key (RFC 8784, 3).
    void try_mixed(const Negotiation& negotiation, Bytes sk_d, const Found& found);
    bool try_key(const std::string& stream, const std::uint8_t* key, const Found& found);
    void note(const Stream& stream, const std::uint8_t* key, const Salt& salt, const Found& found);

    const Recording& recording_;
    const std::vector<Secret>& known_;
    // Each piece by its first eight bytes: its last eight, and what it is of.
    std::unordered_multimap<std::uint64_t, std::pair<std::uint64_t, const Secret*>> known_pieces_;
    std::vector<bool> begins_; // whether a piece begins with these two bytes
    std::vector<Opening> openings_;
    std::vector<Piece> pieces_;
    std::size_t candidates_ = 0;
};

} // namespace encsync::recording
