// SPDX-License-Identifier: ISC
// Sets this node's role: once, by an administrator or a script, or for each line in keepalived's
// FIFO. keepalived(8) reports a change only once, so a role is also stored for a daemon that does
// not run.
#include "cli/render.hpp"
#include "cli/verbs.hpp"
#include "control/client.hpp"
#include "control/request.hpp"
#include "control/role_order.hpp"
#include "control/vrrp_notice.hpp"
#include "daemon/run_dir.hpp"
#include "util/fd.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <poll.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <thread>

namespace encsync::cli {

namespace json = boost::json;
using namespace std::chrono_literals;
using control::Client;
using control::RoleOrder;
using control::VrrpNotice;
using daemon::RequestedRole;
using sync::Role;
using Clock = std::chrono::steady_clock;

namespace {

json::object request_for(const RequestedRole& requested, const std::string& reason = {}) {
    json::object request{{"command", "role"},
                         {"role", sync::to_string(requested.role)},
                         {"order", requested.order.text()}};
    if (!reason.empty())
        request["reason"] = reason;
    return request;
}

bool says(const json::value& answer, std::string_view name, bool what) {
    const auto* fields = answer.if_object();
    const auto* value = fields ? fields->if_contains({name.data(), name.size()}) : nullptr;
    return value && *value == what;
}

std::string overtaken(Role role, std::string_view now) {
    return fmt::format("role {} was overtaken: '{}' was asked for later and stays",
                       sync::to_string(role), clean(now));
}

// Stores the role for the next start of the daemon. If a later request is stored, returns that.
Result<std::optional<RequestedRole>> leave(const Options& options, const RequestedRole& requested) {
    const daemon::RunDir run_dir(options.run_dir);
    if (auto made = run_dir.prepare(); !made)
        return made.error();
    return run_dir.leave_role(requested);
}

int report(const Options& options, Role role, const json::value& answer) {
    if (says(answer, "overtaken", true)) {
        fail(overtaken(role, control::text(answer, "role")));
        return kOvertaken;
    }
    if (says(answer, "stored", false))
        return fail(fmt::format("the role is {}, but will be lost if encsyncd is started again: {}",
                                clean(control::text(answer, "role")),
                                clean(control::text(answer, "why"))));
    if (options.json)
        return print_json(answer);
    fmt::print("{}\n", clean(control::text(answer, "role")));
    return 0;
}

} // namespace

int set_role(const Options& options, const std::string& word) {
    RequestedRole requested{.role = Role::automatic, .order = RoleOrder::of_caller()};
    for (const Role role : {Role::active, Role::standby})
        if (word == sync::to_string(role))
            requested.role = role;
    // A daemon that starts meanwhile may have read the previous role there.
    for (const bool left : {false, true}) {
        auto client = Client::connect_if_running(options.run_dir);
        if (!client)
            return fail(client.error().text);
        if (*client) {
            auto answer = (*client)->call(request_for(requested));
            return answer ? report(options, requested.role, *answer) : fail(answer.error().text);
        }
        if (left)
            break;
        auto later = leave(options, requested);
        if (!later)
            return fail(later.error().text);
        if (*later) {
            fail(overtaken(requested.role, sync::to_string((*later)->role)));
            return kOvertaken;
        }
    }
    if (options.json)
        return print_json(json::object{{"role", word}, {"running", false}});
    fmt::print("encsyncd is not running in {}; it will start as {}\n", options.run_dir, word);
    return 0;
}

// ---- keepalived's FIFO -----------------------------------------------------------------------

namespace {

constexpr std::size_t kMaxLine = 4096; // a write into a pipe is atomic up to this size
constexpr std::size_t kMaxReason = 300;
// keepalived sends SIGKILL a second after its SIGTERM.
constexpr auto kLeave = 800ms;
constexpr auto kRetry = 500ms;
constexpr auto kLastTries = 5s; // after the FIFO was closed: no program starts us again

class Follower {
  public:
    Follower(const Options& options, const VrrpSource& source)
        : options_(options), source_(source), keeper_(control::started_by_keepalived()) {
        if (keeper_) // keepalived redirects the output of its scripts to /dev/null
            ::openlog("encsync", LOG_PID, LOG_DAEMON);
    }

    int run() {
        if (auto opened = open(); !opened) {
            say(LOG_ERR, opened.error().text);
            return 1;
        }
        while (!over_)
            turn();
        return status_;
    }

