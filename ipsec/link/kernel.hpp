// SPDX-License-Identifier: ISC
// KernelLink: ESP in UDP by the kernel, through an xfrm interface (xfrm.hpp). Packets pass a raw
// socket of protocol 240 (raw(7)) for each peer, bound to the interface and connected to the
// peer's address; IKE has its UDP sockets as in userspace, out of which the kernel takes ESP.
//
//     auto link = KernelLink::open(io, receiver, hooks, {.interface = "enc0"});
//     (*link)->add_peer(...);  the rest is in tunnel.hpp
//
// The receiving socket identifies the sender of a packet: the kernel has checked that its state
// belongs to this peer (by reqid) and its source is the peer's address.
//
// An interface that somebody deletes is made again within a second; SAs are not affected. Policies
// that somebody flushes are made again within seconds; until then nothing passes.
//
// SAs end with this object. If the process is killed, the kernel deletes them within kSaLease.
#pragma once

#include "ipsec/link/ike_sockets.hpp"
#include "ipsec/link/raw.hpp"
#include "ipsec/link/xfrm.hpp"

namespace encsync::link {

struct KernelOptions {
    std::string interface = "enc0";
    IkeOptions ike;
    std::uint64_t soft_limit = 0; // packets of an outbound SA until on_expire; 0: esp's default
};

class KernelLink final : public Tunnel, private RawSocket::Owner {
  public:
    // The error names what the kernel lacks.
    static Result<std::unique_ptr<KernelLink>> open(boost::asio::io_context& io, Receiver& receiver,
                                                    LinkHooks hooks, KernelOptions options);
    ~KernelLink() override;
    KernelLink(const KernelLink&) = delete;
    KernelLink& operator=(const KernelLink&) = delete;

    Result<void> add_peer(const LinkPeer& peer) override;
    Result<bool> move_peer(PeerId, const Address&, const Address&) override { return false; }
    void remove_peer(PeerId peer) override;

    Result<void> add_sa(const esp::SaParams& params) override;
    bool delete_sa(PeerId peer, std::uint32_t spi, esp::Direction direction) override;
    void drop_sas(PeerId peer) override;
    void drop_all() override;
    bool send_ike(const Endpoint& from, const Endpoint& to, Bytes datagram) override;

    MutableBytes acquire(PeerId peer) override;
    void commit(PeerId peer, std::size_t size) override;
    void flush() override;

    const LinkStats& stats() const override { return ike_->stats(); }
    std::uint64_t kernel_drops() const override { return ike_->kernel_drops(); }
    const PeerStats* peer_stats(PeerId peer) const override;
    std::vector<SaInfo> sas() const override;

  private:
    struct Peer;
    struct Sa;

    KernelLink(boost::asio::io_context& io, Receiver& receiver, LinkHooks hooks,
               KernelOptions options, Xfrm xfrm);
    Peer* find(PeerId peer) const { return peer < kMaxPeers ? peers_[peer].get() : nullptr; }
    Result<void> open_socket(Peer& peer);
    void on_raw_packet(PeerId peer, Bytes packet) override;
    void on_raw_writable(PeerId peer) override { receiver_.on_writable(peer); }
    void choose_sa(Peer& peer);
    void keep_policies(Peer& peer);
    void report_expiry(Peer& peer, Sa& sa);
    void beat();
    void beat(Peer& peer);
    void look();
    Result<void> make_interface();

    boost::asio::io_context& io_;
    Receiver& receiver_;
    LinkHooks hooks_;
    const KernelOptions options_;
    Xfrm xfrm_;
    std::unique_ptr<IkeSockets> ike_;
    const std::shared_ptr<RawSocket::Buffer> buffer_ = RawSocket::make_buffer();
    std::array<std::unique_ptr<Peer>, kMaxPeers> peers_;
    boost::asio::steady_timer beat_timer_, look_timer_;
    unsigned index_ = 0;          // of the interface
    bool failure_logged_ = false; // of making it again
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

} // namespace encsync::link
