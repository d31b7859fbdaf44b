// SPDX-License-Identifier: ISC
// The kernel's IPsec, through netlink: an xfrm interface, and the states and policies behind it
// (Linux, ip-xfrm(8), include/uapi/linux/xfrm.h).
//
//     auto xfrm = Xfrm::open("enc0");            // flushes what a killed process left behind
//     xfrm->make_interface(1438);
//     xfrm->admit(pair);                         // the policy of what comes in
//     xfrm->add_sa(params, pair);  xfrm->send_on(pair, spi);
//     every few seconds: xfrm->keep_sa(...)      // or the kernel deletes the state with its key
//
// All our states and policies have one if_id, derived from the interface's name, and each peer its
// own reqid, so those of other programs are not touched. A state has a time limit that is extended
// while the process lives, so that no key outlives it for long, even if it is killed.
#pragma once

#include "ipsec/esp/params.hpp"
#include "util/fd.hpp"
#include "util/result.hpp"

#include <boost/asio/ip/address.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

struct mnl_socket;

namespace encsync::link {

// The two hosts of a state or policy.
struct XfrmPair {
    boost::asio::ip::address left, right; // both of the outer and of the inner packets
    std::uint16_t natport = 4500;         // of both
    std::uint32_t reqid = 0;
    std::uint64_t lifepackets = 0; // that an outbound state seals at most; 0: no limit
};

// A state as reported by the kernel.
struct XfrmState {
    std::uint64_t packets = 0, bytes = 0;
    std::uint64_t replayed = 0, failed = 0;
    std::uint64_t added = 0; // seconds since the epoch, by its clock
};

// How long a state outlives the last keep_sa().
inline constexpr std::chrono::seconds kSaLease{15};

// The if_id of all states and policies behind an interface, and the reqid of those of one peer.
std::uint32_t xfrm_if_id(const std::string& interface);
std::uint32_t xfrm_reqid(const std::string& interface, const boost::asio::ip::address& right);

class Xfrm {
  public:
    // What the kernel lacks for this, as text; nothing: it has everything. Tested by trying,
    // because modules are loaded on demand.
    static Result<void> probe(bool ipv6);
    // Removes what an earlier process left under this interface's name. The error names what the
    // kernel lacks.
    static Result<Xfrm> open(const std::string& interface);
    Xfrm(Xfrm&&) noexcept = default;
    // Removes interface, states and policies.
    ~Xfrm();

    std::uint32_t if_id() const { return if_id_; }

    Result<void> make_interface(std::uint16_t mtu);
    // Routes of sockets bound to the interface, for IPv6 (IPv4 needs none).
    Result<void> add_route(const boost::asio::ip::address& right);

    Result<void> admit(const XfrmPair& pair);
    // Which outbound SA packets leave by; 0: none, they are dropped.
    Result<void> send_on(const XfrmPair& pair, std::uint32_t spi);
    // Whether admit() or send_on() still hold: somebody may flush the kernel's policies.
    bool has_policy(const XfrmPair& pair, bool outbound) const;
    void remove_policies(const XfrmPair& pair);

    Result<void> add_sa(const esp::SaParams& params, const XfrmPair& pair);
    // Extends a state's time limit. `params` need not have the key. False: the state is gone.
    bool keep_sa(const esp::SaParams& params, const XfrmPair& pair, const XfrmState& now);
    std::optional<XfrmState> read_sa(const esp::SaParams& params, const XfrmPair& pair) const;
    void remove_sa(const esp::SaParams& params, const XfrmPair& pair);

  private:
    struct Close {
        void operator()(mnl_socket* socket) const;
    };
    using Socket = std::unique_ptr<mnl_socket, Close>;

    Xfrm(Socket xfrm, Socket route, std::string interface);
    static Result<Socket> connect(int protocol);
    Result<void> flush();
    Result<void> remove_stale_interface();
    Result<void> bring_up();
    int policy(const XfrmPair& pair, bool outbound, std::uint32_t spi);
    int ask_policy(std::uint16_t type, const XfrmPair& pair, bool outbound) const;
    int sa(std::uint16_t type, const esp::SaParams& params, const XfrmPair& pair,
           std::uint64_t lifetime);

    Socket xfrm_, route_;
    std::string interface_;
    std::uint32_t if_id_;
};

} // namespace encsync::link
