// SPDX-License-Identifier: ISC
#include "daemon/machine.hpp"

#include "util/log.hpp"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace encsync::daemon {

using namespace std::chrono_literals;

namespace {

constexpr const char* kEvents = "nf_conntrack_events";
// Each entry is in two buckets. The kernel refuses entries where a chain has more than about 50.
constexpr std::uint64_t kEntriesPerBucket = 8;
// Fewer are probably an operator's command.
constexpr std::uint64_t kBurst = 100;
constexpr auto kLately = 60s;

std::optional<std::uint64_t> number_in(const std::string& path) {
    std::ifstream file(path);
    std::uint64_t number = 0;
    return file >> number ? std::optional(number) : std::nullopt;
}

// Two lines of each group: names, and numbers in the same order.
std::optional<std::uint64_t> reverse_path_drops(const std::string& path) {
    std::ifstream file(path);
    std::string names, numbers;
    while (std::getline(file, names) && std::getline(file, numbers)) {
        std::istringstream name_in(names), number_in(numbers);
        std::string name, number;
        while (name_in >> name && number_in >> number)
            if (name == "IPReversePathFilter")
                return std::strtoull(number.c_str(), nullptr, 10);
    }
    return std::nullopt;
}

// The stricter of an interface's own setting and that of "all" applies.
std::string strict_interfaces(const std::string& conf) {
    namespace fs = std::filesystem;
    const auto mode = [&](const fs::path& of) { return number_in(of / "rp_filter").value_or(0); };
    const std::uint64_t all = mode(fs::path(conf) / "all");
    std::vector<std::string> found;
    std::error_code error;
    for (fs::directory_iterator each(conf, error), end; !error && each != end;
         each.increment(error)) {
        const std::string name = each->path().filename();
        if (name != "all" && name != "default" && name != "lo" &&
            std::max(all, mode(each->path())) == 1)
            found.push_back(name);
    }
    std::ranges::sort(found);
    return fmt::format("{}", fmt::join(found, ", "));
}

} // namespace

Machine::Machine(MachineOptions options)
    : options_(std::move(options)),
      events_(::open((options_.proc + "/sys/net/netfilter/" + kEvents).c_str(),
                     O_WRONLY | O_CLOEXEC)) {}

std::optional<std::uint64_t> Machine::netfilter(const char* name) const {
    return number_in(options_.proc + "/sys/net/netfilter/" + name);
}

void Machine::complain(std::string name, std::string text, bool breaks) {
    complaints_.push_back({std::move(name), std::move(text), breaks});
}

void Machine::look(const Known& known) {
    const auto before = std::exchange(complaints_, {});
    look_at_events();
    look_at_room(known);
    look_at_tracking(known);
    look_at_reverse_path();
    look_at_others(known);
    log_changes(before);
}

void Machine::log_changes(const std::vector<Complaint>& before) const {
    const auto among = [](const std::vector<Complaint>& all, const Complaint& one) {
        return std::ranges::find(all, one.name, &Complaint::name) != all.end();
    };
    for (const Complaint& c : complaints_)
        if (!among(before, c))
            log::warning("{}", c.text);
    for (const Complaint& c : before)
        if (!among(complaints_, c))
            log::notice("no longer so: {}", c.text);
}

// 2 is as good as 1 while we run, but changes during a restart would never be reported.
void Machine::look_at_events() {
    missed_events_ = false;
    const auto value = netfilter(kEvents);
    if (!value)
        return;
    const bool was_off = events_off_ || *value == 0;
    bool on = *value != 0;
    if (*value != 1 && events_ && ::lseek(events_.get(), 0, SEEK_SET) == 0 &&
        ::write(events_.get(), "1", 1) == 1 && netfilter(kEvents) == 1) {
        on = true;
        log::warning("net.netfilter.{} was {}; it is set to 1 again", kEvents, *value);
    }
    events_off_ = !on;
    missed_events_ = was_off && on;
    if (!on)
        complain(kEvents,
                 "net.netfilter.nf_conntrack_events is 0 and cannot be set from here: the kernel "
                 "reports no new flow; sysctl -w net.netfilter.nf_conntrack_events=1",
                 true);
}

