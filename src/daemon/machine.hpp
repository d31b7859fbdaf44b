// SPDX-License-Identifier: ISC
// System settings and events that can make syncing incomplete without an error: conntrack's
// sysctls, packets that the kernel drops, other programs that change the table.
//
//     Machine machine({});            // before the sandbox: opens the files that it may write
//     later once a second: machine.look(known); if (machine.missed_events()) ...;
//     machine.complaints()
//
// It restores the settings that it can write, and complains about the rest. A complaint is logged
// when it begins and when it is over.
#pragma once

#include "sync/options.hpp"
#include "util/fd.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace encsync::daemon {

struct Complaint {
    std::string name; // the same for as long as it lasts: "nf_conntrack_max"
    std::string text;
    bool breaks = false; // syncing is incomplete, so the node is not ready
};

// The first words of their names; the rest is a peer.
inline constexpr std::array<std::string_view, 7> kComplaints = {"nf_conntrack_events",
                                                                "nf_conntrack_max",
                                                                "nf_conntrack_buckets",
                                                                "nf_conntrack_tcp_loose",
                                                                "nf_conntrack_tcp_be_liberal",
                                                                "rp_filter",
                                                                "removed_by_others"};

struct MachineOptions {
    std::string proc = "/proc";
};

// Input from the node.
struct Known {
    std::chrono::steady_clock::time_point now;
    std::uint64_t states = 0;            // in our index
    std::uint64_t removed_by_others = 0; // live flows, since the start
    struct Peer {
        std::string name;
        std::uint64_t states = 0; // 0: unreachable
        std::optional<sync::TcpTracking> tracking;
    };
    std::vector<Peer> peers;
};

class Machine {
  public:
    explicit Machine(MachineOptions options);

    void look(const Known& known);
    const std::vector<Complaint>& complaints() const { return complaints_; }
    // As of the last look.
    std::optional<sync::TcpTracking> tracking() const { return tracking_; }
    // How many more entries the kernel's table takes until less than `reserve` percent of it is
    // free. None: it has no limit.
    std::optional<std::int64_t> room(unsigned reserve) const;
    // Events were off, and are on since the last look: the table has flows without any event.
    bool missed_events() const { return missed_events_; }

  private:
    std::optional<std::uint64_t> netfilter(const char* name) const;
    void look_at_events();
    void look_at_room(const Known& known);
    void look_at_tracking(const Known& known);
    void look_at_reverse_path();
    void look_at_others(const Known& known);
    void complain(std::string name, std::string text, bool breaks = false);
    void log_changes(const std::vector<Complaint>& before) const;

    MachineOptions options_;
    Fd events_; // open for writing, if permitted
    bool events_off_ = false, missed_events_ = false;
    std::optional<sync::TcpTracking> tracking_;
    std::optional<std::uint64_t> first_dropped_, dropped_; // by rp_filter
    std::string strict_;                                   // the interfaces
    std::uint64_t removed_ = 0;                            // by others, as of the last look
    std::uint64_t removed_lately_ = 0;
    std::optional<std::chrono::steady_clock::time_point> removed_at_;
    std::vector<Complaint> complaints_;
};

} // namespace encsync::daemon
