// SPDX-License-Identifier: ISC
// Prints a page of documentation from the table of options.
#include "config/document.hpp"

#include <cstdio>
#include <string_view>

int main(int argc, char** argv) {
    using namespace encsync::config;
    const std::string_view what = argc == 2 ? argv[1] : "";
    if (what != "markdown" && what != "man") {
        std::fputs("usage: config_docs markdown|man\n", stderr);
        return 2;
    }
    const std::string page = what == "man" ? man_page() : markdown_page();
    const bool written = std::fwrite(page.data(), 1, page.size(), stdout) == page.size();
    return written && std::fflush(stdout) == 0 ? 0 : 1;
}
