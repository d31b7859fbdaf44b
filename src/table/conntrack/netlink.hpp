// SPDX-License-Identifier: ISC
// Netlink attributes (linux/netlink.h): read with all lengths checked, written without allocation;
// and the socket for them.
//
//     for (Attributes a(payload); a.next();)
//         if (a.type() == CTA_TIMEOUT) ... a.value() ...
//
// Both work at any alignment. Numbers of nfnetlink are big-endian; those of rtnetlink and of
// the message headers are in host byte order.
#pragma once

#include "util/bytes.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

#include <algorithm>
#include <cstring>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <span>

namespace encsync::table::netlink {

inline constexpr std::size_t kAlign = 4;
constexpr std::size_t aligned(std::size_t n) {
    return (n + kAlign - 1) & ~(kAlign - 1);
}

template<class T>
T load(const std::uint8_t* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

// The messages of one datagram, one after the other.
class Messages {
  public:
    explicit Messages(Bytes datagram) : rest_(datagram) {}

    // False at the end, or if a length is invalid; malformed() distinguishes the two.
    bool next() {
        if (rest_.empty())
            return false;
        malformed_ = rest_.size() < sizeof(nlmsghdr);
        if (malformed_)
            return false;
        header_ = load<nlmsghdr>(rest_.data());
        malformed_ = header_.nlmsg_len < sizeof(nlmsghdr) || header_.nlmsg_len > rest_.size();
        if (malformed_)
            return false;
        message_ = rest_.first(header_.nlmsg_len);
        rest_ = rest_.subspan(std::min(aligned(header_.nlmsg_len), rest_.size()));
        return true;
    }
    const nlmsghdr& header() const { return header_; }
    Bytes message() const { return message_; } // from its header on
    Bytes payload() const { return message_.subspan(sizeof(nlmsghdr)); }
    bool malformed() const { return malformed_; }

  private:
    Bytes rest_, message_;
    nlmsghdr header_{};
    bool malformed_ = false;
};

// The attributes of a message or of a nest.
class Attributes {
  public:
    explicit Attributes(Bytes bytes) : rest_(bytes) {}

    bool next() {
        if (rest_.empty())
            return false;
        malformed_ = rest_.size() < sizeof(nlattr);
        if (malformed_)
            return false;
        const auto header = load<nlattr>(rest_.data());
        malformed_ = header.nla_len < sizeof(nlattr) || header.nla_len > rest_.size();
        if (malformed_)
            return false;
        type_ = header.nla_type & NLA_TYPE_MASK;
        value_ = rest_.subspan(sizeof(nlattr), header.nla_len - sizeof(nlattr));
        rest_ = rest_.subspan(std::min(aligned(header.nla_len), rest_.size()));
        return true;
    }
    int type() const { return type_; }
    Bytes value() const { return value_; }
    bool malformed() const { return malformed_; }

  private:
    Bytes rest_, value_;
    int type_ = 0;
    bool malformed_ = false;
};

// Writes one message into a buffer of the caller. If something does not fit, finish() returns 0.
class Writer {
  public:
    Writer(MutableBytes buffer, std::uint16_t type, std::uint16_t flags, std::uint32_t seq)
        : buffer_(buffer) {
        const nlmsghdr header{0, type, flags, seq, 0};
        raw(&header, sizeof header);
    }

    template<class T>
    void plain(const T& value) {
        raw(&value, sizeof value);
    }
    void put(int type, const void* data, std::size_t size) {
        const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + size),
                            static_cast<std::uint16_t>(type)};
        raw(&header, sizeof header);
        raw(data, size);
    }
    template<std::unsigned_integral T>
    void put_be(int type, T value) {
        value = to_big_endian(value);
        put(type, &value, sizeof value);
    }
    std::size_t begin(int type) {
        const std::size_t start = used_;
        put(type | NLA_F_NESTED, nullptr, 0);
        return start;
    }
    void end(std::size_t start) {
        if (overflow_)
            return;
        const auto size = static_cast<std::uint16_t>(used_ - start);
        std::memcpy(&buffer_[start], &size, sizeof size);
    }
    std::size_t finish() {
        if (overflow_)
            return 0;
        const auto size = static_cast<std::uint32_t>(used_);
        std::memcpy(buffer_.data(), &size, sizeof size);
        return used_;
    }

  private:
    void raw(const void* data, std::size_t size) {
        const std::size_t padded = aligned(size);
        overflow_ = overflow_ || padded > buffer_.size() - used_;
        if (overflow_ || size == 0)
            return;
        std::memcpy(&buffer_[used_], data, size);
        std::memset(&buffer_[used_] + size, 0, padded - size);
        used_ += padded;
    }

    MutableBytes buffer_;
    std::size_t used_ = 0;
    bool overflow_ = false;
};

// A bound netlink socket, not blocking.
class Socket {
  public:
    // `what` names it in errors: "conntrack events".
    static Result<Socket> open(int protocol, const char* what);

    int fd() const { return fd_.get(); }
    std::uint32_t port() const { return port_; }

    // As large as the kernel allows: beyond its limits if privileged, else up to them.
    void set_receive_buffer(std::size_t bytes);
    void set_send_buffer(std::size_t bytes);
    Result<void> join(int group);
    void ask_short_errors(); // NETLINK_CAP_ACK: errors without the request's body
    // A classic BPF program that sees each message before it is queued.
    Result<void> attach(std::span<const sock_filter> program);
    // 0 or errno.
    int send(Bytes bytes);

  private:
    Socket() = default;
    Fd fd_;
    std::uint32_t port_ = 0;
    const char* what_ = "";
};

} // namespace encsync::table::netlink
