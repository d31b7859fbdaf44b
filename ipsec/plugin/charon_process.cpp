// SPDX-License-Identifier: ISC
#include "ipsec/plugin/charon_process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace encsync::supervisor {
namespace {

// Room for a burst: IKE datagrams of some kilobytes, and SAs of all peers at once.
constexpr int kChannelBuffer = 4 << 20;
constexpr int kChannelFd = 3; // in the child

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
    int channel, output, null;
    pid_t parent;
};

// Says on the output what failed, and ends. Only async-signal-safe calls.
[[noreturn]] void give_up(const char* what) {
    const char* why = ::strerrordesc_np(errno);
    for (const char* part : {"encsync: charon cannot be started: ", what, ": ", why, "\n"})
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

// A /run that only this child sees: charon insists on its pid file there, and would refuse to
// start next to another charon. The plugin is put there too, as the user may not be able to
// enter the directory where it lies. And charon itself: Debian's AppArmor profile goes by the path
// /usr/lib/ipsec/charon, grants what we have just taken away, and forbids reading what lies here.
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
    // Last: what belongs to another is closed to us, too, without CAP_DAC_OVERRIDE.
    must(::chown(kRun, plan.uid, plan.gid) == 0, "chown /run");
}

void drop_privileges(const Plan& plan) {
    for (int cap = 0; ::prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
        must(::prctl(PR_CAPBSET_DROP, cap) == 0, "drop capabilities");
    must(::setgroups(0, nullptr) == 0, "setgroups");
    must(::setresgid(plan.gid, plan.gid, plan.gid) == 0, "setgid");
    must(::setresuid(plan.uid, plan.uid, plan.uid) == 0, "setuid");
    must(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
    const rlimit none{0, 0};
    must(::setrlimit(RLIMIT_CORE, &none) == 0, "RLIMIT_CORE");
    // After setuid, which would clear it. If we died before this, our parent is another by now.
    must(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "PDEATHSIG");
    if (::getppid() != plan.parent)
        ::_exit(126);
}

[[noreturn]] void become_charon(const Plan& plan) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int signal = 1; signal < NSIG; signal++)
        ::signal(signal, SIG_DFL);
    ::setsid(); // a ^C at our terminal is for us to handle
    ::umask(022);
    if (::chdir("/") != 0)
        ::_exit(126);

    ::dup2(plan.output, STDERR_FILENO);
    furnish(plan);
    drop_privileges(plan);

    // From spare numbers first, so that none is overwritten before it is copied.
    const int channel = ::fcntl(plan.channel, F_DUPFD, 10);
    const int null = ::fcntl(plan.null, F_DUPFD, 10);
    must(channel >= 0 && null >= 0 && ::dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 &&
             ::dup2(channel, kChannelFd) >= 0 && ::dup2(null, STDIN_FILENO) >= 0,
         "descriptors");
    must(::syscall(SYS_close_range, kChannelFd + 1, ~0U, 0) == 0, "close_range");

    const std::array<const char*, 3> argv{"charon", "--use-syslog", nullptr};
    static constexpr char kPreload[] = "LD_PRELOAD=/run/encsync/libstrongswan-encsync.so";
    static constexpr char kConf[] = "STRONGSWAN_CONF=/run/encsync/strongswan.conf";
    // charon takes a plugin that is linked into it before it looks for a file; it would look
    // nowhere but in the system's plugin directory.
    const std::array<const char*, 5> envp{"PATH=/usr/sbin:/usr/bin", kPreload, kConf,
                                          "ENCSYNC_CHANNEL=3", nullptr};
    ::execve(kCharon, const_cast<char* const*>(argv.data()), const_cast<char* const*>(envp.data()));
    give_up(plan.charon);
}

bool non_blocking(int fd) {
    return ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0;
}

void enlarge(int fd) {
    for (const int option : {SO_SNDBUFFORCE, SO_RCVBUFFORCE})
        ::setsockopt(fd, SOL_SOCKET, option, &kChannelBuffer, sizeof kChannelBuffer);
}

} // namespace

std::string charon_config(const CharonOptions& options) {
    // A request is sent at once and then every second; it is given up one second after the last
    // try, so that it all fits into dpdtimeout, of which DPD's own pause takes up to a second.
    const auto tries = std::clamp<long>(options.dpdtimeout.count() - 2, 1, 600);
    return fmt::format(R"(charon {{
    # What is not needed is not there: no certificates, no files, no other sockets, no kernel.
    load = random nonce openssl kdf pubkey encsync!
    threads = 8
    replay_window = 4096
    # Of IKE messages, which are never cut into IP fragments on port 4500: what any path carries
    # (576 bytes, IPv6: 1280).
    fragment_size = 0

    retransmit_timeout = 1.0
    retransmit_base = 1.0
    retransmit_tries = {}
    half_open_timeout = 10
    # Whoever can forge a peer's address shall not be able to lock the peer out, so the limit by
    # address is none in effect; cookies keep those out who cannot also receive there.
    cookie_threshold_ip = 3
    cookie_threshold = 20
    block_threshold = 1000
    init_limit_half_open = 1000

    # A new authentication takes over before the old SAs go; SAs that were rekeyed go on receiving.
    make_before_break = yes
    delete_rekeyed_delay = 5
    close_ike_on_child_failure = yes
    keep_alive = 0
    install_routes = no
    install_virtual_ip = no
    process_route = no

    plugins {{
        encsync {{
            log = {}
        }}
    }}
    # Only what goes wrong before the plugin can speak.
    filelog {{
        stderr {{
            default = -1
            dmn = 1
            lib = 1
        }}
    }}
    syslog {{
        daemon {{
            default = -1
        }}
        auth {{
            default = -1
        }}
    }}
}}
)",
                       tries, options.debug ? 1 : 0);
}

Result<CharonProcess> CharonProcess::spawn(const CharonOptions& options) {
    if (::geteuid() != 0)
        return Error{"only root can start charon in a namespace of its own"};
    if (::access(options.charon.c_str(), X_OK) != 0)
        return failed(fmt::format("{} (Debian package strongswan-charon)", options.charon));
    if (::access(options.plugin.c_str(), R_OK) != 0)
        return failed(options.plugin);
    errno = 0;
    const passwd* user = ::getpwnam(options.user.c_str());
    if (!user)
        return Error{fmt::format("no user '{}' to run charon as", options.user)};
    if (user->pw_uid == 0)
        return Error{fmt::format("charon is not to run as root (charonuser={})", options.user)};

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
    const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null || !non_blocking(process.channel.get()) || !non_blocking(process.stderr_.get()))
        return failed("descriptors for charon");
    enlarge(process.channel.get());
    enlarge(theirs.get());

    const Plan plan{options.charon.c_str(),
                    options.plugin.c_str(),
                    charon_config(options),
                    user->pw_uid,
                    user->pw_gid,
                    theirs.get(),
                    their_output.get(),
                    null.get(),
                    ::getpid()};
    process.pid = ::fork();
    if (process.pid < 0)
        return failed("fork");
    if (process.pid == 0)
        become_charon(plan);
    process.pidfd.reset(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
    if (!process.pidfd) {
        Error error = failed("pidfd_open");
        ::kill(process.pid, SIGKILL);
        return error;
    }
    return process;
}

} // namespace encsync::supervisor
