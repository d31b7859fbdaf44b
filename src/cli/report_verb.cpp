// SPDX-License-Identifier: ISC
// What a bug report needs, in one archive. No part reads a secret key: each is what a command
// prints that prints none, or the configuration, which only has the names of files with secrets.
#include "cli/program.hpp"
#include "cli/verbs.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace encsync::cli {

namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Part {
    const char* file;
    Words command; // the first word "encsync" stands for this program, with its options
};

const std::array kParts{
    Part{"doctor.txt", {"encsync", "doctor"}},
    Part{"check.txt", {"encsync", "check", "--live"}},
    Part{"status.json", {"encsync", "status", "--json"}},
    Part{"peers.json", {"encsync", "peers", "--json"}},
    Part{"sas.json", {"encsync", "sas", "--json"}},
    Part{"policy.txt", {"encsync", "policy", "show"}},
    Part{"policy-verify.txt", {"encsync", "policy", "verify"}},
    Part{"metrics.txt", {"encsync", "metrics"}},
    Part{"keys.json", {"encsync", "keys", "status", "--json"}},
    Part{"keys-log.txt", {"encsync", "keys", "log"}},
    Part{"version.txt", {"encsync", "--version"}},
    Part{"log.txt",
         {"journalctl", "--unit=encsync.service", "--lines=5000", "--output=short-iso",
          "--no-pager"}},
    Part{"packages.txt",
         {"dpkg-query", "--show", "strongswan*", "libstrongswan*", "libssl3*", "libsodium23",
          "nftables", "conntrack", "conntrackd", "keepalived", "linux-image*"}},
    Part{"kernel.txt", {"uname", "-a"}},
    Part{"addresses.txt", {"ip", "-details", "-statistics", "address"}},
    Part{"routes.txt", {"ip", "route", "show", "table", "all"}},
    Part{"rules.txt", {"nft", "list", "table", "inet", "encsync"}},
    Part{"netfilter.txt", {"sysctl", "--all", "--pattern", "^net\\.netfilter\\."}},
};

Error failed(const std::string& what) {
    return Error{fmt::format("{}: {}", what, std::strerror(errno))};
}

// A folder that is gone at the end.
class Scratch {
  public:
    static Result<Scratch> make() {
        std::string path = fs::temp_directory_path() / "encsync-report-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr)
            return failed(path);
        return Scratch(std::move(path));
    }
    Scratch(Scratch&& other) noexcept : path_(std::exchange(other.path_, {})) {}
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    Scratch& operator=(Scratch&&) = delete;
    ~Scratch() {
        std::error_code ignored;
        if (!path_.empty())
            fs::remove_all(path_, ignored);
    }
    const std::string& path() const { return path_; }

  private:
    explicit Scratch(std::string path) : path_(std::move(path)) {}
    std::string path_;
};

// Of this very command, also if another one is the first in the PATH.
Words own_words(const Options& options, const Words& verb) {
    Words words{"encsync", "--run-dir", options.run_dir};
    if (options.config_given) // the default need not exist
        words.insert(words.end(), {"--config", options.config});
    words.insert(words.end(), verb.begin() + 1, verb.end());
    if (!options.keydir.empty() && verb[1] == "keys")
        words.insert(words.end(), {"--keydir", options.keydir});
    return words;
}

Result<void> collect(const Options& options, const fs::path& folder) {
    std::ofstream contents(folder / "contents.txt");
    for (const Part& part : kParts) {
        const bool own = part.command.front() == "encsync";
        const Words words = own ? own_words(options, part.command) : part.command;
        const Fd out(
            ::open((folder / part.file).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!out)
            return failed(folder / part.file);
        const std::string end =
            run_program(own ? "/proc/self/exe" : words.front(), words, out.get(), out.get());
        contents << fmt::format("{}: {}: {}\n", part.file, fmt::join(words, " "), end);
    }
    for (const std::string& file : {options.config, std::string("/etc/os-release")}) {
        std::error_code error;
        fs::copy_file(file, folder / fs::path(file).filename(), error);
        contents << fmt::format("{}: {}: {}\n", fs::path(file).filename().string(), file,
                                error ? error.message() : "copied");
    }
    if (!contents.flush())
        return failed(folder / "contents.txt");
    return {};
}

Result<void> pack(const Scratch& scratch, const std::string& name, const std::string& file) {
    const Fd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!out)
        return failed(file);
    const std::string end =
        run_program("tar", {"tar", "--create", "--gzip", "--directory", scratch.path(), name},
                    out.get(), STDERR_FILENO);
    struct stat made {};
    if (end == "status 0" && ::fstat(out.get(), &made) == 0 && made.st_size > 0)
        return {};
    ::unlink(file.c_str());
    return Error{fmt::format("{}: tar: {}", file, end)};
}

} // namespace

int report(const Options& options, const std::string& file) {
    const auto scratch = Scratch::make();
    if (!scratch)
        return fail(scratch.error().text);
    const std::string name = fmt::format(
        "encsync-report-{:%Y%m%d-%H%M%S}",
        fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
    const fs::path folder = fs::path(scratch->path()) / name;
    if (::mkdir(folder.c_str(), 0700) != 0)
        return fail(failed(folder).text);
    if (const auto ok = collect(options, folder); !ok)
        return fail(ok.error().text);
    const std::string to = file.empty() ? name + ".tar.gz" : file;
    if (const auto ok = pack(*scratch, name, to); !ok)
        return fail(ok.error().text);
    if (options.json)
        return print_json({{"file", to}});
    fmt::print(
        "{}: no secret key is in it, but addresses and names are: read it before you pass it "
        "on{}\n",
        to, ::geteuid() == 0 ? "" : ". Not root: what only root may read is missing");
    return 0;
}

} // namespace encsync::cli
