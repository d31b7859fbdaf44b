// SPDX-License-Identifier: ISC
// encsync policy test: what would become of captured packets, by the configuration alone.
#include "cli/verbs.hpp"
#include "config/policy.hpp"
#include "decode/capture.hpp"
#include "decode/decode.hpp"
#include "decode/fields.hpp"
#include "decode/frame.hpp"
#include "keys/store.hpp"
#include "policy/trial.hpp"

#include <algorithm>
#include <cstdio>
#include <deque>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>

namespace encsync::cli {

namespace json = boost::json;
using policy::Reason;

namespace {

std::optional<net::Address> address_of(const sockaddr* address) {
    const auto read = [](const auto& raw, net::Family family) {
        return net::Address::read(reinterpret_cast<const std::uint8_t*>(&raw), family);
    };
    if (address == nullptr)
        return std::nullopt;
    if (address->sa_family == AF_INET)
        return read(reinterpret_cast<const sockaddr_in*>(address)->sin_addr, net::Family::inet);
    if (address->sa_family == AF_INET6)
        return read(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, net::Family::inet6);
    return std::nullopt;
}

// As encsyncd would have it on this machine, with the addresses of now.
table::Filter make_filter(const config::Config& config) {
    table::Filter filter({config.setup.synclocal, config.setup.ignore, {}});
    ifaddrs* all = nullptr;
    if (::getifaddrs(&all) != 0)
        return filter;
    const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> freed(all, ::freeifaddrs);
    for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
        const std::uint32_t interface = ::if_nametoindex(each->ifa_name);
        if (const auto address = address_of(each->ifa_addr))
            filter.addresses().add(*address, interface);
        if ((each->ifa_flags & IFF_BROADCAST) != 0)
            if (const auto address = address_of(each->ifa_broadaddr))
                filter.addresses().add_broadcast(*address, interface);
    }
    return filter;
}

// 0: it is not known here, and then no message is refused for it.
std::uint32_t own_creatorid(const config::Setup& setup) {
    const auto store = keys::Store::open(setup.keydir);
    const auto creatorid = store ? store->creatorid() : Result<std::uint32_t>(store.error());
    if (creatorid)
        return *creatorid;
    fmt::print(stderr, "encsync: this node's creatorid is not known: {}\n", creatorid.error().text);
    return 0;
}

struct Sender {
    Sender(const config::Setup& setup, const config::Conn& c, const table::Filter& filter,
           std::uint32_t own)
        : conn(c), selectors(config::selectors_of(c)), speech(config::speech_of(c.wire)),
          verdict(config::rules_of(setup, c), own), trial(verdict, filter, speech.extended) {}
    Sender(const Sender&) = delete;
    Sender& operator=(const Sender&) = delete;

    const config::Conn& conn;
    policy::Selectors selectors;
    config::Speech speech;
    policy::Verdict verdict;
    policy::Trial trial;
};

std::string action_name(Bytes payload, std::uint8_t action) {
    const auto found = decode::find(payload[pfsync::common::header::version], action);
    return found.message != nullptr ? std::string(found.message->action)
                                    : fmt::format("action {}", action);
}

class Test {
  public:
    Test(const config::Config& config, bool as_json)
        : filter_(make_filter(config)), as_json_(as_json) {
        const std::uint32_t own = own_creatorid(config.setup);
        for (const config::Conn& conn : config.conns)
            senders_.emplace_back(config.setup, conn, filter_, own);
    }

    // False: there is no such conn.
    bool only(const std::string& peer) {
        only_ = find([&](const Sender& s) { return s.conn.name == peer; });
        return only_ != nullptr;
    }

