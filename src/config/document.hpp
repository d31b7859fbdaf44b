// SPDX-License-Identifier: ISC
// The pages that come from the table of options: docs/configuration.md and encsync.conf(5).
//
//     config_docs markdown > docs/configuration.md
//     config_docs man > docs/man/encsync.conf.5
#pragma once

#include <string>

namespace encsync::config {

std::string markdown_page();
std::string man_page(); // troff, man(7)

} // namespace encsync::config
