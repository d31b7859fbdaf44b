// SPDX-License-Identifier: ISC
#include "cli/passphrase.hpp"

#include "keys/files.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <unistd.h>

namespace encsync::cli {

namespace {

// With a handler, the signal interrupts ppoll(2), and then the terminal is restored before the
// signal does what it would have done. Outside of it they are blocked, so that none comes between
// the question and the wait for an answer.
constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
volatile std::sig_atomic_t caught = 0;

class Silence {
  public:
    Silence() {
        caught = 0;
        sigset_t blocked;
        ::sigemptyset(&blocked);
        for (const int signal : kSignals)
            ::sigaddset(&blocked, signal);
        ::sigprocmask(SIG_BLOCK, &blocked, &mask_);
        struct sigaction note {};
        note.sa_handler = [](int signal) { caught = signal; };
        for (std::size_t n = 0; n < kSignals.size(); n++)
            ::sigaction(kSignals[n], &note, &before_[n]);
        good_ = ::tcgetattr(STDIN_FILENO, &loud_) == 0;
        termios silent = loud_;
        silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL);
        good_ = good_ && ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
    }
    Silence(const Silence&) = delete;
    Silence& operator=(const Silence&) = delete;
    ~Silence() {
        while (good_ && ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &loud_) != 0 && errno == EINTR)
            ;
        for (std::size_t n = 0; n < kSignals.size(); n++)
            ::sigaction(kSignals[n], &before_[n], nullptr);
        ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
    }
    // As it was before.
    const sigset_t& mask() const { return mask_; }
    bool good() const { return good_; }

  private:
    termios loud_{};
    sigset_t mask_{};
    std::array<struct sigaction, kSignals.size()> before_{};
    bool good_ = false;
};

// One line into `into`; the size, without the line end. None: errno, or `caught`, says why.
std::optional<std::size_t> read_line(MutableBytes into, const sigset_t& mask) {
    std::size_t size = 0;
    for (;;) {
        std::uint8_t byte = 0;
        pollfd input{STDIN_FILENO, POLLIN, 0};
        if (::ppoll(&input, 1, nullptr, &mask) < 0) {
            if (errno == EINTR && caught == 0)
                continue;
            return std::nullopt;
        }
        const ssize_t got = ::read(STDIN_FILENO, &byte, 1);
        if (got < 0)
            return std::nullopt;
        if (got == 0 || byte == '\n')
            return size;
        if (size < into.size())
            into[size++] = byte;
        ::explicit_bzero(&byte, 1);
    }
}

} // namespace

Result<std::optional<keys::Passphrase>> ask_passphrase(const std::string& prompt) {
    if (::isatty(STDIN_FILENO) == 0)
        return std::optional<keys::Passphrase>();
    no_core_dumps();
    for (;;) {
        keys::Passphrase passphrase;
        std::optional<std::size_t> size;
        int error = 0;
        {
            const Silence silence;
            if (!silence.good())
                return Error{fmt::format("the terminal's echo cannot be switched off: {}",
                                         std::strerror(errno))};
            std::fputs(prompt.c_str(), stderr);
            size = read_line(passphrase.room(), silence.mask());
            error = errno;
            std::fputc('\n', stderr);
        }
        if (caught != 0) {
            ::raise(caught); // ends us, or stops us for a while
            continue;
        }
        if (!size)
            return Error{fmt::format("the terminal: {}", std::strerror(error))};
        if (*size == 0)
            return Error{"no passphrase was given"};
        if (*size > keys::kMaxPassphrase)
            return Error{fmt::format("a passphrase has {} bytes at most", keys::kMaxPassphrase)};
        passphrase.set_size(*size);
        return std::optional(std::move(passphrase));
    }
}

Result<keys::Passphrase> new_passphrase(const std::string& file, const std::string& what,
                                        const std::string& option) {
    no_core_dumps();
    if (!file.empty()) {
        auto read = keys::read_passphrase(file);
        if (read)
            if (auto ok = keys::check_new(*read); !ok)
                return Error{fmt::format("{}: {}", file, ok.error().text)};
        return read;
    }
    auto first = ask_passphrase(fmt::format("New passphrase of {}: ", what));
    if (!first)
        return first.error();
    if (!*first)
        return Error{fmt::format("standard input is no terminal: {} names a file with the "
                                 "passphrase of {}",
                                 option, what)};
    if (auto ok = keys::check_new(**first); !ok)
        return ok.error();
    auto second = ask_passphrase("Again: ");
    if (!second)
        return second.error();
    if (!*second || !(**first == **second))
        return Error{"the two are not the same"};
    return std::move(**first);
}

void no_core_dumps() {
    ::prctl(PR_SET_DUMPABLE, 0);
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
}

} // namespace encsync::cli
