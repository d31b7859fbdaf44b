// SPDX-License-Identifier: ISC
// Decodes a pfsync packet completely, valid or not, with the original field names.
//
//     Decoded d = decode::decode(payload);             // from the pfsync header on
//     std::puts(d.bad ? "bad" : to_text(d.packet).c_str());
//
// The object: version, length, pfcksum, sections. A section: action (its name, "UNKNOWN" if it has
// none), number, count, messages, and stride, the bytes of a message, where they are known;
// `skipped` if receivers skip such messages. A message has the fields of its table (fields.hpp). A
// bad packet has `error` (one of the names of pfsync::Fault) and `offset`, in bytes from the pfsync
// header: of the wrong field, or of the section whose header or length is wrong. It also has
// everything that could be read. A packet is bad if a receiver of that version must refuse it
// regardless of its state table, interfaces and rules, which a decoder does not know.
//
// No length field is trusted; memory use is proportional to the packet's real size.
#pragma once

#include "util/bytes.hpp"

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace encsync::decode {

struct Decoded {
    boost::json::object packet;
    bool bad = false;
};

Decoded decode(Bytes payload);

// A packet with only an error, for input that is not a packet.
Decoded refused(std::string_view error, std::size_t offset);

// Seconds since 1970 as "2026-01-31T12:00:00.000001Z".
std::string utc(double time);

// For the user: several lines, each with its line end. Takes the result of decode(), with `time`
// and `ip` in front if the command adds them. Control characters are escaped.
std::string to_text(const boost::json::object& packet);

} // namespace encsync::decode
