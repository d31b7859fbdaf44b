// SPDX-License-Identifier: ISC
#include "import/shell_words.hpp"

#include <fmt/core.h>

namespace encsync::importer {

namespace {

class Splitter {
  public:
    explicit Splitter(std::string_view text) : text_(text) {}

    std::vector<Line> run_plain() {
        for (; at_ < text_.size(); at_++)
            if (!separates(text_[at_]))
                add(text_[at_], false);
        end_command();
        return std::move(lines_);
    }

    Result<std::vector<Line>> run() {
        for (; at_ < text_.size(); at_++) {
            const char c = text_[at_];
            if (separates(c))
                continue;
            if (c == '#' && !open_)
                at_ = std::min(text_.find('\n', at_), text_.size()) - 1;
            else if (c == ';')
                end_command();
            else if (c == '\'' || c == '"') {
                if (!quoted(c))
                    return fault(number_, fmt::format("a quote ({}) is not closed", c));
            } else if (c == '\\')
                escaped();
            else
                add(c, true);
        }
        end_command();
        return std::move(lines_);
    }

  private:
    // A blank or a line end, which ends a word or a line.
    bool separates(char c) {
        if (c == '\n')
            end_line();
        else if (c == ' ' || c == '\t' || c == '\r')
            end_word();
        else
            return false;
        return true;
    }
    void add(char c, bool may_expand) {
        if (!open_ && line_.words.empty()) {
            line_.number = number_;
            line_.indented = at_ > 0 && (text_[at_ - 1] == ' ' || text_[at_ - 1] == '\t');
        }
        open_ = true;
        word_.text += c;
        word_.expands = word_.expands || (may_expand && (c == '$' || c == '`'));
    }
    void end_word() {
        if (open_)
            line_.words.push_back(std::move(word_));
        word_ = {};
        open_ = false;
    }
    void end_command() {
        end_word();
        if (!line_.words.empty())
            lines_.push_back(std::move(line_));
        line_ = {};
    }
    void end_line() {
        end_command();
        number_++;
    }
    // From one quote to the next of its kind, which may be lines later. False: there is none.
    bool quoted(char quote) {
        const std::size_t end = text_.find(quote, at_ + 1);
        if (end == std::string_view::npos)
            return false;
        if (!open_ && line_.words.empty())
            line_.number = number_;
        open_ = word_.quoted = true;
        unsigned lines = 0;
        for (at_++; at_ < end; at_++) {
            lines += text_[at_] == '\n' ? 1 : 0;
            add(text_[at_], quote == '"');
        }
        number_ += lines;
        return true;
    }
    // The next character as it is; a line end behind a backslash is none.
    void escaped() {
        if (text_.substr(at_ + 1, 1) == "\r")
            at_++;
        if (++at_ >= text_.size())
            return;
        if (text_[at_] == '\n')
            number_++;
        else
            add(text_[at_], false);
    }

    std::string_view text_;
    std::size_t at_ = 0;
    unsigned number_ = 1;
    bool open_ = false; // a word has begun
    Word word_;
    Line line_;
    std::vector<Line> lines_;
};

} // namespace

Result<std::vector<Line>> shell_lines(std::string_view text) {
    return Splitter(text).run();
}

std::vector<Line> plain_lines(std::string_view text) {
    return Splitter(text).run_plain();
}

} // namespace encsync::importer
