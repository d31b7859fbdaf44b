// SPDX-License-Identifier: ISC
#include "pfsync/build.hpp"

#include <algorithm>
#include <cassert>

namespace encsync::pfsync {

using namespace common;

namespace {

constexpr std::size_t kMaxPacketV6 = 65532, // the length field, in whole words
    kMaxPacketV5 = 65535;
constexpr std::uint16_t kMaxCount = 65535;
constexpr std::size_t kMaxStrideV6 = 255 * 4;

MutableBytes usable(MutableBytes buffer, Dialect dialect) {
    if (!is_freebsd(dialect))
        return buffer.first(std::min(buffer.size(), kMaxPacketV6));
    return buffer.first(std::min(buffer.size(), kMaxPacketV5) - kSubheaderSize);
}

} // namespace

Builder::Builder(MutableBytes buffer, Dialect dialect)
    : buffer_(usable(buffer, dialect)), dialect_(dialect), used_(kHeaderSize) {
    assert(buffer_.size() >= kHeaderSize);
    std::memset(buffer_.data(), 0, kHeaderSize);
    buffer_[header::version] = version_of(dialect);
}

bool Builder::fits(std::uint8_t action, std::size_t size) const {
    assert(size > 0 && (is_freebsd(dialect_) || (size % 4 == 0 && size <= kMaxStrideV6)));
    const bool joins = section_ != 0 && buffer_[section_ + subheader::action] == action &&
                       stride_ == size && count_ < kMaxCount;
    return used_ + (joins ? 0 : kSubheaderSize) + size <= buffer_.size();
}

std::uint8_t* Builder::add(std::uint8_t action, std::size_t size) {
    if (!fits(action, size))
        return nullptr;
    if (section_ == 0 || buffer_[section_ + subheader::action] != action || stride_ != size ||
        count_ == kMaxCount) {
        section_ = used_;
        stride_ = size;
        count_ = 0;
        buffer_[section_ + subheader::action] = action;
        buffer_[section_ + subheader::words] =
            is_freebsd(dialect_) ? std::uint8_t{0} : static_cast<std::uint8_t>(size / 4);
        used_ += kSubheaderSize;
    }
    count_++;
    store_be(&buffer_[section_ + subheader::count], count_);
    std::uint8_t* m = &buffer_[used_];
    std::memset(m, 0, size);
    used_ += size;
    return m;
}

std::uint8_t* Builder::add(Kind kind, std::size_t extra) {
    const auto action = action_of(dialect_, kind);
    assert(action && (extra == 0 || !is_freebsd(dialect_)));
    return add(*action, message_size({kind, dialect_}) + extra);
}

bool Builder::fits(Kind kind, std::size_t extra) const {
    const auto action = action_of(dialect_, kind);
    assert(action);
    return fits(*action, message_size({kind, dialect_}) + extra);
}

bool Builder::empty() const {
    return used_ == kHeaderSize;
}

std::size_t Builder::finish() {
    std::size_t size = used_;
    if (is_freebsd(dialect_)) {
        // Behind buffer_'s end there may be nothing but the room kept for this.
        std::uint8_t* end = buffer_.data() + used_;
        end[subheader::action] = static_cast<std::uint8_t>(freebsd::Action::eof);
        end[subheader::words] = 0;
        store_be(end + subheader::count, std::uint16_t{1});
        size += kSubheaderSize;
    }
    store_be(&buffer_[header::length], static_cast<std::uint16_t>(size));
    return size;
}

void write_id(std::uint8_t* m, state::StateId id) {
    store_be(m + id_only::id, id.id);
    store_be(m + id_only::creatorid, id.creatorid);
}

void write_clr(std::uint8_t* m, std::string_view ifname, std::uint32_t creatorid) {
    assert(ifname.size() < kIfnameSize);
    // Cut short rather than left out: no name means every interface.
    ifname = ifname.substr(0, kIfnameSize - 1);
    std::copy(ifname.begin(), ifname.end(), m + clr::ifname);
    store_be(m + clr::creatorid, creatorid);
}

void write_bus(std::uint8_t* m, std::uint32_t creatorid, std::uint32_t endtime, bool end) {
    store_be(m + bus::creatorid, creatorid);
    store_be(m + bus::endtime, endtime);
    m[bus::status] = end ? kBusEnd : kBusStart;
}

void write_tdb(std::uint8_t* m, const Tdb& tdb) {
    write_tdb(Dialect::openbsd, m, tdb);
}

void write_tdb(Dialect dialect, std::uint8_t* m, const Tdb& tdb) {
    const bool v5 = is_freebsd(dialect);
    const bool inet = tdb.family == state::Family::inet;
    std::uint8_t* to = m + openbsd::tdb::sockaddr;
    to[bsd_sockaddr::length] =
        static_cast<std::uint8_t>(inet ? bsd_sockaddr::size4 : bsd_sockaddr::size6);
    to[bsd_sockaddr::family] = inet ? kAfInet : v5 ? freebsd::kAfInet6 : openbsd::kAfInet6;
    std::memcpy(to + (inet ? bsd_sockaddr::addr4 : bsd_sockaddr::addr6), tdb.dst.bytes.data(),
                inet ? 4 : 16);
    store_be(m + openbsd::tdb::spi, tdb.spi);
    if (v5) {
        store_be(m + freebsd::tdb::rpl, static_cast<std::uint32_t>(tdb.rpl));
        store_be(m + freebsd::tdb::bytes, tdb.bytes);
        m[freebsd::tdb::sproto] = tdb.sproto;
    } else {
        store_be(m + openbsd::tdb::rpl, tdb.rpl);
        store_be(m + openbsd::tdb::bytes, tdb.bytes);
        m[openbsd::tdb::sproto] = tdb.sproto;
        store_be(m + openbsd::tdb::rdomain, tdb.rdomain);
    }
}

} // namespace encsync::pfsync
