// SPDX-License-Identifier: ISC
// Any input is refused with a reason, or becomes a configuration that our own loader takes, except
// for addresses that are left to be filled in. Its first line is --format's word, or empty.
#include "config/text.hpp"
#include "import/import.hpp"
#include "import/render.hpp"
#include "tests/unit/config/files.hpp"

#include <cstdlib>

namespace {

using namespace encsync;

void require(bool held) {
    if (!held)
        std::abort();
}

void require_line(const std::string& text) {
    require(!text.empty() && text == config::printable(text) &&
            text.find_first_of("\n\t") == std::string::npos);
}

void check_loads(const importer::Migration& found, const std::string& text) {
    const config::Loaded loaded = config::parse_text(text);
    require(loaded.config.has_value() == found.complete());
    for (const config::Diagnostic& each : loaded.diagnostics)
        require(each.message.find(" has no left, ") != std::string::npos ||
                each.message.find(" has no right, ") != std::string::npos);
    if (loaded.config)
        require(loaded.config->conns.size() == 1 && loaded.config->conns[0].left == found.left &&
                loaded.config->conns[0].right == found.right);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    const std::size_t line = std::min(all.find('\n'), all.size());
    const auto format = importer::format_named(all.substr(0, line));
    const std::string_view text = all.substr(std::min(line + 1, all.size()));
    std::vector<config::Address> lefts(1);
    require(!config::read_address("192.0.2.77", lefts[0]));
    const auto found = importer::import_config("f", text, format, lefts);
    if (!found) {
        require_line(found.error().text);
        return 0;
    }
    require(found->notes.size() <= importer::kMaxNotes + 1);
    for (const importer::Note& note : found->notes) {
        require_line(note.what);
        require_line(note.advice);
    }
    check_loads(*found, importer::render_config(*found, "f"));
    return 0;
}
