// SPDX-License-Identifier: ISC
// Who may speak on a cable: right=%multicast, speakers and mac.
#include "config/check.hpp"

#include <fmt/core.h>

namespace encsync::config {

namespace {

class SpeakersChecker {
  public:
    SpeakersChecker(const Setup& setup, const PlacedConn& placed, Report& report)
        : setup_(setup), placed_(placed), conn_(placed.conn), report_(report) {}

    void run() {
        if (!usable("right"))
            return;
        if (conn_.is_group())
            group();
        else if (given("speakers") && rank("speakers") >= rank("right"))
            fail("speakers", "speakers is of right=%multicast only");
        if (usable("speakers") && (!conn_.is_group() || given("speakers")))
            macs();
    }

  private:
    const Origin* origin(std::string_view name) const {
        const auto found = placed_.origins.find(name);
        return found == placed_.origins.end() ? nullptr : &found->second;
    }
    bool given(std::string_view name) const { return origin(name) != nullptr; }
    bool usable(std::string_view name) const { return !given(name) || origin(name)->valid; }
    std::size_t rank(std::string_view name) const { return given(name) ? origin(name)->rank : 0; }
    void fail(std::string_view name, const std::string& message, const std::string& hint = {}) {
        report_.error(given(name) ? origin(name)->entry->value_at : placed_.at, message, hint);
    }

    void group() {
        if (!given("speakers"))
            fail("right", "right=%multicast needs speakers, the firewalls that are heard");
        else if (usable("speakers"))
            speakers();
        if (!conn_.multicast && usable("multicast"))
            fail("multicast", "right=%multicast and multicast=no contradict each other");
        if (setup_.table != "relay")
            fail("right",
                 "right=%multicast needs table=relay: a state table follows one firewall for each "
                 "conn, and cannot tell the bulk updates of several apart");
    }

    void speakers() {
        if (!given("left") || !usable("left"))
            return;
        const Address& left = conn_.left;
        for (const Address& each : conn_.speakers) {
            const std::string speaker = fmt::format("speaker {}", to_string(each));
            if (each.ip.family != left.ip.family)
                fail("speakers", fmt::format("{} and left {} are of different families", speaker,
                                             to_string(left)));
            else if (each == left)
                fail("speakers", fmt::format("{} is left, this node itself", speaker));
            else if (each.scope.empty() != left.scope.empty())
                fail("speakers", fmt::format("{} and left {} are not both link-local", speaker,
                                             to_string(left)));
            else if (each.scope != left.scope)
                fail("speakers", fmt::format("{} and left {} are on different interfaces", speaker,
                                             to_string(left)));
        }
    }

    void macs() {
        const std::size_t senders = conn_.senders().size();
        if (!given("mac") || !usable("mac") || conn_.mac.size() == senders)
            return;
        if (conn_.is_group())
            fail("mac", fmt::format("mac needs one address for each speaker, in their order: {}, "
                                    "not {}",
                                    senders, conn_.mac.size()));
        else
            fail("mac",
                 fmt::format("mac has {} addresses, and right is one firewall", conn_.mac.size()));
    }

    const Setup& setup_;
    const PlacedConn& placed_;
    const Conn& conn_;
    Report& report_;
};

// Whether both may be one machine; scopes and cables tell interfaces apart.
bool same_place(const Conn& other, const std::string& interface) {
    const std::string& on = other.is_cable() ? other.syncdev : other.right.scope;
    return on.empty() || on == interface;
}

} // namespace

void check_speakers(const Setup& setup, const PlacedConn& cable, Report& report) {
    SpeakersChecker(setup, cable, report).run();
}

void check_known_speakers(const std::vector<PlacedConn>& conns, const PlacedConn& cable,
                          Report& report) {
    const auto speakers = cable.origins.find("speakers");
    if (!cable.conn.is_cable() || !cable.conn.is_group() || speakers == cable.origins.end())
        return;
    for (const PlacedConn& other : conns)
        for (const Address& each : cable.conn.speakers)
            if (each.ip == other.conn.right.ip && same_place(other.conn, cable.conn.syncdev))
                report.error(speakers->second.entry->value_at,
                             fmt::format("speaker {} is already the right of conn {} ({})",
                                         to_string(each), other.conn.name,
                                         describe(other.at, cable.at)));
}

} // namespace encsync::config
