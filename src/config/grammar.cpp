// SPDX-License-Identifier: ISC
#include "config/grammar.hpp"

#include "config/text.hpp"
#include "config/values.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <utility>

namespace encsync::config {

namespace {

constexpr std::string_view kBlanks = " \t";
constexpr std::array<std::string_view, 3> kLineWords = {"config", "conn", "include"};

class Reader {
  public:
    Reader(Environment& environment, Document& document, Report& report)
        : environment_(environment), document_(document), report_(report) {}

    void file(std::string name, std::string text);

  private:
    // One line of the file that is being read.
    struct Line {
        std::string_view text;
        Place at;
        Place place(std::size_t offset) const { return {at.file, at.line, offset}; }
        Place place(std::string_view part) const {
            return place(static_cast<std::size_t>(part.data() - text.data()));
        }
    };

    // Where settings are stored: in the last section, nowhere because its head was refused, or
    // nowhere because there is none (none_because_ says why).
    enum class Where { section, skip, none };

    bool well_formed(const Line& line);
    void line(const Line& line);
    void header(const Line& line);
    void misplaced_setting(const Line& line, Where before);
    void config_header(const Line& line, std::string_view name);
    void conn_header(const Line& line, std::string_view word, std::string_view name);
    void open(SectionKind kind, std::string_view name, const Place& at);
    void include(const Line& line, std::string_view word, std::string_view rest);
    void include_file(const Place& at, const std::string& path);
    void setting(const Line& line);
    void add(const Line& line, std::string_view key, std::optional<std::string_view> value);
    // The value after a '=', without comment and quotes; nothing: invalid, and reported.
    std::optional<std::string_view> value(const Line& line, std::string_view rest);

