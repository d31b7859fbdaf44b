// SPDX-License-Identifier: ISC
// The pf firewall of the labs (tests/lab/pf), a program in Python that was written from the
// systems' published sources and layouts alone, in place of a node. It has no clock: each call here
// is a request to it, which it answers at once, so that a run depends on nothing but its seed.
//
//     if (!PfProcess::available()) GTEST_SKIP() << ...;
//     PfProcess pf(world, 1, Dialect::openbsd);
#pragma once

#include "pf.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace encsync::sim {

class PfProcess : public Pf {
  public:
    struct Options {
        bool bound = false;                // its states are bound to interfaces
        bool both = false;                 // it has a state for each of both interfaces of a flow
        std::uint64_t seed = 0;            // of the first sequence numbers of connections
        std::vector<unsigned> hears{};     // other machines on its cable
        std::vector<std::string> faults{}; // rules that it does not follow
    };

    static bool available(); // there is a Python
    // So many messages all of them have sent and received, in this process.
    struct Totals {
        std::uint64_t packets = 0, sent = 0, received = 0;
    };
    static Totals totals();

    PfProcess(World& world, unsigned self, pfsync::Dialect dialect)
        : PfProcess(world, self, dialect, Options{}) {}
    PfProcess(World& world, unsigned self, pfsync::Dialect dialect, Options options);
    ~PfProcess() override;
    PfProcess(const PfProcess&) = delete;
    PfProcess& operator=(const PfProcess&) = delete;

    void packet(const state::Flow& flow) override;
    void close(const state::Flow& flow) override;
    const PfState* find(const state::Key& key) override;
    std::vector<PfState> list() override;
    Status status() override;
    bool has(const state::Flow& flow);
    void flush();  // pfctl -F states
    void reboot(); // it begins anew, with no states

    void on_packet(unsigned from, Bytes packet) override;
    void advance(Instant now) override;
    Instant deadline() const override { return deadline_; }

    static constexpr std::uint32_t creatorid(unsigned self) { return 0xbbbb0000u + self; }

  private:
    enum class What : std::uint8_t {
        begin,
        advance,
        receive,
        passes,
        close,
        flush,
        states,
        stats,
        has
    };
    std::vector<std::uint8_t> ask(What what, Bytes body);
    void begin();
    const std::multimap<state::Key, PfState>& states();

    World& world_;
    unsigned self_;
    pfsync::Dialect dialect_;
    Options options_;
    Instant deadline_ = Instant::max();
    Totals counted_{};
    std::optional<std::multimap<state::Key, PfState>> states_; // as long as it holds
};

} // namespace encsync::sim
