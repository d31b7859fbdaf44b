// SPDX-License-Identifier: ISC
#include "cli/doctor.hpp"
#include "cli/key_place.hpp"
#include "cli/render.hpp"
#include "cli/socket_address.hpp"
#include "cli/verbs.hpp"
#include "config/config.hpp"
#include "config/disk.hpp"
#include "config/options.hpp"
#include "config/values.hpp"
#include "keys/files.hpp"
#include "keys/store.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <netdb.h>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace encsync::cli {

namespace {

namespace json = boost::json;
using Check = std::function<config::Verdict(const std::string& answer)>;

constexpr std::size_t kMaxAnswer = 200; // characters

// A line of standard input, without the blanks around it; none: it has ended. Byte by byte, as what
// follows may be for the pairing.
std::optional<std::string> read_line() {
    constexpr std::string_view blanks = " \t\r";
    std::string line;
    char byte = 0;
    for (;;) {
        const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 && line.empty())
            return std::nullopt;
        if (got <= 0 || byte == '\n')
            break;
        if (line.size() < kMaxAnswer) // what is too long is no good answer anyway
            line += byte;
    }
    line.erase(0, std::min(line.find_first_not_of(blanks), line.size()));
    line.erase(line.find_last_not_of(blanks) + 1);
    return line;
}

std::string describe(const config::Problem& problem) {
    return problem.message + (problem.hint.empty() ? "" : "; " + problem.hint);
}

struct Question {
    const char* option;
    const char* text;
    const std::string& given; // empty: to be asked
    std::string usual;        // empty: there is none
    Check check;
};

// What was given, or is answered; without a terminal, what is usual.
Result<std::string> answer_to(const Question& question, bool terminal) {
    if (!question.given.empty() || !terminal) {
        const std::string& answer = question.given.empty() ? question.usual : question.given;
        if (answer.empty())
            return Error{fmt::format("--{} is missing, and there is no terminal to ask on",
                                     question.option)};
        if (const auto problem = question.check(answer))
            return Error{fmt::format("--{} {}: {}", question.option, answer, describe(*problem))};
        return answer;
    }
    for (;;) {
        fmt::print("{}{}: ", question.text,
                   question.usual.empty() ? "" : fmt::format(" [{}]", question.usual));
        std::fflush(stdout);
        auto line = read_line();
        if (!line)
            return Error{"the input has ended before everything was answered; nothing was changed"};
        if (line->empty())
            *line = question.usual;
        if (line->empty())
            continue;
        const auto problem = question.check(*line);
        if (!problem)
            return *line;
        fmt::print("  {}\n", describe(*problem));
    }
}

