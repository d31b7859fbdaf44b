// SPDX-License-Identifier: ISC
#include "cli/completion.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>
#include <vector>

namespace encsync::cli {

namespace {

// Both shells get their candidates, one a line with a tab before its description, from the same
// function; it is given the words that are complete. Nothing: a file, as a value or an argument.
constexpr std::string_view kCandidates = R"sh(_encsync_conns() {{
    sed -n 's/^conn[[:space:]]\{{1,\}}\([^[:space:]#%]\{{1,\}}\).*/\1/p' "$1" 2>/dev/null
}}

_encsync_candidates() {{
    local at=encsync before='' config={config} word
    for word in "$@"; do
        case "$at $word" in
        {verbs}) at="$at $word" ;;
        esac
        [ "$before" != --config ] || config=$word
        before=$word
    done
    case "$at $before" in
{values}    esac
    case $at in
{words}    esac
}}
)sh";

constexpr std::string_view kBash = R"sh(# bash completion of encsync: encsync completion bash

{candidates}
_encsync() {{
    local IFS=$'\n' # candidates are lines
    COMPREPLY=($(compgen -W "$(_encsync_candidates "${{COMP_WORDS[@]:1:COMP_CWORD-1}}" | cut -f 1)" \
        -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _encsync encsync
)sh";

constexpr std::string_view kZsh = R"sh(#compdef encsync
# zsh completion of encsync: encsync completion zsh

{candidates}
_encsync() {{
    local -a candidates
    candidates=(${{(f)"$(_encsync_candidates "${{(@)words[2,CURRENT-1]}}" |
        sed -e 's/:/\\:/g' -e $'s/\t/:/')"}})
    if (( $#candidates )); then
        _describe encsync candidates
    else
        _files
    fi
}}
_encsync "$@"
)sh";

std::string shell_word(std::string_view text) {
    std::string out = "'";
    for (const char c : text)
        out += c == '\'' ? std::string(R"('\'')") : std::string(1, c);
    return out + "'";
}

// "TEXT:{active,standby,auto}" is how CLI11 describes what an option may be.
std::vector<std::string> members(const CLI::Option& option) {
    const std::string type = option.get_type_name();
    const auto open = type.find('{'), close = type.rfind('}');
    if (open == std::string::npos || close == std::string::npos || close < open)
        return {};
    return CLI::detail::split(type.substr(open + 1, close - open - 1), ',');
}

bool names_a_conn(const CLI::Option& option) {
    constexpr std::array<std::string_view, 5> names = {"peer", "without", "PEER", "CONN", "NAME"};
    const std::string name =
        option.get_lnames().empty() ? option.get_name(true) : option.get_lnames().front();
    return std::ranges::find(names, name) != names.end();
}

// Commands that print what an option or an argument may be.
std::string printed_values(const CLI::Option& option) {
    if (names_a_conn(option))
        return "_encsync_conns \"$config\"";
    std::string words;
    for (const std::string& word : members(option))
        words += " " + shell_word(word);
    return words.empty() ? "" : "printf '%s\\n'" + words;
}

struct Script {
    std::string verbs;  // a pattern of all paths
    std::string values; // by the path and the option before
    std::string words;  // by the path
};

void add_word(std::string& to, const std::string& word, const std::string& about) {
    const std::string line = about.substr(0, about.find('\n'));
    to += fmt::format("        printf '%s\\t%s\\n' {} {}\n", shell_word(word), shell_word(line));
}

// inherited: the options of the groups that it is in, which may come after it, too.
void add(Script& script, const CLI::App& app, const std::string& path,
         const std::string& inherited) {
    const auto all_apps = [](const CLI::App*) { return true; };
    const auto all_options = [](const CLI::Option*) { return true; };
    std::string words, options;
    for (const CLI::App* verb : app.get_subcommands(all_apps)) {
        script.verbs +=
            (script.verbs.empty() ? "" : " | ") + shell_word(path + " " + verb->get_name());
        add_word(words, verb->get_name(), verb->get_description());
    }
    for (const CLI::Option* option : app.get_options(all_options)) {
        const std::string values = printed_values(*option);
        if (!option->nonpositional()) {
            words += values.empty() ? "" : "        " + values + "\n";
            continue;
        }
        std::string patterns;
        const auto name = [&](const std::string& word) {
            add_word(options, word, option->get_description());
            patterns +=
                (patterns.empty() ? "" : " | ") + shell_word(path) + "*" + shell_word(" " + word);
        };
        for (const std::string& each : option->get_lnames())
            name("--" + each);
        for (const std::string& each : option->get_snames())
            name("-" + each);
        if (option->get_items_expected_max() > 0)
            script.values += fmt::format("    {}) {}{}return ;;\n", patterns, values,
                                         values.empty() ? "" : "; ");
    }
    options += inherited;
    script.words += fmt::format("    {})\n{}{}        ;;\n", shell_word(path), words, options);
    for (const CLI::App* verb : app.get_subcommands(all_apps))
        add(script, *verb, path + " " + verb->get_name(), options);
}

} // namespace

std::string completion(const CLI::App& app, Shell shell) {
    Script script;
    add(script, app, "encsync", "");
    const std::string candidates =
        fmt::format(fmt::runtime(kCandidates),
                    fmt::arg("config", shell_word(app.get_option("--config")->get_default_str())),
                    fmt::arg("verbs", script.verbs), fmt::arg("values", script.values),
                    fmt::arg("words", script.words));
    return fmt::format(fmt::runtime(shell == Shell::bash ? kBash : kZsh),
                       fmt::arg("candidates", candidates));
}

} // namespace encsync::cli
