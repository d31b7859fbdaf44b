// SPDX-License-Identifier: ISC
// Says what is in a pfsync packet: all of it, in the field's own words, good or bad.
//
//     Decoded d = decode::decode(payload);             // from the pfsync header on
//     std::puts(d.bad ? "bad" : to_text(d.packet).c_str());
//
// The object: version, length, pfcksum, sections. A section: action (its name, "UNKNOWN" if it has
// none), number, count, messages, and stride, the bytes of a message, where they are known;
// `skipped` if nobody reads such messages. A message has the fields of its table (fields.hpp). In a
// bad packet there is `error` (one of the names of pfsync::Fault) and `offset`, in bytes from the
// pfsync header: of the field at fault, or of the section whose frame is wrong. What could be read
// is there beside them. Bad is what a receiver of that version has reason to refuse, without its
// state table, its interfaces and its rules: a decoder has none.
//
// No length that the packet claims is believed; memory is in proportion to its real bytes.
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

// A packet of nothing but a reason, for one that never was one.
Decoded refused(std::string_view error, std::size_t offset);

// Seconds since 1970 as "2026-01-31T12:00:00.000001Z".
std::string utc(double time);

// For a person: several lines, each ended. Takes what decode() makes, with `time` and `ip` as the
// command puts them in front. Nothing that a terminal would obey gets through.
std::string to_text(const boost::json::object& packet);

} // namespace encsync::decode
