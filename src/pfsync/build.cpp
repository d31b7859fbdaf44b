#include "pfsync/build.hpp"

#include <algorithm>
#include <cassert>

namespace encsync::pfsync {

using namespace openbsd;

namespace {

constexpr std::size_t kMaxPacket = 65532; // the length field, in whole words
constexpr std::uint16_t kMaxCount = 65535;
constexpr std::size_t kMaxStride = 255 * 4;

} // namespace

Builder::Builder(MutableBytes buffer)
    : buffer_(buffer.first(std::min(buffer.size(), kMaxPacket))), used_(kHeaderSize) {
    assert(buffer.size() >= kHeaderSize);
    std::memset(buffer_.data(), 0, kHeaderSize);
    buffer_[header::version] = kVersion;
}

bool Builder::fits(std::uint8_t action, std::size_t size) const {
    assert(size > 0 && size % 4 == 0 && size <= kMaxStride);
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
        buffer_[section_ + subheader::words] = static_cast<std::uint8_t>(size / 4);
        used_ += kSubheaderSize;
    }
    count_++;
    store_be(&buffer_[section_ + subheader::count], count_);
    std::uint8_t* m = &buffer_[used_];
    std::memset(m, 0, size);
    used_ += size;
    return m;
}

bool Builder::empty() const {
    return used_ == kHeaderSize;
}

std::size_t Builder::finish() {
    store_be(&buffer_[header::length], static_cast<std::uint16_t>(used_));
    return used_;
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
    const bool inet = tdb.family == state::Family::inet;
    std::uint8_t* to = m + tdb::sockaddr;
    to[bsd_sockaddr::length] =
        static_cast<std::uint8_t>(inet ? bsd_sockaddr::size4 : bsd_sockaddr::size6);
    to[bsd_sockaddr::family] = inet ? kAfInet : kAfInet6;
    std::memcpy(to + (inet ? bsd_sockaddr::addr4 : bsd_sockaddr::addr6), tdb.dst.bytes.data(),
                inet ? 4 : 16);
    store_be(m + tdb::spi, tdb.spi);
    store_be(m + tdb::rpl, tdb.rpl);
    store_be(m + tdb::bytes, tdb.bytes);
    m[tdb::sproto] = tdb.sproto;
    store_be(m + tdb::rdomain, tdb.rdomain);
}

} // namespace encsync::pfsync
