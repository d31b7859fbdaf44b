// SPDX-License-Identifier: ISC
#include "cli/live_check.hpp"

#include "control/client.hpp"
#include "keys/age.hpp"
#include "keys/files.hpp"
#include "keys/store.hpp"
#include "net/mac.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <optional>
#include <pwd.h>
#include <unistd.h>

namespace encsync::cli {

namespace {

using config::Address;

// An address of this machine, and the broadcast address of its network.
struct Own {
    std::string interface;
    Address address;
    std::optional<Address> broadcast; // IPv4
};

std::optional<Address> read_address(const sockaddr* from) {
    if (from == nullptr)
        return std::nullopt;
    Address out;
    if (from->sa_family == AF_INET) {
        const auto* in = reinterpret_cast<const sockaddr_in*>(from);
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&in->sin_addr);
        out.ip = net::Address::read(bytes, net::Family::inet);
        return out;
    }
    if (from->sa_family == AF_INET6) {
        const auto* in6 = reinterpret_cast<const sockaddr_in6*>(from);
        out.ip = net::Address::read(in6->sin6_addr.s6_addr, net::Family::inet6);
        std::array<char, IF_NAMESIZE> scope{};
        if (out.ip.is_link_local() && ::if_indextoname(in6->sin6_scope_id, scope.data()) != nullptr)
            out.scope = scope.data();
        return out;
    }
    return std::nullopt;
}

std::vector<Own> own_addresses() {
    ifaddrs* first = nullptr;
    if (::getifaddrs(&first) != 0)
        return {};
    const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> all(first, ::freeifaddrs);
    std::vector<Own> out;
    for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next)
        if (auto address = read_address(at->ifa_addr)) {
            if (address->ip.is_link_local())
                address->scope = at->ifa_name;
            const bool broadcasts = (at->ifa_flags & IFF_BROADCAST) != 0;
            out.push_back({at->ifa_name, *address,
                           broadcasts ? read_address(at->ifa_broadaddr) : std::nullopt});
        }
    return out;
}

class LiveCheck {
  public:
    LiveCheck(const config::Config& config, const std::string& run_dir)
        : config_(config), run_dir_(run_dir), own_(own_addresses()) {}

    LiveFindings run() {
        machine();
        for (const config::Conn& conn : config_.conns)
            addresses(conn);
        keys();
        return std::move(found_);
    }

  private:
    template<class... Parts>
    void fault(fmt::format_string<Parts...> format, Parts&&... parts) {
        found_.faults.push_back(fmt::format(format, std::forward<Parts>(parts)...));
    }

    const Own* own(const Address& address) const {
        const auto at = std::ranges::find(own_, address, &Own::address);
        return at == own_.end() ? nullptr : &*at;
    }

    void machine() {
        const auto& setup = config_.setup;
        if (config_.conns.empty())
            fault("there is no conn, so this node has no peer");
        if (!setup.charonuser.empty() && ::getpwnam(setup.charonuser.c_str()) == nullptr)
            fault("charonuser {}: there is no such user", setup.charonuser);
        const auto daemon = control::Client::connect_if_running(run_dir_);
        const bool running = daemon && *daemon;
        if (!running && ::if_nametoindex(setup.syncdev.c_str()) != 0)
            fault("syncdev {}: there is such an interface already, and encsyncd, which would make "
                  "it, does not run",
                  setup.syncdev);
    }

    void addresses(const config::Conn& conn) {
        if (conn.is_cable() && ::if_nametoindex(conn.syncdev.c_str()) == 0)
            fault("conn {}: syncdev: this machine has no interface '{}'", conn.name, conn.syncdev);
        if (!conn.left.scope.empty() && ::if_nametoindex(conn.left.scope.c_str()) == 0)
            fault("conn {}: left {}: this machine has no interface '{}'", conn.name,
                  config::to_string(conn.left), conn.left.scope);
        else if (own(conn.left) == nullptr)
            fault("conn {}: left {} is no address of this machine", conn.name,
                  config::to_string(conn.left));
        for (const Address& sender : conn.senders())
            peer_address(conn, sender);
        if (!conn.mac.empty() && net::has_mac(conn.syncdev) == false)
            fault("conn {}: mac: frames on {} have no MAC addresses", conn.name, conn.syncdev);
    }

    void peer_address(const config::Conn& conn, const Address& address) {
        const char* what = conn.is_group() ? "speaker" : "right";
        if (const Own* mine = own(address))
            fault("conn {}: {} {} is this machine's own address, on {}", conn.name, what,
                  config::to_string(address), mine->interface);
        for (const Own& mine : own_)
            if (mine.broadcast == address)
                fault("conn {}: {} {} is the broadcast address of {}", conn.name, what,
                      config::to_string(address), mine.interface);
    }

