// SPDX-License-Identifier: ISC
// The grammar: files to sections of key and value, each with its place. It knows no options; it
// reports syntax errors and continues with the next line.
//
//     Document document;
//     Report report;
//     read_document(text, "encsync.conf", environment, document, report);
//
// All views are into Document::files, which must outlive them.
#pragma once

#include "config/config.hpp"

#include <deque>

namespace encsync::config {

struct SourceFile {
    std::string name;
    std::string text;
    std::vector<std::size_t> line_starts;         // of line n + 1
    std::size_t index = 0;                        // in the order of reading
    std::string_view line(unsigned number) const; // from 1, without its end
};

struct Place {
    const SourceFile* file = nullptr;
    unsigned line = 0;      // from 1; 0: the whole file
    std::size_t offset = 0; // bytes into the line
};
// "line 3", or "FILE line 3" as seen from another file.
std::string describe(const Place& place, const Place& seen_from);

// Collects diagnostics, adds their lines, drops repetitions, and limits their number.
class Report {
  public:
    void error(const Place& place, const std::string& message, const std::string& hint = {});
    void warning(const Place& place, const std::string& message, const std::string& hint = {});
    bool has_errors() const { return errors_; }
    std::vector<Diagnostic> finish(); // by file, line and column

  private:
    struct Entry {
        std::size_t file;
        Diagnostic diagnostic;
    };
    void add(const Place& place, Severity severity, const std::string& message,
             const std::string& hint);

    std::vector<Entry> entries_;
    std::size_t dropped_ = 0;
    bool errors_ = false;
};

struct Entry {
    std::string_view key, value; // value without its quotes, never empty
    Place key_at, value_at;
    bool broken = false; // the value is invalid; that was reported
};

enum class SectionKind { setup, conn };

struct Section {
    SectionKind kind = SectionKind::setup;
    std::string_view name; // of a conn; "%default" too
    Place at;              // of the name, or of "config"
    std::vector<Entry> entries;
};

struct Document {
    std::deque<SourceFile> files; // [0] is the one passed to read_document()
    std::vector<Section> sections;
};

void read_document(std::string_view text, const std::string& filename, Environment& environment,
                   Document& document, Report& report);

} // namespace encsync::config
