// SPDX-License-Identifier: ISC
#include "keys/peer_files.hpp"

#include "keys/lines.hpp"

namespace encsync::keys {

Result<std::size_t> PeerFiles::count() const {
    auto names = directory_.names(prefix_);
    if (!names)
        return names.error();
    return names->size();
}

Result<bool> PeerFiles::has(const std::string& peer) const {
    if (!check_name(peer))
        return false;
    return directory_.has(file_of(peer).c_str());
}

Result<void> PeerFiles::write(const std::string& peer, const SecretText& text) const {
    return secrets_->write(directory_, file_of(peer).c_str(), text);
}

Result<void> PeerFiles::write(const std::string& peer, std::string_view text) const {
    return directory_.write(file_of(peer).c_str(), as_bytes(text));
}

Result<void> PeerFiles::erase(const std::string& peer) const {
    auto there = has(peer);
    if (!there)
        return there.error();
    return *there ? directory_.remove(file_of(peer).c_str()) : Result<void>();
}

} // namespace encsync::keys
