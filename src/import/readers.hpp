// SPDX-License-Identifier: ISC
// A reader for each format. Each adds to `found` what is in the text, or returns why it cannot, as
// fault() makes it. None of them opens a file or runs anything that a file names.
#pragma once

#include "import/migration.hpp"

namespace encsync::importer {

// hostname.if(5) of the interface pfsync0.
Result<void> read_openbsd(std::string_view text, Migration& found);
// rc.conf(5).
Result<void> read_freebsd(std::string_view text, Migration& found);
// Commands that call ifconfig(8), or what it prints.
Result<void> read_ifconfig(std::string_view text, Migration& found);
// conntrackd.conf(5).
Result<void> read_conntrackd(std::string_view text, Migration& found);
// config.xml, whose outermost element is `root`: opnsense or pfsense.
Result<void> read_config_xml(std::string_view text, std::string_view root, Migration& found);

} // namespace encsync::importer