// The address from which this machine would send to that one; empty: it has no route.
std::string own_address_towards(const config::Address& right) {
    const SocketAddress to = socket_address(right, 500);
    const Fd fd(::socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
    SocketAddress own;
    own.size = sizeof own.storage;
    char text[NI_MAXHOST] = "";
    if (!fd || ::connect(fd.get(), to.get(), to.size) != 0 ||
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own.storage), &own.size) != 0 ||
        ::getnameinfo(own.get(), own.size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
        return {};
    config::Address usable;
    return config::read_address(text, usable) ? std::string() : text;
}

config::Verdict check_name(const std::string& text) {
    std::string name;
    return config::read_name(text, name);
}

config::Verdict check_role(const std::string& text) {
    int role = 0;
    return config::read_word(text, config::find_option(config::SectionKind::setup, "role")->words,
                             role);
}

std::string keydir_of(const Options& options) {
    return options.keydir.empty() ? config::default_setup().keydir : options.keydir;
}

// Whose key there is already; empty: there is none.
std::string owner_of_key(const Options& options) {
    const auto store = keys::Store::open(keydir_of(options));
    const auto own = store ? store->own_keys() : store.error();
    return own ? own->front().name : std::string();
}

struct Answers {
    std::string node, peer, right, left, role;
};

Result<Answers> ask(const Options& options, const SetupOptions& given, bool terminal) {
    Answers out;
    const std::string owner = owner_of_key(options);
    const Check node = [&](const std::string& text) -> config::Verdict {
        if (!owner.empty() && text != owner)
            return config::Problem{
                fmt::format("the key in {} is that of '{}'", keydir_of(options), owner), 0,
                "for another name, move that directory away first"};
        return check_name(text);
    };
    config::Address right, left;
    const auto take = [&](std::string& into, const Question& question) -> Result<void> {
        auto answer = answer_to(question, terminal);
        if (!answer)
            return answer.error();
        into = std::move(*answer);
        return {};
    };
    if (auto ok = take(out.node, {"node", "Name of this firewall", given.node,
                                  owner.empty() ? config::Disk().host_name() : owner, node});
        !ok)
        return ok.error();
    const Check other = [&](const std::string& text) -> config::Verdict {
        if (text == out.node)
            return config::Problem{"that is the name of this one", 0, {}};
        return check_name(text);
    };
    if (auto ok = take(out.peer, {"peer", "Name of the other one", given.peer, "", other}); !ok)
        return ok.error();
    const Check address = [&](const std::string& text) {
        return config::read_address(text, right);
    };
    if (auto ok = take(out.right, {"right", "Its address on the network between them", given.right,
                                   "", address});
        !ok)
        return ok.error();
    const Check own = [&](const std::string& text) -> config::Verdict {
        if (auto problem = config::read_address(text, left))
            return problem;
        if (left == right)
            return config::Problem{"that is the address of the other one", 0, {}};
        if (left.ip.family != right.ip.family)
            return config::Problem{"one of them is IPv4, the other IPv6", 0, {}};
        return std::nullopt;
    };
    if (auto ok = take(out.left, {"left", "Own address there, not one that moves on a takeover",
                                  given.left, own_address_towards(right), own});
        !ok)
        return ok.error();
    if (auto ok = take(out.role, {"role", "Role: auto (keepalived says which), active or standby",
                                  given.role, "auto", check_role});
        !ok)
        return ok.error();
    return out;
}

std::string write(const Answers& answers, const std::string& keydir) {
    std::string text =
        fmt::format("# Written by 'encsync setup'. encsync.conf(5) has all options.\n"
                    "\n"
                    "config setup\n"
                    "\tnode={}\n",
                    answers.node);
    if (answers.role != "auto")
        text += fmt::format("\trole={}\n", answers.role);
    if (!keydir.empty())
        text += fmt::format("\tkeydir={}\n", keydir);
    return text + fmt::format("\n"
                              "conn {}\n"
                              "\tleft={}\n"
                              "\tright={}\n"
                              "\tauto=start\n",
                              answers.peer, answers.left, answers.right);
}

// Everything that is not good, about the firewall alone or about all else that is there before the
// first start.
std::vector<Finding> complaints(const Options& options, bool firewall) {
    std::vector<Finding> found = examine(options);
    std::erase_if(found, [firewall](const Finding& each) {
        return each.grade == Finding::Grade::good || each.about == "encsyncd" ||
               (each.about == kFirewall) != firewall;
    });
    return found;
}

void print(const std::vector<Finding>& found) {
    for (const Finding& each : found)
        fmt::print("{}: {}\n", each.about, clean(each.text));
}

bool wants_to_pair(const SetupOptions& given, const std::string& peer, bool terminal) {
    if (given.pair || !terminal)
        return given.pair;
    fmt::print("Pair with {0} now? Somebody runs 'encsync setup' or 'encsync pair' there at the "
               "same time. (yes/no) ",
               peer);
    std::fflush(stdout);
    return read_line() == "yes";
}

// Before anything is asked or made.
Result<void> check_place(const std::string& config) {
    if (::access(config.c_str(), F_OK) == 0)
        return Error{fmt::format("{}: is there already, and setup changes none; 'encsync check' "
                                 "looks at it",
                                 config)};
    // It is written there first, and somebody may have a draft there.
    if (::access((config + ".new").c_str(), F_OK) == 0)
        return Error{fmt::format("{}.new: is there already; move it away first", config)};
    const std::string folder = std::filesystem::absolute(config).parent_path();
    if (::access(folder.c_str(), W_OK | X_OK) != 0)
        return Error{fmt::format("{}: {}", folder, std::strerror(errno))};
    return {};
}

} // namespace

int setup(const Options& options, const SetupOptions& given) {
    if (const auto ok = check_place(options.config); !ok)
        return fail(ok.error().text);
    const bool terminal =
        !options.json && ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
    const auto answers = ask(options, given, terminal);
    if (!answers)
        return fail(answers.error().text);
    const std::string text = write(*answers, options.keydir);
    config::Disk disk;
    const config::Loaded loaded = config::parse(text, options.config, disk);
    if (!loaded.config) {
        const auto error = std::ranges::find(loaded.diagnostics, config::Severity::error,
                                             &config::Diagnostic::severity);
        return fail(error->message);
    }
    const auto store =
        open_or_make_store(options, loaded.config->setup, options.json ? stderr : stdout);
    if (!store)
        return fail(store.error().text);
    if (const auto written = keys::write_new(
            options.config, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
        !written)
        return fail(written.error().text);
    ::chmod(options.config.c_str(), 0644); // there is no secret in it
    if (options.json) {
        json::array found;
        for (const bool firewall : {true, false})
            for (const Finding& each : complaints(options, firewall))
                found.push_back({{"about", each.about}, {"text", each.text}});
        return print_json({{"config", options.config}, {"findings", std::move(found)}});
    }
    fmt::print("{} is written\n", options.config);
    // First, as it may keep out who is to be paired with, too.
    if (const auto firewall = complaints(options, true); !firewall.empty()) {
        print(firewall);
        fmt::print("For the time of the pairing, it must also accept TCP port {}\n",
                   given.meeting.port);
    }
    int status = 0;
    const bool pairs = wants_to_pair(given, answers->peer, terminal);
    if (pairs)
        status = pair(options, given.meeting);
    print(complaints(options, false));
    fmt::print("Next:\n{}"
               "    systemctl enable --now encsync\n"
               "    encsync status\n",
               pairs && status == 0 ? "" : "    encsync pair          on both at once\n");
    return status;
}

} // namespace encsync::cli
