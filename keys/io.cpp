// SPDX-License-Identifier: ISC
#include "keys/io.hpp"

#include <cerrno>
#include <unistd.h>

namespace encsync::keys {

std::optional<std::size_t> read_all(int fd, MutableBytes into) {
    std::size_t size = 0;
    while (size < into.size()) {
        const ssize_t got = ::read(fd, into.data() + size, into.size() - size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return std::nullopt;
        if (got == 0)
            break;
        size += static_cast<std::size_t>(got);
    }
    return size;
}

bool write_and_sync(int fd, Bytes content) {
    while (!content.empty()) {
        const ssize_t put = ::write(fd, content.data(), content.size());
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        content = content.subspan(static_cast<std::size_t>(put));
    }
    return ::fsync(fd) == 0;
}

} // namespace encsync::keys
