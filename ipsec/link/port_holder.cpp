// SPDX-License-Identifier: ISC
#include "ipsec/link/port_holder.hpp"

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fmt/core.h>
#include <fstream>
#include <sstream>

namespace encsync::link {
namespace {

// An address as /proc/net/udp writes it: words of 32 bits in host order.
template<class Array>
std::string proc_address(const Array& bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 4) {
        std::uint32_t word;
        std::memcpy(&word, bytes.data() + i, 4);
        text += fmt::format("{:08X}", word);
    }
    return text;
}

// The inode of a socket bound to this port and to `address` or to all; empty: none.
std::string inode_of(const char* table, const std::string& address, std::uint16_t port) {
    std::ifstream in(table);
    std::string line;
    std::getline(in, line); // headings
    const std::string suffix = fmt::format(":{:04X}", port);
    while (std::getline(in, line)) {
        std::istringstream fields(line);
        std::string number, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
        fields >> number >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
            timeout >> inode;
        if (!local.ends_with(suffix))
            continue;
        local.resize(local.size() - suffix.size());
        if (local == address || local.find_first_not_of('0') == std::string::npos)
            return inode;
    }
    return {};
}

} // namespace

std::string udp_port_holder(const boost::asio::ip::udp::endpoint& local) {
    namespace fs = std::filesystem;
    std::string inode;
    if (local.address().is_v4())
        inode = inode_of("/proc/net/udp", proc_address(local.address().to_v4().to_bytes()),
                         local.port());
    if (inode.empty()) // one bound to [::] holds the port for IPv4, too
        inode = inode_of("/proc/net/udp6",
                         local.address().is_v6() ? proc_address(local.address().to_v6().to_bytes())
                                                 : std::string("-"),
                         local.port());
    if (inode.empty())
        return {};
    const std::string wanted = "socket:[" + inode + "]";
    std::error_code error;
    for (fs::directory_iterator process("/proc", error), end; !error && process != end;
         process.increment(error)) {
        const std::string pid = process->path().filename();
        if (pid.find_first_not_of("0123456789") != std::string::npos)
            continue;
        // Processes end and descriptors close during the scan, so an error only means "not this
        // one".
        std::error_code gone;
        for (fs::directory_iterator fd(process->path() / "fd", gone); !gone && fd != end;
             fd.increment(gone)) {
            std::error_code closed;
            if (fs::read_symlink(fd->path(), closed) != wanted)
                continue;
            std::ifstream comm(process->path() / "comm");
            std::string name;
            std::getline(comm, name);
            return fmt::format("{} (pid {})", name, pid);
        }
    }
    return {};
}

} // namespace encsync::link
