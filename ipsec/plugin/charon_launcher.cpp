// SPDX-License-Identifier: ISC
#include "ipsec/plugin/charon_launcher.hpp"

#include "ipsec/plugin/charon_filter.hpp"
#include "ipsec/plugin/charon_user.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <span>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace encsync::supervisor {
namespace {

// Large enough for a burst: IKE datagrams of some kilobytes, and SAs of all peers at once.
constexpr int kChannelBuffer = 4 << 20;
constexpr int kChannelFd = 3;     // in the child
constexpr int kPatience = 10'000; // ms; the launcher answers much faster

constexpr const char* kRun = "/run";
constexpr const char* kDir = "/run/encsync";
constexpr const char* kCharon = "/run/encsync/charon";
constexpr const char* kPlugin = "/run/encsync/libstrongswan-encsync.so";
constexpr const char* kConfig = "/run/encsync/strongswan.conf";

Error failed(std::string_view what) {
    return Error{fmt::format("{}: {}", what, std::strerror(errno))};
}

// Everything the child needs, prepared before the fork: after it, only system calls.
struct Plan {
    const char* charon;
    const char* plugin;
    std::string config;
    uid_t uid;
    gid_t gid;
    int socket, output, null;
    pid_t parent;
};

// Reports the failure on stderr and exits. Only async-signal-safe calls.
[[noreturn]] void give_up(const char* what) {
    const char* why = ::strerrordesc_np(errno);
    for (const char* part : {"charon cannot be started: ", what, ": ", why})
        if (part && ::write(STDERR_FILENO, part, std::strlen(part)) < 0)
            break;
    ::_exit(126);
}

void must(bool ok, const char* what) {
    if (!ok)
        give_up(what);
}

void write_file(const char* path, const std::string& text) {
    const int fd = ::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    must(fd >= 0, path);
    must(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), path);
    ::close(fd);
}

// Puts a file that was opened before /run was hidden into our own /run.
void bind(int file, const char* path) {
    write_file(path, {});
    char source[] = "/proc/self/fd/0000000000";
    char* digits = source + std::strlen("/proc/self/fd/");
    for (int i = 9, n = file; i >= 0; i--, n /= 10)
        digits[i] = static_cast<char>('0' + n % 10);
    while (*digits == '0' && digits[1] != '\0')
        std::memmove(digits, digits + 1, std::strlen(digits));
    must(::mount(source, path, nullptr, MS_BIND, nullptr) == 0, path);
    ::close(file);
}

// A /run that only charon sees: charon does not start if its pid file exists there. The plugin is
// mounted there too, as the user may not be able to enter the plugin's directory. So is charon
// itself: Debian's AppArmor profile applies to the path /usr/lib/ipsec/charon, allows what we have
// just removed, and forbids reading the files here.
void furnish(const Plan& plan) {
    must(::unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC) == 0, "unshare");
    must(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "mount /");
    const int charon = ::open(plan.charon, O_PATH | O_CLOEXEC);
    must(charon >= 0, plan.charon);
    const int plugin = ::open(plan.plugin, O_PATH | O_CLOEXEC);
    must(plugin >= 0, plan.plugin);
    must(::mount("tmpfs", kRun, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=256k,mode=0755") ==
             0,
         "mount /run");
    must(::mkdir(kDir, 0755) == 0, kDir);
    write_file(kConfig, plan.config);
    bind(charon, kCharon);
    bind(plugin, kPlugin);
    // Last: without CAP_DAC_OVERRIDE, we cannot access files of other users either.
    must(::chown(kRun, plan.uid, plan.gid) == 0, "chown /run");
}

void drop_privileges(const Plan& plan) {
    for (int cap = 0; ::prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        must(::prctl(PR_CAPBSET_DROP, cap) == 0, "drop capabilities");
    must(::setgroups(0, nullptr) == 0, "setgroups");
    must(::setresgid(plan.gid, plan.gid, plan.gid) == 0, "setgid");
    must(::setresuid(plan.uid, plan.uid, plan.uid) == 0, "setuid");
    must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    must(filter_charon(), "seccomp");
    const rlimit none{0, 0};
    must(::setrlimit(RLIMIT_CORE, &none) == 0, "RLIMIT_CORE");
    // After setuid, which would clear it. If our parent died before this, we have another parent
    // now.
    must(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PDEATHSIG");
    if (::getppid() != plan.parent)
        ::_exit(126);
}

// ---- messages between encsyncd and the launcher --------------------------------------------

// The packets on the socket, some with descriptors attached.
enum class Word : std::uint8_t {
    launch, // with channel and output: start a charon with these
    kill,   // the running charon
    ready,  // the launcher can start a charon
    born,   // charon was started; with its pidfd
    ended,  // charon has ended; with its wait status
    failed, // with errno and what has failed
};
struct Packet {
    Word word;
    pid_t pid = -1;
    int status = 0; // of wait(2), or errno
    char what[64] = {};
};

constexpr std::size_t kMostFds = 2;

struct Mail {
    Packet packet{};
    std::array<int, kMostFds> fds{-1, -1};
};

// Async-signal-safe, as everything between fork and exec must be.
bool post(int socket, const Packet& packet, std::span<const int> fds = {}) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostFds)> control{};
    iovec data{const_cast<Packet*>(&packet), sizeof packet};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    ssize_t sent;
    do
        sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == sizeof packet;
}