    void packet(int link_type, const decode::Capture::Packet& packet) {
        const decode::Frame frame = decode::find_pfsync(link_type, packet.bytes);
        if (frame.verdict == decode::Frame::Verdict::other)
            return;
        const auto source = frame.ip ? net::parse_address(frame.ip->src) : std::nullopt;
        if (source && find([&](const Sender& s) { return s.conn.left.ip == *source; }) != nullptr) {
            own_++;
            return;
        }
        packets_++;
        const policy::Time now{std::chrono::duration_cast<policy::Time::duration>(
            std::chrono::duration<double>(packet.time))};
        Sender* from = sender(source);
        const policy::Checked checked =
            from == nullptr ? policy::Checked{Reason::wrong_source, {}}
            : !frame.packet.empty()
                ? from->verdict.packet(frame.packet, from->selectors, from->speech.dialect, now)
                : from->verdict.payload(frame.payload, from->speech.dialect, now);
        std::vector<policy::Judged> messages;
        if (checked.why == Reason::accept)
            messages = from->trial.messages(checked.payload, from->speech.dialect, now);
        const bool refused =
            checked.why != Reason::accept ||
            std::ranges::any_of(messages, [](const auto& m) { return m.why != Reason::accept; });
        refused_ += refused ? 1 : 0;
        as_json_ ? print_json(packet.time, from, checked, messages)
                 : print_text(packet.time, from, checked, messages);
    }

    int finish(const std::string& source) const {
        if (refused_ > 0)
            return fail(fmt::format("{}: {} of {} packets would not be accepted as they are",
                                    source, refused_, packets_));
        if (!as_json_)
            fmt::print("{} packets would be accepted{}\n", packets_,
                       own_ == 0 ? "" : fmt::format("; {} are of this node itself", own_));
        return 0;
    }

  private:
    template<class Fits>
    Sender* find(const Fits& fits) {
        const auto found = std::ranges::find_if(senders_, fits);
        return found == senders_.end() ? nullptr : &*found;
    }

    // Whose Verdict is asked; null: nobody's packet.
    Sender* sender(const std::optional<net::Address>& source) {
        if (only_ != nullptr)
            return only_;
        if (senders_.size() == 1)
            return &senders_.front();
        return !source ? nullptr : find([&](const Sender& s) {
            return std::ranges::find(s.selectors.sources, *source) != s.selectors.sources.end();
        });
    }

    static std::string outcome(Reason why) {
        return why == Reason::accept ? "accepted"
                                     : fmt::format("refused, {}: {}", policy::to_string(why),
                                                   policy::describe(why).text);
    }

    static void print_text(double time, const Sender* from, const policy::Checked& checked,
                           const std::vector<policy::Judged>& messages) {
        fmt::print("{:.6f} {}: {}\n", time, from == nullptr ? "no peer" : from->conn.name,
                   outcome(checked.why));
        for (const auto& [action, what, why] : messages)
            fmt::print("    {}{}{}: {}\n", action_name(checked.payload, action),
                       what.empty() ? "" : " ", what, outcome(why));
    }

    static void print_json(double time, const Sender* from, const policy::Checked& checked,
                           const std::vector<policy::Judged>& messages) {
        json::array judged;
        for (const auto& [action, what, why] : messages)
            judged.push_back(json::object{{"action", action_name(checked.payload, action)},
                                          {"what", what},
                                          {"verdict", policy::to_string(why)}});
        fmt::print("{}\n",
                   json::serialize(json::object{{"time", decode::utc(time)},
                                                {"peer", from == nullptr ? "" : from->conn.name},
                                                {"verdict", policy::to_string(checked.why)},
                                                {"messages", std::move(judged)}}));
    }

    const table::Filter filter_;
    const bool as_json_;
    std::deque<Sender> senders_;
    Sender* only_ = nullptr;
    std::size_t packets_ = 0, refused_ = 0, own_ = 0;
};

} // namespace

int policy_test(const Options& options, const std::string& file, const std::string& peer) {
    const config::Loaded loaded = config::load(options.config);
    if (!loaded.config)
        return fail(fmt::format("{}: has errors; 'encsync check' lists them", options.config));
    if (loaded.config->setup.table == "relay")
        return fail("with table=relay every state is passed on; there is nothing to test");
    Test test(*loaded.config, options.json);
    if (!peer.empty() && !test.only(peer))
        return fail(fmt::format("{}: there is no conn '{}'", options.config, peer));
    auto capture = decode::Capture::open_file(file);
    if (!capture)
        return fail(capture.error().text);
    while (const auto packet = (*capture)->next())
        test.packet((*capture)->link_type(), *packet);
    if (!(*capture)->failure().empty())
        return fail((*capture)->failure());
    return test.finish(file == "-" ? "standard input" : file);
}

} // namespace encsync::cli