void Machine::look_at_room(const Known& known) {
    const std::uint64_t count = netfilter("nf_conntrack_count").value_or(0);
    const std::uint64_t others = count > known.states ? count - known.states : 0; // not synced
    std::uint64_t need = count;
    const Known::Peer* largest = nullptr;
    for (const Known::Peer& peer : known.peers)
        if (peer.states + others > need) {
            need = peer.states + others;
            largest = &peer;
        }
    const std::uint64_t max = netfilter("nf_conntrack_max").value_or(0);
    if (largest != nullptr && max != 0 && need > max)
        complain(
            "nf_conntrack_max",
            fmt::format("net.netfilter.nf_conntrack_max is {}, and {} has {} states{}: they do "
                        "not all find room here",
                        max, largest->name, largest->states,
                        others == 0 ? ""
                                    : fmt::format(", beside {} here that are not synced", others)));
    const auto buckets = netfilter("nf_conntrack_buckets");
    if (buckets && *buckets != 0 && need / *buckets >= kEntriesPerBucket)
        complain(
            "nf_conntrack_buckets",
            fmt::format("net.netfilter.nf_conntrack_buckets is {} for {} entries: that is slow, "
                        "and the kernel refuses entries whose bucket is too full; set it to {}",
                        *buckets, need, std::max(need, max)));
}

std::optional<std::int64_t> Machine::room(unsigned reserve) const {
    const auto max = netfilter("nf_conntrack_max"), count = netfilter("nf_conntrack_count");
    if (!max || *max == 0 || !count)
        return std::nullopt;
    return static_cast<std::int64_t>(*max / 100 * (100 - reserve)) -
           static_cast<std::int64_t>(*count);
}

void Machine::look_at_tracking(const Known& known) {
    const auto loose = netfilter("nf_conntrack_tcp_loose");
    const auto liberal = netfilter("nf_conntrack_tcp_be_liberal");
    tracking_.reset();
    if (!loose || !liberal)
        return;
    tracking_ = {*loose != 0, *liberal != 0};
    const auto compare = [&](const char* name, const std::string& peer, bool here, bool there) {
        if (here != there)
            complain(fmt::format("{} {}", name, peer),
                     fmt::format("net.netfilter.{} is {} here and {} on {}: after a takeover, "
                                 "sessions are judged by another rule",
                                 name, int{here}, int{there}, peer));
    };
    for (const Known::Peer& peer : known.peers) {
        if (!peer.tracking)
            continue;
        compare("nf_conntrack_tcp_loose", peer.name, tracking_->loose, peer.tracking->loose);
        compare("nf_conntrack_tcp_be_liberal", peer.name, tracking_->liberal,
                peer.tracking->liberal);
    }
}

// A strict rp_filter is correct on many machines. It is reported only if it has dropped packets.
void Machine::look_at_reverse_path() {
    const auto dropped = reverse_path_drops(options_.proc + "/net/netstat");
    if (!dropped)
        return;
    if (!first_dropped_)
        first_dropped_ = *dropped;
    if (*dropped <= *first_dropped_)
        return;
    if (dropped_ != dropped)
        strict_ = strict_interfaces(options_.proc + "/sys/net/ipv4/conf");
    dropped_ = dropped;
    complain("rp_filter",
             fmt::format("the kernel has dropped {} packets that came in by another interface than "
                         "their sender is routed to (rp_filter=1 on {}): if packets of a session "
                         "may take different ways here, set it to 2",
                         *dropped - *first_dropped_, strict_.empty() ? "none now" : strict_));
}

void Machine::look_at_others(const Known& known) {
    if (removed_at_ && known.now - *removed_at_ > kLately) {
        removed_at_.reset();
        removed_lately_ = 0;
    }
    if (known.removed_by_others > removed_) {
        removed_lately_ += known.removed_by_others - removed_;
        removed_ = known.removed_by_others;
        removed_at_ = known.now;
    }
    if (removed_lately_ >= kBurst)
        complain("removed_by_others",
                 fmt::format("another program (conntrackd? conntrack -F?) deletes entries from the "
                             "state table, {} lately: these sessions end here and on all peers",
                             removed_lately_));
}

} // namespace encsync::daemon
