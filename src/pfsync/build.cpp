// SPDX-License-Identifier: ISC
#include "pfsync/build.hpp"

#include "pfsync/write_state.hpp"

#include <algorithm>
#include <cassert>

namespace encsync::pfsync {

using namespace common;

namespace {

constexpr std::size_t kMaxPacket = 65535, kMaxPacketInWords = 65532;
constexpr std::uint16_t kMaxCount = 65535;
constexpr std::size_t kMaxStride = 255 * 4;

// Version 5: without the space reserved for EOF.
MutableBytes usable(MutableBytes buffer, Dialect dialect) {
    if (traits(dialect).message_lengths)
        return buffer.first(std::min(buffer.size(), kMaxPacketInWords));
    return buffer.first(std::min(buffer.size(), kMaxPacket) - kSubheaderSize);
}

} // namespace

Builder::Builder(MutableBytes buffer, Dialect dialect)
    : buffer_(usable(buffer, dialect)), dialect_(dialect), used_(kHeaderSize) {
    assert(buffer_.size() >= kHeaderSize);
    std::memset(buffer_.data(), 0, kHeaderSize);
    buffer_[header::version] = version_of(dialect);
}

// pf reads only the first BUS of a section, so each gets its own.
bool Builder::joins(std::uint8_t action, std::size_t size) const {
    return section_ != 0 && buffer_[section_ + subheader::action] == action && stride_ == size &&
           count_ < kMaxCount && kind(dialect_, action) != Kind::bulk;
}

bool Builder::fits(std::uint8_t action, std::size_t size) const {
    assert(size > 0);
    assert(!traits(dialect_).message_lengths || (size % 4 == 0 && size <= kMaxStride));
    return used_ + (joins(action, size) ? 0 : kSubheaderSize) + size <= buffer_.size();
}

std::uint8_t* Builder::add(std::uint8_t action, std::size_t size) {
    if (!fits(action, size))
        return nullptr;
    if (!joins(action, size)) {
        section_ = used_;
        stride_ = size;
        count_ = 0;
        buffer_[section_ + subheader::action] = action;
        buffer_[section_ + subheader::words] = traits(dialect_).message_lengths
                                                   ? static_cast<std::uint8_t>(size / 4)
                                                   : std::uint8_t{0};
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
    assert(action && (extra == 0 || traits(dialect_).message_lengths));
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
    if (const auto eof = action_of(dialect_, Kind::eof)) {
        // Space after the end of buffer_ is reserved for EOF.
        std::uint8_t* end = buffer_.data() + used_;
        end[subheader::action] = *eof;
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

void write_bus(std::uint8_t* m, std::uint32_t creatorid, std::uint32_t endtime, bool end) {
    store_be(m + bus::creatorid, creatorid);
    store_be(m + bus::endtime, endtime);
    m[bus::status] = end ? kBusEnd : kBusStart;
}

void write_tdb(std::uint8_t* m, const Tdb& tdb) {
    write_tdb(kOwnDialect, m, tdb);
}

void write_tdb(Dialect dialect, std::uint8_t* m, const Tdb& tdb) {
    const TdbLayout& layout = traits(dialect).tdb;
    const bool inet = !tdb.dst.is_v6();
    std::uint8_t* to = m + tdb_front::sockaddr;
    to[bsd_sockaddr::length] =
        static_cast<std::uint8_t>(inet ? bsd_sockaddr::size4 : bsd_sockaddr::size6);
    to[bsd_sockaddr::family] = inet ? kAfInet : traits(dialect).state.af_inet6;
    std::memcpy(to + (inet ? bsd_sockaddr::addr4 : bsd_sockaddr::addr6), tdb.dst.bytes.data(),
                net::address_size(tdb.dst.family));
    store_be(m + tdb_front::spi, tdb.spi);
    if (layout.wide_rpl)
        store_be(m + layout.rpl, tdb.rpl);
    else
        store_be(m + layout.rpl, static_cast<std::uint32_t>(tdb.rpl));
    store_be(m + layout.bytes, tdb.bytes);
    m[layout.sproto] = tdb.sproto;
    if (layout.rdomain != 0)
        store_be(m + layout.rdomain, tdb.rdomain);
}

void write_state(Dialect dialect, std::uint8_t* m, const state::Flow& flow,
                 const StateOptions& options) {
    traits(dialect).write_state(m, flow, options);
}

void write_state(std::uint8_t* m, const state::Flow& flow, const StateOptions& options) {
    write_state(kOwnDialect, m, flow, options);
}

void write_upd_c(Dialect dialect, std::uint8_t* m, const state::Flow& flow, Bytes src, Bytes dst) {
    const Layout& layout = traits(dialect).state;
    store_be(m + upd_c::id, flow.id.id);
    store_be(m + upd_c::creatorid, flow.id.creatorid);
    detail::write_peer(m + upd_c::src, layout, flow.key.proto, flow.src_state, src);
    detail::write_peer(m + upd_c::dst, layout, flow.key.proto, flow.dst_state, dst);
    m[upd_c::timeout] = static_cast<std::uint8_t>(timeout_index(layout, flow));
}

void write_upd_c(std::uint8_t* m, const state::Flow& flow, Bytes src, Bytes dst) {
    write_upd_c(kOwnDialect, m, flow, src, dst);
}

} // namespace encsync::pfsync