    void keys() {
        const auto store = keys::Store::open(
            config_.setup.keydir,
            std::make_shared<keys::Unlock>(keys::unattended(config_.setup.keypassphrase)));
        if (!store)
            return fault("{}", store.error().text);
        // systemd gives a credential to the service alone, so that a passphrase in one is not
        // looked for here.
        if (!config_.setup.keypassphrase.empty())
            if (const auto secret = store->creatorid(); !secret)
                fault("{}", secret.error().text);
        const auto identities = store->own_keys();
        if (!identities)
            fault("{}", identities.error().text);
        else if (identities->front().name != config_.setup.node)
            fault("the identity in {} is that of '{}', but this node is '{}'", store->directory(),
                  identities->front().name, config_.setup.node);
        else
            add_age(keys::overdue(identities->front().created, config_.setup.rotate, now_));
        const auto trusted = store->trusted();
        if (!trusted)
            return fault("{}", trusted.error().text);
        for (const config::Conn& conn : config_.conns) {
            for (const ike::CredentialTraits& kind : ike::kCredentials)
                if (!conn.in_store(kind.kind))
                    credential(conn, kind);
                else if (kind.form == ike::FileForm::preshared)
                    preshared(conn, *store);
                else
                    certificates(conn, kind.kind, *store);
            if (conn.by_trusted_key() &&
                std::ranges::find(*trusted, conn.rightid, &keys::TrustedKey::name) ==
                    trusted->end())
                fault("conn {}: no key of '{}' is trusted; run encsync pair on both, or bring its "
                      "public key and run encsync "
                      "keys trust",
                      conn.name, conn.rightid);
        }
    }

    void preshared(const config::Conn& conn, const keys::Store& store) {
        const auto there = store.has_psk(conn.rightid);
        if (!there)
            fault("conn {}: {}", conn.name, there.error().text);
        else if (!*there)
            fault("conn {}: {}", conn.name, keys::no_psk(conn.rightid));
    }

    void certificates(const config::Conn& conn, ike::CredentialKind kind,
                      const keys::Store& store) {
        const auto use = kind == ike::CredentialKind::ca ? keys::CertificateUse::authority
                                                         : keys::CertificateUse::own;
        const auto held = store.certificates(conn.rightid);
        if (!held)
            return fault("conn {}: {}", conn.name, held.error().text);
        if (!*held || (*held)->of(use).empty())
            return fault("conn {}: {}", conn.name, keys::no_certificate(use, conn.rightid));
        const std::vector<keys::HeldCertificate>& all = (*held)->of(use);
        for (const keys::HeldCertificate& one : all)
            if (use == keys::CertificateUse::authority || &one == &all.back())
                certificate(conn, keys::name_in_store(use, conn.rightid, &one != &all.back()),
                            one.der);
    }

    void credential(const config::Conn& conn, const ike::CredentialTraits& kind) {
        const std::string& file = conn.file(kind.kind);
        if (file.empty())
            return;
        if (::access(file.c_str(), R_OK) != 0)
            return fault("conn {}: {}: {}", conn.name, file, std::strerror(errno));
        if (kind.form != ike::FileForm::certificate)
            return;
        const auto der = keys::read_certificate(file);
        if (!der)
            return fault("conn {}: {}", conn.name, der.error().text);
        certificate(conn, file, *der);
    }

    // name: what it is in, for the text.
    void certificate(const config::Conn& conn, const std::string& name, Bytes der) {
        const auto validity = keys::read_validity(der);
        if (!validity)
            return fault("conn {}: {}: {}", conn.name, name, validity.error().text);
        std::string text =
            keys::complaint(fmt::format("conn {}: {}", conn.name, name), *validity, now_);
        if (keys::is_valid(*validity, now_))
            add_age(std::move(text));
        else
            found_.faults.push_back(std::move(text));
    }

    void add_age(std::string text) {
        if (!text.empty())
            found_.ages.push_back(std::move(text));
    }

    const config::Config& config_;
    const std::string& run_dir_;
    const std::vector<Own> own_;
    const keys::UnixTime now_ = keys::unix_now();
    LiveFindings found_;
};

} // namespace

LiveFindings check_live(const config::Config& config, const std::string& run_dir) {
    return LiveCheck(config, run_dir).run();
}

} // namespace encsync::cli
