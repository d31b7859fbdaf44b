// SPDX-License-Identifier: ISC
#include "import/braces.hpp"

#include <fmt/core.h>

namespace encsync::importer {

namespace {

class Parser {
  public:
    explicit Parser(std::string_view text) : text_(text) {}

    // The statements up to a '}', or at depth 0 up to the end.
    Result<std::vector<Statement>> statements(unsigned depth, unsigned opened) {
        std::vector<Statement> out;
        Statement open; // may still get words and a block
        const auto end = [&] {
            if (!open.words.empty() || open.has_block)
                out.push_back(std::move(open));
            open = {};
        };
        for (;;) {
            const bool new_line = skip();
            const bool at_end = at_ == text_.size();
            // The brace may be in the next line.
            if (new_line && (at_end || text_[at_] != '{'))
                end();
            if (at_end && depth > 0)
                return fault(opened, "this '{' is not closed");
            if (at_end) {
                end();
                return out;
            }
            if (text_[at_] == '}') {
                if (depth == 0)
                    return fault(line_, "this '}' closes nothing");
                at_++;
                end();
                return out;
            }
            if (open.words.empty())
                open.line = line_;
            if (text_[at_] == '{') {
                if (depth == kMaxDepth)
                    return fault(line_,
                                 fmt::format("braces are nested more than {} deep", kMaxDepth));
                const unsigned at = line_;
                at_++;
                auto block = statements(depth + 1, at);
                if (!block)
                    return block;
                open.has_block = true;
                open.block = std::move(*block);
                end();
            } else if (text_[at_] == '"') {
                const std::size_t close = text_.find_first_of("\"\n", at_ + 1);
                if (close == std::string_view::npos || text_[close] == '\n')
                    return fault(line_, "a quote (\") is not closed");
                open.words.emplace_back(text_.substr(at_ + 1, close - at_ - 1));
                at_ = close + 1;
            } else {
                const std::size_t close =
                    std::min(text_.find_first_of(" \t\r\n{}\"#", at_), text_.size());
                open.words.emplace_back(text_.substr(at_, close - at_));
                at_ = close;
            }
        }
    }

  private:
    // Blanks and comments. True if a line has ended.
    bool skip() {
        bool ended = false;
        for (; at_ < text_.size(); at_++) {
            const char c = text_[at_];
            if (c == '#') {
                at_ = std::min(text_.find('\n', at_), text_.size());
                if (at_ == text_.size())
                    return true;
            } else if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
                break;
            if (text_[at_] == '\n') {
                line_++;
                ended = true;
            }
        }
        return ended || at_ == text_.size();
    }

    std::string_view text_;
    std::size_t at_ = 0;
    unsigned line_ = 1;
};

} // namespace

Result<std::vector<Statement>> parse_braces(std::string_view text) {
    return Parser(text).statements(0, 0);
}

} // namespace encsync::importer
