// SPDX-License-Identifier: ISC
// Prints the tables of docs/metrics.md.
#include "daemon/metric_families.hpp"

#include <cstdio>

int main() {
    const std::string tables = encsync::daemon::metrics_as_markdown();
    const bool written = std::fwrite(tables.data(), 1, tables.size(), stdout) == tables.size();
    return written && std::fflush(stdout) == 0 ? 0 : 1;
}
