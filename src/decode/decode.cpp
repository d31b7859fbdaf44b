// SPDX-License-Identifier: ISC
#include "decode/decode.hpp"

#include "decode/fields.hpp"
#include "decode/message.hpp"
#include "pfsync/common.hpp"

#include <boost/json/array.hpp>

namespace encsync::decode {

namespace json = boost::json;
namespace header = pfsync::common::header;
namespace subheader = pfsync::common::subheader;
using pfsync::common::kHeaderSize;
using pfsync::common::kSubheaderSize;

namespace {

class Walker {
  public:
    explicit Walker(Bytes payload) : payload_(payload) {}
    Decoded run();

  private:
    bool read_header();
    // False: the end, or an error after which nothing can be read.
    bool read_section();
    json::array messages(const Found& found, std::size_t at, std::size_t stride, std::size_t count);

    Bytes payload_;
    std::size_t end_ = 0, offset_ = 0; // as the length field says; of the next section
    json::object packet_;
    json::array sections_;
    Wrong wrong_;
    std::uint8_t version_ = 0;
    bool ended_ = false; // by EOF of version 5
};

Decoded Walker::run() {
    if (read_header()) {
        while (read_section()) {
        }
        packet_["sections"] = std::move(sections_);
    }
    if (wrong_) {
        packet_["error"] = wrong_.error;
        packet_["offset"] = wrong_.offset;
    }
    return {std::move(packet_), static_cast<bool>(wrong_)};
}

bool Walker::read_header() {
    const std::size_t size = payload_.size();
    if (size > header::version)
        version_ = payload_[header::version], packet_["version"] = version_;
    std::size_t length = 0;
    if (size >= header::length + 2)
        length = load_be<std::uint16_t>(&payload_[header::length]), packet_["length"] = length;
    if (size < kHeaderSize) {
        wrong_.note("short_header", 0);
        return false;
    }
    packet_["pfcksum"] = to_hex(payload_.subspan(header::pfcksum, 16));
    if (pfsync::dialects_of(version_).empty()) {
        wrong_.note("bad_version", 0);
        return false;
    }
    if (length < kHeaderSize) {
        wrong_.note("bad_length", 0);
        return false;
    }
    // The length exceeds the packet: the bytes that exist are decoded all the same.
    if (length > size)
        wrong_.note("bad_length", 0);
    end_ = std::min(length, size);
    offset_ = kHeaderSize;
    return true;
}

bool Walker::read_section() {
    const Bytes rest = payload_.subspan(offset_, end_ - offset_);
    if (rest.empty())
        return false;
    if (ended_) {
        wrong_.note("bad_eof", offset_);
        return false;
    }
    if (rest.size() < kSubheaderSize) {
        wrong_.note("short_subheader", offset_);
        return false;
    }
    const std::uint8_t number = rest[subheader::action];
    const std::size_t count = load_be<std::uint16_t>(&rest[subheader::count]);
    const Found found = find(version_, number);
    const Message* message = found.message;
    const bool by_length = found.dialect->message_lengths;
    const std::size_t stride = by_length            ? std::size_t{rest[subheader::words]} * 4
                               : message != nullptr ? message->size
                                                    : 0;

    json::object section{{"action", message != nullptr ? message->action : "UNKNOWN"},
                         {"number", number},
                         {"count", count}};
    if (by_length || message != nullptr)
        section["stride"] = stride;
    // Version 6 skips unknown messages; version 5 has no length for that.
    const bool known = message != nullptr && !message->unused;
    const bool skipped =
        by_length ? !known && (message == nullptr || message->size == 0 || stride < message->size)
                  : !known;
    const std::size_t space = rest.size() - kSubheaderSize;
    bool sound = false;
    if (!by_length && !known)
        wrong_.note("bad_action", offset_);
    else if (count == 0)
        wrong_.note("zero_count", offset_);
    else if (by_length && stride == 0)
        wrong_.note("zero_stride", offset_);
    else if (count * stride > space)
        wrong_.note("section_overrun", offset_);
    else
        sound = true;
    const std::size_t body = offset_ + kSubheaderSize;
    if (skipped)
        section["skipped"] = true;
    // If the section is too long, its complete messages are decoded.
    const std::size_t whole = skipped || stride == 0 ? 0 : std::min(count, space / stride);
    section["messages"] = whole == 0 ? json::array() : messages(found, body, stride, whole);
    sections_.push_back(std::move(section));
    offset_ = body + count * stride;
    ended_ = !by_length && known && message->size == 0;
    return sound; // otherwise the start of the next one is unknown
}

json::array Walker::messages(const Found& found, std::size_t at, std::size_t stride,
                             std::size_t count) {
    const Message& message = *found.message;
    json::array out;
    if (stride < message.size) {
        wrong_.note("short_message", at);
        return out;
    }
    for (std::size_t n = 0; n < count; n++, at += stride) {
        Wrong here;
        const Bytes bytes = payload_.subspan(at, stride);
        json::object object = read_message(found, bytes, here);
        if (here && !message.unused) { // receivers do not read those
            object["error"] = here.error;
            object["offset"] = at + here.offset;
            wrong_.note(here.error, at + here.offset);
        }
        out.push_back(std::move(object));
    }
    return out;
}

} // namespace

Decoded decode(Bytes payload) {
    return Walker(payload).run();
}

Decoded refused(std::string_view error, std::size_t offset) {
    return {{{"error", error}, {"offset", offset}}, true};
}

} // namespace encsync::decode
