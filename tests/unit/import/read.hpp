// SPDX-License-Identifier: ISC
// An import as text, and whether our own loader takes it.
#pragma once

#include "import/import.hpp"
#include "import/render.hpp"
#include "tests/unit/config/files.hpp"

#include <gtest/gtest.h>

namespace encsync::importer {

// The configuration and the notes; or the error.
struct Imported {
    std::string config, notes, error;
    bool complete = false;
};

inline Imported read_text(std::string_view text, std::optional<Format> format = {},
                          const std::vector<std::string>& lefts = {},
                          const std::string& file = "f") {
    std::vector<config::Address> addresses;
    for (const std::string& left : lefts)
        EXPECT_FALSE(config::read_address(left, addresses.emplace_back()));
    const auto found = import_config(file, text, format, addresses);
    if (!found)
        return {{}, {}, found.error().text, false};
    return {render_config(*found, file), render_notes(*found, file), {}, found->complete()};
}

// It loads if it is complete; else nothing but its missing addresses is wrong.
inline void expect_loads(const Imported& imported) {
    const config::Loaded loaded = config::parse_text(imported.config);
    EXPECT_EQ(loaded.config.has_value(), imported.complete)
        << imported.config << config::render(loaded.diagnostics);
    for (const config::Diagnostic& each : loaded.diagnostics)
        EXPECT_TRUE(each.message.find(" has no left, ") != std::string::npos ||
                    each.message.find(" has no right, ") != std::string::npos)
            << imported.config << config::render(each);
}

} // namespace encsync::importer
