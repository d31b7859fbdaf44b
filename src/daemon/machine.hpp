// SPDX-License-Identifier: ISC
// How the machine is set, as far as it can make syncing incomplete without a word: conntrack's
// sysctls, packets that the kernel drops, whoever else changes the table.
//
//     Machine machine({});            // before the sandbox: what it sets back is opened here
//     once a second: machine.look(known); if (machine.missed_events()) ...; machine.complaints()
//
// What it can set back, it sets; of all else it complains. A complaint is logged when it begins and
// when it is over.
#pragma once

#include "sync/options.hpp"
#include "util/fd.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace encsync::daemon {

struct Complaint {
    std::string name; // the same for as long as it lasts: "nf_conntrack_max"
    std::string text;
    bool breaks = false; // what is synced is incomplete, so the node is not ready
};

struct MachineOptions {
    std::string proc = "/proc";
};

// What the node knows beside it.
struct Known {
    std::chrono::steady_clock::time_point now;
    std::uint64_t states = 0;            // in our index
    std::uint64_t removed_by_others = 0; // live flows, since the start
    struct Peer {
        std::string name;
        std::uint64_t states = 0; // 0: out of reach
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
    // Events were off, and are on since the last look: the table has flows of which nobody told.
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
    Fd events_; // to be written, if we may
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
