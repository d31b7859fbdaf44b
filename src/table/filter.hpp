// Which flows are not to be synced. Asked of each event and dump entry before anybody else
// hears of it.
//
//     if (auto why = filter.ignored(flow)) counters.ignored[*why]++;
#pragma once

#include "state/flow.hpp"
#include "util/result.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace encsync::table {

enum class Ignored : std::uint8_t {
    protocol, // VRRP, pfsync, ESP, AH, IGMP: between the firewalls themselves
    loopback,
    multicast, // to a multicast or broadcast address
    local,     // begins or ends on this firewall: of no use to another
    prefix,    // an address that the configuration says to ignore
};
inline constexpr int kIgnored = 5;
const char* to_string(Ignored why);

struct Prefix {
    state::Address address;
    state::Family family = state::Family::inet;
    std::uint8_t length = 32; // bits

    // "10.0.0.0/8", "2001:db8::/32", or a lone address.
    static Result<Prefix> parse(std::string_view text);
    bool contains(const state::Address& other, state::Family of) const;
};

// This machine's own addresses, whatever interface they are on.
class LocalAddresses {
  public:
    // The same address may be on several interfaces: it goes with the last of them.
    void add(state::Family family, const state::Address& address, std::uint32_t interface);
    void remove(state::Family family, const state::Address& address, std::uint32_t interface);
    void add_broadcast(const state::Address& address, std::uint32_t interface);
    void remove_broadcast(const state::Address& address, std::uint32_t interface);
    void clear();

    bool is_local(const state::Address& address, state::Family family) const;
    bool is_broadcast(const state::Address& address) const; // IPv4
    std::size_t size() const { return local_.size(); }

  private:
    using Name = std::pair<state::Family, state::Address>;
    using Set = std::map<Name, std::vector<std::uint32_t>>; // interface indices
    static void add_to(Set& set, const Name& name, std::uint32_t interface);
    static void remove_from(Set& set, const Name& name, std::uint32_t interface);
    Set local_, broadcast_;
};

struct FilterOptions {
    bool sync_local = false; // flows that begin or end on this firewall, too
    std::vector<Prefix> ignore;
};

class Filter {
  public:
    explicit Filter(FilterOptions options) : options_(std::move(options)) {}

    std::optional<Ignored> ignored(const state::Flow& flow) const;
    LocalAddresses& addresses() { return addresses_; }
    const LocalAddresses& addresses() const { return addresses_; }

  private:
    FilterOptions options_;
    LocalAddresses addresses_;
};

} // namespace encsync::table
