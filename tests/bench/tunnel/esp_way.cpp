// SPDX-License-Identifier: ISC
// Through UserspaceLink: SAs as from IKE, real sockets, GSO and GRO.
#include "ipsec/link/userspace.hpp"
#include "tests/bench/tunnel/way.hpp"
#include "util/bytes.hpp"

namespace encsync::bench {
namespace {

constexpr std::size_t kInnerHeader = 20;

esp::SaParams params(esp::Direction direction, std::uint32_t generation) {
    esp::SaParams p;
    p.spi = 0x1000 + generation;
    p.peer = 0;
    p.direction = direction;
    p.esn = true;
    p.inner_src.bytes = {10, 0, 0, 1};
    p.inner_dst.bytes = {10, 0, 0, 2};
    p.keymat_size = 36;
    p.keymat.fill(static_cast<std::uint8_t>(generation));
    return p;
}

struct End : link::Receiver {
    End(const std::string& left, const std::string& right) {
        auto opened = link::UserspaceLink::open(io, *this, {}, {});
        if (!opened)
            fail(opened.error().text);
        link = std::move(*opened);
        link::LinkPeer peer;
        peer.id = 0;
        peer.name = "peer";
        peer.left = boost::asio::ip::make_address(left);
        peer.right = boost::asio::ip::make_address(right);
        if (auto added = link->add_peer(peer); !added)
            fail(added.error().text);
    }
    void add(esp::Direction direction, std::uint32_t generation) {
        if (auto added = link->add_sa(params(direction, generation)); !added)
            fail(added.error().text);
    }
    void drop(esp::Direction direction, std::uint32_t generation) {
        if (!link->delete_sa(0, params(direction, generation).spi, direction))
            fail("no SA to delete");
    }
    void on_packet(PeerId, std::uint32_t, Bytes inner) override {
        if (shared != nullptr && inner.size() == kPacket)
            count(*shared, load_be<std::uint64_t>(inner.data() + kInnerHeader));
    }
    void on_up(PeerId) override {}
    void on_down(PeerId) override {}
    void on_writable(PeerId) override {}

    boost::asio::io_context io{1};
    std::unique_ptr<link::UserspaceLink> link;
    Shared* shared = nullptr;
};

class EspSender final : public Sender {
  public:
    EspSender(Shared& shared, const std::string& from, const std::string& to)
        : shared_(shared), end_(from, to) {
        end_.add(esp::Direction::outbound, generation_);
    }
    std::size_t send(std::uint64_t number, std::size_t packets) override {
        change_over();
        std::size_t taken = 0;
        for (; taken < packets; taken++) {
            const MutableBytes room = end_.link->acquire(0);
            if (room.size() < kPacket - kInnerHeader)
                break;
            store_be(room.data(), number + taken);
            end_.link->commit(0, kPacket - kInnerHeader);
        }
        end_.link->flush();
        if (taken == 0)
            idle();
        return taken;
    }
    void idle() override {
        end_.io.restart();
        end_.io.run_one_for(std::chrono::microseconds(50));
    }
    void rekey() override {
        if (shared_.wanted.load() == generation_) // otherwise one is in progress
            shared_.wanted = generation_ + 1;
    }

  private:
    void change_over() {
        const std::uint32_t next = shared_.installed.load(std::memory_order_acquire);
        if (next == generation_)
            return;
        end_.add(esp::Direction::outbound, next);
        end_.drop(esp::Direction::outbound, generation_);
        shared_.retired = generation_;
        generation_ = next;
    }
    Shared& shared_;
    End end_;
    std::uint32_t generation_ = 1;
};

} // namespace

std::unique_ptr<Sender> esp_sender(Shared& shared, const std::string& from, const std::string& to) {
    return std::make_unique<EspSender>(shared, from, to);
}

void esp_receiver(Shared& shared, const std::string& at, const std::string& from) {
    End end(at, from);
    end.shared = &shared;
    std::uint32_t generation = 1, retired = 0;
    end.add(esp::Direction::inbound, generation);
    shared.wanted = shared.installed = generation;
    shared.ready = true;
    while (!shared.done) {
        end.io.restart();
        end.io.run_one_for(std::chrono::milliseconds(1));
        if (shared.wanted != generation) {
            end.add(esp::Direction::inbound, ++generation);
            shared.installed.store(generation, std::memory_order_release);
        }
        if (shared.retired != retired) {
            retired = shared.retired;
            end.drop(esp::Direction::inbound, retired);
        }
    }
}

} // namespace encsync::bench
