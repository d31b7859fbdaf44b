// SPDX-License-Identifier: ISC
#include "cli/program.hpp"

#include "util/fd.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace encsync::cli {

std::string run_program(const std::string& program, const std::vector<std::string>& words, int out,
                        int errors) {
    std::vector<char*> argv;
    for (const std::string& word : words)
        argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const pid_t child = ::fork();
    if (child < 0)
        return fmt::format("cannot start it: {}", std::strerror(errno));
    if (child == 0) {
        const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (::dup2(nothing, STDIN_FILENO) < 0 || ::dup2(out, STDOUT_FILENO) < 0 ||
            ::dup2(errors, STDERR_FILENO) < 0)
            ::_exit(127);
        ::alarm(kPatience); // exec keeps it
        ::execvp(program.c_str(), argv.data());
        const std::string why = fmt::format("{}: {}\n", words.front(), std::strerror(errno));
        (void)!::write(STDERR_FILENO, why.data(), why.size());
        ::_exit(127);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? fmt::format("no end after {} s", kPatience)
                                           : fmt::format("signal {}", WTERMSIG(status));
    return fmt::format("status {}", WEXITSTATUS(status));
}

std::optional<std::string> output_of(const std::vector<std::string>& words) {
    const Fd out(::memfd_create("output", MFD_CLOEXEC)), errors(::open("/dev/null", O_WRONLY));
    if (!out || !errors ||
        run_program(words.front(), words, out.get(), errors.get()) != "status 0" ||
        ::lseek(out.get(), 0, SEEK_SET) != 0)
        return std::nullopt;
    std::string text;
    std::array<char, 65536> buffer;
    for (ssize_t size = 0; (size = ::read(out.get(), buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(size));
    return text;
}

} // namespace encsync::cli