bool take(int socket, Mail& mail) {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostFds)> control{};
    iovec data{&mail.packet, sizeof mail.packet};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t got;
    do
        got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    mail.fds.fill(-1);
    if (const cmsghdr* header = got >= 0 ? CMSG_FIRSTHDR(&message) : nullptr;
        header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        std::memcpy(mail.fds.data(), CMSG_DATA(header),
                    std::min<std::size_t>(header->cmsg_len - CMSG_LEN(0), sizeof mail.fds));
    return got == sizeof mail.packet;
}

bool readable(int fd, int timeout) {
    pollfd wait{fd, POLLIN, 0};
    int n;
    do
        n = ::poll(&wait, 1, timeout);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

// ---- in the launcher -----------------------------------------------------------------------

[[noreturn]] void become_charon(const Plan& plan, int channel, int output, pid_t launcher) {
    ::dup2(output, STDERR_FILENO);
    // If the launcher died before this, we have another parent now.
    must(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PDEATHSIG");
    if (::getppid() != launcher)
        ::_exit(126);
    // From spare numbers first, so that none is overwritten before it is copied.
    channel = ::fcntl(channel, F_DUPFD, 10);
    const int null = ::fcntl(plan.null, F_DUPFD, 10);
    must(channel >= 0 && null >= 0 && ::dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 &&
             ::dup2(channel, kChannelFd) >= 0 && ::dup2(null, STDIN_FILENO) >= 0,
         "descriptors");
    must(::syscall(SYS_close_range, kChannelFd + 1, ~0U, 0) == 0, "close_range");
    // A killed charon leaves it behind, and the next one would not start.
    ::unlink("/run/charon.pid");

    const std::array<const char*, 3> argv{"charon", "--use-syslog", nullptr};
    static constexpr char kPreload[] = "LD_PRELOAD=/run/encsync/libstrongswan-encsync.so";
    static constexpr char kConf[] = "STRONGSWAN_CONF=/run/encsync/strongswan.conf";
    // charon looks for a plugin among the loaded libraries first, and otherwise only in the
    // system's plugin directory.
    const std::array<const char*, 5> envp{"PATH=/usr/sbin:/usr/bin", kPreload, kConf,
                                          "ENCSYNC_CHANNEL=3", nullptr};
    ::execve(kCharon, const_cast<char* const*>(argv.data()), const_cast<char* const*>(envp.data()));
    give_up(plan.charon);
}

// Returns when charon has ended, by itself or on encsyncd's order. If encsyncd ends, so do both.
void look_after(const Plan& plan, pid_t charon, int pidfd) {
    for (;;) {
        std::array<pollfd, 2> wait{{{pidfd, POLLIN, 0}, {plan.socket, POLLIN, 0}}};
        if (::poll(wait.data(), wait.size(), -1) < 0)
            continue;
        if (wait[0].revents != 0) {
            Packet ended{Word::ended, charon};
            if (::waitpid(charon, &ended.status, 0) == charon)
                post(plan.socket, ended);
            return;
        }
        Mail mail;
        if (wait[1].revents != 0 && !take(plan.socket, mail)) {
            ::kill(charon, SIGKILL);
            ::waitpid(charon, nullptr, 0);
            ::_exit(0);
        }
        if (wait[1].revents != 0 && mail.packet.word == Word::kill)
            ::kill(charon, SIGKILL);
    }
}

void fail(int socket, const char* what) {
    Packet failed{Word::failed, -1, errno};
    std::strncpy(failed.what, what, sizeof failed.what - 1);
    post(socket, failed);
}

void launch(const Plan& plan, int channel, int output) {
    const pid_t self = ::getpid();
    const pid_t charon = ::fork();
    if (charon < 0)
        return fail(plan.socket, "fork");
    if (charon == 0)
        become_charon(plan, channel, output, self);
    ::close(channel);
    ::close(output);
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, charon, 0));
    if (pidfd < 0) {
        fail(plan.socket, "pidfd_open");
        ::kill(charon, SIGKILL);
        ::waitpid(charon, nullptr, 0);
        return;
    }
    post(plan.socket, {Word::born, charon}, {&pidfd, 1});
    look_after(plan, charon, pidfd);
    ::close(pidfd);
}

