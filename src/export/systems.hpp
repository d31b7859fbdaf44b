// SPDX-License-Identifier: ISC
// The systems that export.cpp lists, and what they share.
#pragma once

#include "export/export.hpp"

#include <fmt/format.h>

namespace encsync::exporter {

struct Request {
    const config::Setup& setup;
    const config::Conn& conn;
    const There& there;
};

using System = Result<Exported>(const Request& request);
System openbsd, freebsd, opnsense; // pf.cpp
System strongswan;                 // strongswan.cpp
// The same with swanctl's files below `folder` ("/usr/local/etc").
Result<Exported> strongswan_in(std::string_view folder, const Request& request);

// The line above a file's content.
inline std::string file(std::string_view path) {
    return fmt::format("# ---- {}\n", path);
}

} // namespace encsync::exporter
