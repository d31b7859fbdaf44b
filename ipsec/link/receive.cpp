// SPDX-License-Identifier: ISC
// From the wire to the receiver.
#include "ipsec/link/enc0.hpp"
#include "ipsec/link/internal.hpp"
#include "util/log.hpp"

#include <algorithm>

namespace encsync::link {

void UserspaceLink::wait_readable(const std::shared_ptr<Socket>& socket) {
    socket->wait.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                            [weak = std::weak_ptr(socket)](const boost::system::error_code& error) {
                                const auto s = weak.lock();
                                if (error || !s || !s->wait.is_open())
                                    return;
                                s->link.on_readable(*s);
                                if (s->wait.is_open()) // and not closed by what was received
                                    s->link.wait_readable(s);
                            });
}

// One system call a turn: the other sockets and timers come before the next.
void UserspaceLink::on_readable(Socket& socket) {
    const int n = socket.udp.receive(ring_);
    if (n < 0) {
        // An error about what we sent fails the call that receives, or only wakes us.
        read_errors(socket);
        return;
    }
    for (int i = 0; i < n && socket.wait.is_open(); i++) {
        const ReceiveRing::Message message = UdpSocket::message(ring_, i);
        if (std::find(sources_.begin(), sources_.end(), message.from.address()) == sources_.end()) {
            const std::size_t segment = std::max<std::size_t>(message.segment, 1);
            stats_.unknown_source +=
                std::max<std::size_t>((message.bytes.size() + segment - 1) / segment, 1);
            on_stranger(socket, message.from, message.bytes);
            continue;
        }
        std::size_t at = 0;
        do {
            const std::size_t size = std::min(message.segment, message.bytes.size() - at);
            on_datagram(socket, message.from, message.bytes.subspan(at, size));
            at += size;
        } while (at < message.bytes.size() && socket.wait.is_open());
    }
}

// They may be a flood: a few that came at once are told of, then the kernel drops them for a while.
void UserspaceLink::on_stranger(Socket& socket, const Endpoint& from, MutableBytes datagram) {
    if (socket.nat || !hooks_.on_stranger || datagram.size() < kIkeHeaderSize)
        return;
    if (!std::exchange(deaf_, true)) {
        const auto set_deaf = [this](bool deaf) {
            deaf_ = deaf;
            if (auto ok = collect_sources(); !ok)
                log::warning("{}", ok.error().text);
        };
        set_deaf(true);
        deaf_timer_.expires_after(options_.deaf);
        deaf_timer_.async_wait(
            [set_deaf, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
                if (!error && !alive.expired())
                    set_deaf(false);
            });
    }
    hooks_.on_stranger(from, socket.udp.local(), datagram.first(kIkeHeaderSize));
}

void UserspaceLink::on_datagram(Socket& socket, const Endpoint& from, MutableBytes datagram) {
    if (socket.nat) {
        if (datagram.size() == 1 && datagram[0] == kNatKeepalive) {
            stats_.keepalive++;
            return;
        }
        if (datagram.size() < kMarkerSize) {
            stats_.runt++;
            return;
        }
        if (load_be<std::uint32_t>(datagram.data()) != 0) {
            on_esp(datagram);
            return;
        }
        datagram = datagram.subspan(kMarkerSize);
    }
    if (datagram.size() < kIkeHeaderSize) {
        stats_.runt++;
        return;
    }
    stats_.ike_in++;
    if (hooks_.on_ike)
        hooks_.on_ike(from, socket.udp.local(), datagram);
}

// What transport mode leaves out, for those who want a whole packet. Valid until the next.
Bytes UserspaceLink::with_header(const net::Address& src, const net::Address& dst, Bytes payload) {
    const std::size_t header = ip_header_size(src.is_v6());
    whole_.resize(header + payload.size());
    write_inner_header(whole_.data(), src, dst, payload.size());
    std::ranges::copy(payload, whole_.begin() + static_cast<std::ptrdiff_t>(header));
    return whole_;
}

void UserspaceLink::on_esp(MutableBytes packet) {
    const std::uint32_t spi = load_be<std::uint32_t>(packet.data());
    InboundEntry* entry = sas_.inbound(spi);
    if (entry == nullptr) {
        stats_.unknown_spi++;
        return;
    }
    const PeerId id = entry->info.peer;
    PeerStats& stats = peers_[id]->stats; // SAs do not outlive their peer
    const esp::Opened opened = entry->sa.open(packet);
    switch (opened.verdict) {
    case esp::Verdict::ok:
        break;
    case esp::Verdict::dummy:
        stats.dummy++;
        on_dummy(*peers_[id], opened.inner);
        return;
    case esp::Verdict::replayed:
    case esp::Verdict::too_old:
        entry->info.replayed++;
        stats.refused[static_cast<std::size_t>(opened.verdict)]++;
        return;
    default:
        entry->info.failed++;
        stats.refused[static_cast<std::size_t>(opened.verdict)]++;
        return;
    }
    const Bytes inner = entry->info.transport
                            ? with_header(entry->inner_src, entry->inner_dst, opened.inner)
                            : without_padding(opened.inner);
    entry->info.packets++;
    entry->info.bytes += inner.size();
    stats.rx_packets++;
    stats.rx_bytes += inner.size();
    if (enc0_ != nullptr && enc0_->watched())
        enc0_->show(inner);
    // Last: the receiver may change SAs and peers.
    receiver_.on_packet(id, spi, inner);
}

} // namespace encsync::link