    Environment& environment_;
    Document& document_;
    Report& report_;
    std::vector<const SourceFile*> stack_; // files that are being read, the innermost last
    Where where_ = Where::none;
    std::string_view none_because_;
};

void Reader::file(std::string name, std::string text) {
    SourceFile& file = document_.files.emplace_back();
    file.index = document_.files.size() - 1;
    file.name = std::move(name);
    file.text = std::move(text);
    if (file.text.starts_with("\xef\xbb\xbf")) // a byte order mark has no meaning in UTF-8
        file.text.erase(0, 3);

    stack_.push_back(&file);
    where_ = Where::none;
    none_because_ = "a setting needs a section above it ('config setup' or 'conn NAME')";
    const std::string_view all = file.text;
    for (std::size_t start = 0; start < all.size();) {
        file.line_starts.push_back(start);
        start = std::min(all.find('\n', start), all.size() - 1) + 1;
    }
    for (unsigned number = 1; number <= file.line_starts.size(); number++) {
        const Line line{file.line(number), {&file, number, 0}};
        if (well_formed(line))
            this->line(line);
        else if (!line.text.empty() && kBlanks.find(line.text[0]) == std::string_view::npos)
            where_ = Where::skip; // it may have been the head of a section
    }
    stack_.pop_back();
    where_ = Where::none;
    none_because_ = "a setting needs a section above it: an include ends the one before";
}

bool Reader::well_formed(const Line& line) {
    if (line.text.size() > kMaxLineSize) {
        report_.error(line.at, fmt::format("the line has {} bytes; {} are the most",
                                           line.text.size(), kMaxLineSize));
        return false;
    }
    for (std::size_t i = 0; i < line.text.size(); i++) {
        const unsigned char c = static_cast<unsigned char>(line.text[i]);
        if ((c >= 0x20 && c != 0x7f) || c == '\t')
            continue;
        report_.error(line.place(i), c == 0 ? "the line holds a NUL byte"
                                            : fmt::format("the line holds a control character "
                                                          "(0x{:02x})",
                                                          c));
        return false;
    }
    return true;
}

void Reader::line(const Line& line) {
    const std::string_view content = trim(line.text);
    if (content.empty() || content[0] == '#')
        return;
    if (kBlanks.find(line.text[0]) == std::string_view::npos)
        header(line);
    else if (where_ != Where::skip)
        setting(line);
}

void Reader::header(const Line& line) {
    const Where before = std::exchange(where_, Where::skip); // until a section is open
    std::string_view content = line.text;
    const std::string_view word = content.substr(0, content.find_first_of(" \t#"));
    const std::string_view after = trim(content.substr(word.size()));
    const std::string_view rest = trim(after.substr(0, after.find('#')));
    if (word == "config")
        config_header(line, rest);
    else if (word == "conn")
        conn_header(line, word, rest);
    else if (word == "include")
        include(line, word, after);
    else if (word == "ca")
        report_.error(line.at, "'ca' sections are strongSwan's; here rightca= names a CA");
    else if (word == "version")
        report_.error(line.at, "encsync's configuration has no version line");
    else if (content.find('=') != std::string_view::npos)
        misplaced_setting(line, before);
    else
        report_.error(line.at, fmt::format("unknown section '{}'", word),
                      did_you_mean(nearest(word, kLineWords)));
}

// The intention is clear, so the section continues.
void Reader::misplaced_setting(const Line& line, Where before) {
    report_.error(line.at, "a setting must begin with a blank or a tab");
    where_ = before == Where::section ? before : Where::skip;
    if (where_ == Where::section)
        setting(line);
}

void Reader::config_header(const Line& line, std::string_view name) {
    if (name != "setup") {
        report_.error(name.empty() ? line.at : line.place(name),
                      "the only section of this kind is 'config setup'");
        return;
    }
    for (const Section& other : document_.sections)
        if (other.kind == SectionKind::setup) {
            report_.error(line.at, fmt::format("'config setup' is already there on {}",
                                               describe(other.at, line.at)));
            break;
        }
    open(SectionKind::setup, {}, line.at);
}

void Reader::conn_header(const Line& line, std::string_view word, std::string_view name) {
    if (name.empty()) {
        report_.error(line.place(word.size()), "'conn' needs a name");
        return;
    }
    const Place at = line.place(name);
    std::string ignored;
    if (name[0] == '%' && name != "%default") {
        const std::array<std::string_view, 1> known = {"%default"};
        report_.error(at, fmt::format("unknown special conn '{}'", name),
                      did_you_mean(nearest(name, known)));
        return;
    }
    if (name != "%default")
        if (const Verdict problem = read_name(name, ignored)) {
            report_.error(line.place(at.offset + problem->offset), problem->message, problem->hint);
            return;
        }
    for (const Section& other : document_.sections)
        if (other.kind == SectionKind::conn && other.name == name) {
            report_.error(
                at, fmt::format("conn {} is already there on {}", name, describe(other.at, at)));
            break;
        }
    open(SectionKind::conn, name, at);
}

void Reader::open(SectionKind kind, std::string_view name, const Place& at) {
    if (document_.sections.size() == kMaxSections) {
        report_.error(at, fmt::format("more than {} sections", kMaxSections));
        return;
    }
    document_.sections.push_back({kind, name, at, {}});
    where_ = Where::section;
}

void Reader::include(const Line& line, std::string_view word, std::string_view rest) {
    none_because_ = "a setting needs a section above it: an include ends the one before";
    if (rest.empty() || rest[0] == '#') {
        report_.error(line.place(word.size()), "'include' needs a file name");
        return;
    }
    const std::optional<std::string_view> pattern = value(line, rest);
    if (!pattern)
        return;
    where_ = Where::none;
    const Place at = line.place(*pattern);
    if (stack_.size() > kMaxIncludeDepth) {
        report_.error(at, fmt::format("includes are nested more than {} deep", kMaxIncludeDepth));
        return;
    }
    for (const std::string& path : environment_.expand(std::string(*pattern), line.at.file->name))
        include_file(at, path);
}

void Reader::include_file(const Place& at, const std::string& path) {
    const auto same = [&](const SourceFile* file) { return file->name == path; };
    const auto first = std::find_if(stack_.begin(), stack_.end(), same);
    if (first != stack_.end()) {
        std::string way;
        for (auto file = first; file != stack_.end(); file++)
            way += (*file)->name + " -> ";
        report_.error(at, fmt::format("the include is a loop: {}{}", way, path));
        return;
    }
    if (document_.files.size() >= kMaxFiles) {
        report_.error(at, fmt::format("more than {} files are included", kMaxFiles - 1));
        return;
    }
    Result<std::string> text = environment_.read(path);
    if (!text)
        report_.error(at, fmt::format("cannot read {}: {}", path, text.error().text));
    else if (text->size() > kMaxFileSize)
        report_.error(at, fmt::format("{} has more than {} bytes", path, kMaxFileSize));
    else
        file(path, std::move(*text));
}

void Reader::setting(const Line& line) {
    const std::string_view content = trim(line.text);
    const std::string_view before_comment = content.substr(0, content.find('#'));
    const std::size_t equals = before_comment.find('=');
    if (equals == std::string_view::npos) {
        const std::string_view word = content.substr(0, content.find_first_of(kBlanks));
        const bool header =
            std::find(kLineWords.begin(), kLineWords.end(), word) != kLineWords.end();
        report_.error(line.place(content), "expected keyword=value",
                      header ? fmt::format("'{}' must stand at the very start of its line", word)
                             : std::string());
        return;
    }
    const std::string_view key = trim(content.substr(0, equals));
    if (where_ == Where::none) {
        report_.error(line.place(content), std::string(none_because_));
        where_ = Where::skip;
        return;
    }
    if (key.empty()) {
        report_.error(line.place(content), "no keyword before '='");
        return;
    }
    const std::string_view rest = trim(content.substr(equals + 1));
    if (rest.empty() || rest[0] == '#') {
        report_.error(line.place(content.substr(equals)), fmt::format("'{}' has no value", key));
        add(line, key, std::nullopt);
        return;
    }
    add(line, key, value(line, rest));
}

void Reader::add(const Line& line, std::string_view key, std::optional<std::string_view> value) {
    Entry entry{key, value.value_or(key), line.place(key), {}, !value};
    entry.value_at = line.place(entry.value);
    document_.sections.back().entries.push_back(entry);
}

std::optional<std::string_view> Reader::value(const Line& line, std::string_view rest) {
    if (rest[0] != '"') {
        const std::string_view plain = trim(rest.substr(0, rest.find('#')));
        const std::size_t quote = plain.find('"');
        if (quote == std::string_view::npos)
            return plain;
        report_.error(line.place(plain.substr(quote)), "quotes must enclose the whole value");
        return std::nullopt;
    }
    const std::size_t end = rest.find('"', 1);
    if (end == std::string_view::npos) {
        report_.error(line.place(rest), "the quote is not closed");
        return std::nullopt;
    }
    const std::string_view after = trim(rest.substr(end + 1));
    if (!after.empty() && after[0] != '#') {
        report_.error(line.place(after), "quotes must enclose the whole value");
        return std::nullopt;
    }
    const std::string_view inside = rest.substr(1, end - 1);
    if (trim(inside).empty()) {
        report_.error(line.place(rest), "the value is empty");
        return std::nullopt;
    }
    return trim(inside);
}

} // namespace

void read_document(std::string_view text, const std::string& filename, Environment& environment,
                   Document& document, Report& report) {
    Reader(environment, document, report).file(filename, std::string(text));
}

} // namespace encsync::config