  private:
    Result<void> open() {
        const auto failed = [this](const char* what) {
            return Error{fmt::format("{}: {}: {}", source_.fifo, what, std::strerror(errno))};
        };
        // Not blocking: keepalived opens its end after it has started us.
        fifo_ = Fd(::open(source_.fifo.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        if (!fifo_)
            return failed("cannot open the FIFO");
        struct stat info {};
        if (::fstat(fifo_.get(), &info) != 0)
            return failed("cannot look at the FIFO");
        if (!S_ISFIFO(info.st_mode))
            return Error{fmt::format("{}: is no FIFO", source_.fifo)};
        // keepalived sends SIGTERM before it writes STOP.
        sigset_t term;
        ::sigemptyset(&term);
        ::sigaddset(&term, SIGTERM);
        ::sigprocmask(SIG_BLOCK, &term, nullptr);
        signals_ = Fd(::signalfd(-1, &term, SFD_NONBLOCK | SFD_CLOEXEC));
        if (!signals_)
            return failed("cannot wait for signals");
        wait_for_former();
        say(LOG_INFO,
            fmt::format("{} \"{}\" of keepalived says the role of this node", kind(), name()));
        return {};
    }

    // On a reload, keepalived starts a new process while the former one may still have roles to
    // send.
    void wait_for_former() {
        const daemon::RunDir run_dir(options_.run_dir);
        if (auto made = run_dir.prepare(); !made)
            return say(LOG_WARNING, made.error().text);
        const std::string path = options_.run_dir + "/keepalived.lock";
        lock_ = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        for (const auto until = Clock::now() + 2 * kLastTries;
             ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0;) {
            if (errno != EWOULDBLOCK || Clock::now() > until)
                return say(LOG_WARNING,
                           fmt::format("{}: not locked: {}", path, std::strerror(errno)));
            std::this_thread::sleep_for(20ms);
        }
    }

    void turn() {
        std::array<pollfd, 3> polled{{{fifo_.get(), POLLIN, 0},
                                      {signals_.get(), POLLIN, 0},
                                      {client_ ? client_->socket() : -1, POLLIN, 0}}};
        std::optional<Clock::time_point> due = leave_at_;
        if (latest_ && !client_)
            due = std::min(due.value_or(Clock::time_point::max()), retry_at_);
        int patience = -1;
        if (due)
            patience = static_cast<int>(std::max<std::int64_t>(
                0, std::chrono::ceil<std::chrono::milliseconds>(*due - Clock::now()).count()));
        ::poll(polled.data(), polled.size(), patience);
        if (signalfd_siginfo info{};
            polled[1].revents != 0 && ::read(signals_.get(), &info, sizeof info) > 0 && !leave_at_)
            leave_at_ = Clock::now() + kLeave;
        if (polled[2].revents != 0)
            client_.reset(); // it was idle for too long, or the daemon ends
        if (polled[0].revents != 0)
            read();
        if (latest_ && !client_ && Clock::now() >= retry_at_)
            tell();
        if (last_ && (sent_ || !latest_))
            finish(0);
        else if (leave_at_ && Clock::now() >= *leave_at_)
            finish(sent_ || !latest_ ? 0 : 1);
    }

    void read() {
        std::array<char, kMaxLine> piece;
        const ssize_t got = ::read(fifo_.get(), piece.data(), piece.size());
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            fifo_.reset();
            return ended();
        }
        buffer_.append(piece.data(), static_cast<std::size_t>(got));
        std::size_t begin = 0;
        for (auto end = buffer_.find('\n'); end != buffer_.npos; end = buffer_.find('\n', begin)) {
            take(std::string_view(buffer_).substr(begin, end - begin));
            begin = end + 1;
        }
        buffer_.erase(0, begin);
        if (buffer_.size() > kMaxLine) {
            say(LOG_WARNING, fmt::format("a line of more than {} bytes is passed over", kMaxLine));
            buffer_.clear();
        }
    }

    void take(std::string_view line) {
        auto notice = VrrpNotice::parse(line);
        if (!notice)
            return say(LOG_WARNING, fmt::format("keepalived: a line {}: '{}'", notice.error().text,
                                                line.substr(0, 200)));
        if (notice->group == source_.group.empty() || notice->name != name()) {
            if (notice->group && !source_.group.empty() && notice->name != stranger_) {
                stranger_ = notice->name;
                say(LOG_WARNING,
                    fmt::format("keepalived: a group \"{}\", which --group \"{}\" does "
                                "not mean",
                                notice->name, name()));
            }
            return;
        }
        if (notice->state == VrrpNotice::State::none)
            return;
        wish(notice->state == VrrpNotice::State::master ? Role::active : Role::standby,
             fmt::format("keepalived: {} \"{}\" is {}", kind(), name(), notice->word));
        stopped_ = last_ = notice->state == VrrpNotice::State::stop;
    }

    // keepalived has closed its end.
    void ended() {
        last_ = true;
        leave_at_ = Clock::now() + kLastTries;
        if (stopped_)
            return;
        if (!keeper_)
            say(LOG_WARNING, "the FIFO was closed, and this process was not started by keepalived: "
                             "whether that still runs is not known, and the role stays what it is");
        else if (control::is_keepalived(*keeper_))
            say(LOG_INFO, "keepalived has closed the FIFO for a reload");
        else
            wish(Role::standby, "keepalived is gone without STOP, its addresses may still be here");
    }

    void wish(Role role, std::string reason) {
        latest_ = RequestedRole{role, RoleOrder::now()};
        // A name in the configuration of keepalived may be anything; a request is a short text.
        std::ranges::replace_if(
            reason, [](char c) { return c < ' ' || c > '~'; }, '?');
        reason_ = reason.substr(0, kMaxReason);
        sent_ = false;
        say(LOG_NOTICE, fmt::format("{}: role {}", reason_, sync::to_string(role)));
        tell();
    }

    // The connection is kept. If it was closed, encsyncd may have been restarted, so the role is
    // sent again; a daemon that already has it ignores that.
    void tell() {
        retry_at_ = Clock::now() + kRetry;
        if (!client_) {
            auto connected = Client::connect_if_running(options_.run_dir);
            if (!connected)
                return not_sent(connected.error().text);
            client_ = std::move(*connected);
        }
        if (!client_)
            return leave_there();
        auto answer = client_->call(request_for(*latest_, reason_));
        if (!answer) {
            client_.reset();
            return not_sent(answer.error().text);
        }
        if (says(*answer, "overtaken", true) && !sent_)
            say(LOG_WARNING, overtaken(latest_->role, control::text(*answer, "role")));
        sent_ = true;
        complaint_.clear();
    }

    // encsyncd does not run: stores the role for its next start.
    void leave_there() {
        if (sent_)
            return;
        auto later = leave(options_, *latest_);
        if (!later)
            return not_sent(later.error().text);
        if (*later)
            say(LOG_WARNING, overtaken(latest_->role, sync::to_string((*later)->role)));
        sent_ = true;
    }

    void not_sent(const std::string& why) {
        sent_ = false;
        if (why != complaint_)
            say(LOG_ERR, fmt::format("role {} has not reached encsyncd yet: {}",
                                     sync::to_string(latest_->role), why));
        complaint_ = why;
    }

    void finish(int status) {
        over_ = true;
        status_ = status;
    }

    void say(int level, const std::string& line) const {
        if (keeper_)
            ::syslog(level, "%s", clean(line).c_str());
        else
            fmt::print(stderr, "encsync: {}\n", clean(line));
    }

    const char* kind() const { return source_.group.empty() ? "instance" : "group"; }
    const std::string& name() const {
        return source_.group.empty() ? source_.instance : source_.group;
    }

    const Options& options_;
    const VrrpSource& source_;
    const std::optional<pid_t> keeper_;
    Fd fifo_, signals_, lock_;
    std::string buffer_;
    std::string stranger_; // the group that was last reported as not ours
    std::optional<RequestedRole> latest_;
    std::string reason_;
    bool sent_ = false; // sent to encsyncd, or stored for it
    std::optional<Client> client_;
    std::string complaint_;
    Clock::time_point retry_at_{};
    std::optional<Clock::time_point> leave_at_;
    bool stopped_ = false; // keepalived has sent STOP
    bool last_ = false;    // no further lines follow
    bool over_ = false;
    int status_ = 0;
};

} // namespace

int keepalived(const Options& options, const VrrpSource& source) {
    return Follower(options, source).run();
}

} // namespace encsync::cli
