// SPDX-License-Identifier: ISC
// also=: which sections a conn inherits from, and in which order.
#pragma once

#include "config/grammar.hpp"

#include <map>

namespace encsync::config {

// The first section of that name; a second one was refused. nullptr: none.
const Section* find_conn(const Document& document, std::string_view name);

class Inheritance {
  public:
    // Reports each also= that names nothing, itself, %default or a loop.
    Inheritance(const Document& document, Report& report);

    // If there are loops, the ancestors of all sections are undefined.
    bool has_loops() const { return loops_; }

    // The section itself, then the sections that it inherits from, the strongest first, %default
    // last. Of several also= the last is strongest; a section that is inherited in two ways counts
    // where it comes last. Both are strongSwan's rules.
    std::vector<const Section*> order(const Section& section);

  private:
    void check(const Section& section, Report& report);
    void check_loop(const Section& section, Report& report);
    const std::vector<const Section*>& ancestors(const Section& section);

    const Document& document_;
    std::map<const Section*, std::vector<std::pair<const Section*, const Entry*>>> parents_;
    std::map<const Section*, std::vector<const Section*>> ancestors_;
    bool loops_ = false;
};

} // namespace encsync::config
