// SPDX-License-Identifier: ISC
#include "cli/fingerprint.hpp"

#include "keys/words.hpp"

namespace encsync::cli {

namespace json = boost::json;

json::object describe_fingerprint(const keys::RawKey& key) {
    const auto hash = keys::key_hash(key);
    json::array words;
    for (const std::string_view word : keys::words_of(hash))
        words.emplace_back(word);
    return {{"fingerprint", keys::fingerprint(key)},
            {"hex", keys::hex_of(hash)},
            {"words", std::move(words)}};
}

} // namespace encsync::cli