[[noreturn]] void be_launcher(const Plan& plan) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int signal = 1; signal < NSIG; signal++)
        ::signal(signal, SIG_DFL);
    ::setsid(); // a ^C at our terminal is for encsyncd to handle
    ::umask(022);
    ::prctl(PR_SET_NAME, "encsync-ike");
    ::dup2(plan.output, STDERR_FILENO);
    must(::chdir("/") == 0, "chdir");
    furnish(plan);
    drop_privileges(plan);
    // Only the socket to encsyncd stays open.
    const int line = ::fcntl(plan.socket, F_DUPFD_CLOEXEC, 10);
    must(line >= 0 && ::dup2(plan.null, STDIN_FILENO) >= 0 && ::dup2(plan.null, STDOUT_FILENO) >= 0,
         "descriptors");
    Plan own = plan;
    own.socket = ::dup2(line, kChannelFd);
    own.null = STDIN_FILENO;
    must(own.socket >= 0 && ::syscall(SYS_close_range, kChannelFd + 1, ~0U, 0) == 0 &&
             ::dup2(own.null, STDERR_FILENO) >= 0,
         "descriptors");
    post(own.socket, {Word::ready});
    for (Mail mail; take(own.socket, mail);)
        if (mail.packet.word == Word::launch)
            launch(own, mail.fds[0], mail.fds[1]);
    ::_exit(0);
}

bool non_blocking(int fd) {
    return ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

void enlarge(int fd) {
    for (const int option : {SO_SNDBUFFORCE, SO_RCVBUFFORCE})
        ::setsockopt(fd, SOL_SOCKET, option, &kChannelBuffer, sizeof kChannelBuffer);
}

} // namespace

Result<CharonLauncher> CharonLauncher::open(const CharonOptions& options) {
    if (::geteuid() != 0)
        return Error{"only root can start charon in a namespace of its own"};
    if (::access(options.charon.c_str(), X_OK) != 0)
        return failed(fmt::format("{} (Debian package strongswan-charon)", options.charon));
    if (::access(options.plugin.c_str(), R_OK) != 0)
        return failed(options.plugin);
    const auto user = charon_user(options.user);
    if (!user)
        return user.error();

    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return failed("socketpair");
    CharonLauncher launcher;
    launcher.socket_.reset(pair[0]);
    Fd theirs(pair[1]);
    int output[2];
    if (::pipe2(output, O_CLOEXEC) != 0)
        return failed("pipe");
    const Fd words(output[0]);
    Fd their_output(output[1]);
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null)
        return failed("/dev/null");
    const Plan plan{options.charon.c_str(),
                    options.plugin.c_str(),
                    charon_config(options),
                    user->uid,
                    user->gid,
                    theirs.get(),
                    their_output.get(),
                    null.get(),
                    ::getpid()};
    launcher.pid_ = ::fork();
    if (launcher.pid_ < 0)
        return failed("fork");
    if (launcher.pid_ == 0)
        be_launcher(plan);
    theirs.reset();
    their_output.reset();
    if (Mail mail; readable(launcher.socket_.get(), kPatience) &&
                   take(launcher.socket_.get(), mail) && mail.packet.word == Word::ready)
        return launcher;
    std::array<char, 200> text{};
    if (!readable(words.get(), 0) || ::read(words.get(), text.data(), text.size() - 1) <= 0)
        return Error{"charon's launcher does not come up"};
    return Error{text.data()};
}

CharonLauncher::CharonLauncher(CharonLauncher&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::move(other.socket_)) {}

// Closing the socket ends the launcher and charon.
CharonLauncher::~CharonLauncher() {
    socket_.reset();
    if (pid_ > 0)
        ::waitpid(pid_, nullptr, 0);
}

Result<CharonProcess> CharonLauncher::launch() {
    int pair[2], output[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return failed("socketpair");
    CharonProcess process;
    process.channel.reset(pair[0]);
    const Fd theirs(pair[1]);
    if (::pipe2(output, O_CLOEXEC) != 0)
        return failed("pipe");
    process.stderr_.reset(output[0]);
    const Fd their_output(output[1]);
    if (!non_blocking(process.channel.get()) || !non_blocking(process.stderr_.get()))
        return failed("descriptors for charon");
    enlarge(process.channel.get());
    enlarge(theirs.get());

    const std::array fds{theirs.get(), their_output.get()};
    if (!post(socket_.get(), {Word::launch}, fds))
        return failed("charon's launcher is gone");
    Mail mail;
    if (!readable(socket_.get(), kPatience) || !take(socket_.get(), mail))
        return Error{"charon's launcher is gone"};
    process.pidfd.reset(mail.fds[0]);
    if (mail.packet.word != Word::born || !process.pidfd)
        return Error{fmt::format("{}: {}", mail.packet.what, std::strerror(mail.packet.status))};
    process.pid = mail.packet.pid;
    return process;
}

void CharonLauncher::kill() {
    post(socket_.get(), {Word::kill});
}

std::optional<int> CharonLauncher::wait() {
    Mail mail;
    while (readable(socket_.get(), kPatience) && take(socket_.get(), mail))
        if (mail.packet.word == Word::ended)
            return mail.packet.status;
    return std::nullopt;
}

} // namespace encsync::supervisor
