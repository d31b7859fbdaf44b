// SPDX-License-Identifier: ISC
#include "tests/lab/recording/recording.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <optional>
#include <pcap/pcap.h>

namespace encsync::recording {
namespace {

constexpr std::uint16_t kIpv4 = 0x0800, kIkePort = 500, kNatPort = 4500;
constexpr std::size_t kEthernet = 14, kUdp = 8, kEspHeader = 16;
// RFC 7296, 3.1 and 3.2
constexpr std::size_t kIkeHeader = 28, kPayloadHeader = 4;
constexpr std::uint8_t kSaInit = 34, kInitiator = 0x08, kResponse = 0x20;
constexpr std::uint8_t kKeyExchange = 34, kNonce = 40, kEncrypted = 46, kFragment = 53;

std::string exchange_name(std::uint8_t type) {
    switch (type) {
    case 35:
        return "IKE_AUTH";
    case 36:
        return "CREATE_CHILD_SA";
    case 37:
        return "INFORMATIONAL";
    }
    return fmt::format("exchange {}", type);
}

std::string hex(Bytes bytes) {
    std::string text;
    for (const std::uint8_t byte : bytes)
        text += fmt::format("{:02x}", byte);
    return text;
}

std::vector<std::uint8_t> copy(Bytes bytes) {
    return {bytes.begin(), bytes.end()};
}

// From its IV on.
std::optional<Packet> sealed(Bytes aad, Bytes rest) {
    if (rest.size() < kIv + kIcv)
        return std::nullopt;
    Packet packet;
    packet.aad = copy(aad);
    std::ranges::copy(rest.first(kIv), packet.iv.begin());
    packet.text = copy(rest.subspan(kIv, rest.size() - kIv - kIcv));
    std::ranges::copy(rest.last(kIcv), packet.icv.begin());
    return packet;
}

class Reader {
  public:
    explicit Reader(Recording& into) : into_(into) {}

    void frame(Bytes frame) {
        if (frame.size() < kEthernet + 20 || load_be<std::uint16_t>(&frame[12]) != kIpv4)
            return;
        const Bytes ip = frame.subspan(kEthernet);
        const std::size_t header = (ip[0] & 15U) * 4, size = load_be<std::uint16_t>(&ip[2]);
        if (ip[9] != 17 || ip.size() < size || size < header + kUdp)
            return;
        for (std::size_t at = kEthernet; at + 8 <= frame.size(); at++)
            into_.words.insert(load_be<std::uint64_t>(&frame[at]));
        const auto port = [&](std::size_t at) { return load_be<std::uint16_t>(&ip[header + at]); };
        const Bytes data = ip.subspan(header + kUdp, size - header - kUdp);
        from_ = load_be<std::uint32_t>(&ip[12]);
        if (port(0) == kIkePort || port(2) == kIkePort)
            ike(data);
        else if ((port(0) == kNatPort || port(2) == kNatPort) && data.size() >= 4) {
            if (load_be<std::uint32_t>(data.data()) == 0)
                ike(data.subspan(4));
            else
                esp(data);
        }
    }

  private:
    void esp(Bytes data) {
        if (data.size() < kEspHeader)
            return;
        // With ESN the whole number is authenticated (RFC 4106, 5), and encsync's IV is that
        // number.
        std::array<std::uint8_t, 12> aad;
        std::copy_n(data.begin(), 4, aad.begin());
        std::copy_n(data.begin() + 8, 8, aad.begin() + 4);
        if (auto packet = sealed(aad, data.subspan(8)))
            add(fmt::format("ESP {}", hex(data.first(4))), std::move(*packet), "ESP");
    }

    void ike(Bytes data) {
        if (data.size() < kIkeHeader + kPayloadHeader)
            return;
        const std::uint8_t next = data[16], exchange = data[18], flags = data[19];
        if (exchange == kSaInit)
            return begin(data, next, (flags & kResponse) != 0);
        if (next != kEncrypted && next != kFragment)
            return;
        const std::size_t head = kIkeHeader + kPayloadHeader + (next == kFragment ? 4 : 0);
        if (data.size() < head)
            return;
        if (auto packet = sealed(data.first(head), data.subspan(head)))
            add(fmt::format("IKE {} {} {}", hex(data.first(8)), hex(data.subspan(8, 8)),
                            (flags & kInitiator) != 0 ? "initiator" : "responder"),
                std::move(*packet), exchange_name(exchange));
    }

    void add(const std::string& name, Packet packet, const std::string& kind) {
        const auto [place, fresh] = places_.try_emplace(name, into_.streams.size());
        if (fresh) {
            into_.streams.emplace_back().name = name;
            if (kind == "ESP")
                give(name);
        }
        Stream& stream = into_.streams[place->second];
        if (packet.text.size() < (fresh ? packet : stream.packets[stream.shortest]).text.size())
            stream.shortest = stream.packets.size();
        stream.packets.push_back(std::move(packet));
        stream.kinds[kind]++;
    }

    // A new ESP SA is that of a negotiation that has none of this sender yet.
    void give(const std::string& name) {
        for (Negotiation& each : into_.negotiations)
            for (std::size_t side = 0; side < 2; side++)
                if (each.addresses[side] == from_ && each.children[side].empty())
                    each.children[side] = name;
    }

    struct Half {
        std::vector<std::uint8_t> nonce, key;
        std::uint32_t from = 0;
    };

    static Half read_half(Bytes data, std::uint8_t next) {
        Half half;
        for (Bytes rest = data.subspan(kIkeHeader); next != 0 && rest.size() >= kPayloadHeader;) {
            const std::size_t size = load_be<std::uint16_t>(&rest[2]);
            if (size < kPayloadHeader || size > rest.size())
                break;
            const Bytes body = rest.subspan(kPayloadHeader, size - kPayloadHeader);
            if (next == kNonce)
                half.nonce = copy(body);
            else if (next == kKeyExchange && body.size() >= 4)
                half.key = copy(body.subspan(4));
            next = rest[0];
            rest = rest.subspan(size);
        }
        return half;
    }

    // The last request before the answer counts: there may have been one without a cookie.
    void begin(Bytes data, std::uint8_t next, bool response) {
        Half half = read_half(data, next);
        if (half.nonce.empty() || half.key.empty())
            return;
        half.from = from_;
        const std::string spi = hex(data.first(8));
        if (!response) {
            requests_[spi] = std::move(half);
            return;
        }
        const Half& request = requests_[spi];
        Negotiation made;
        made.name = fmt::format("IKE {} {}", spi, hex(data.subspan(8, 8)));
        made.spis = copy(data.first(16));
        made.nonces = request.nonce;
        made.nonces.insert(made.nonces.end(), half.nonce.begin(), half.nonce.end());
        made.publics = {request.key, half.key};
        made.addresses = {request.from, half.from};
        if (std::ranges::find(into_.negotiations, made.name, &Negotiation::name) ==
            into_.negotiations.end())
            into_.negotiations.push_back(std::move(made));
    }

    Recording& into_;
    std::uint32_t from_ = 0; // the sender of the packet that is read
    std::map<std::string, std::size_t> places_;
    std::map<std::string, Half> requests_; // by the initiator's SPI
};

} // namespace

const Stream* Recording::find(const std::string& name) const {
    const auto found = std::ranges::find(streams, name, &Stream::name);
    return found == streams.end() ? nullptr : &*found;
}

Result<Recording> read_recording(const std::string& file) {
    std::array<char, PCAP_ERRBUF_SIZE> error{};
    pcap_t* handle = pcap_open_offline(file.c_str(), error.data());
    if (handle == nullptr)
        return Error{error.data()};
    Recording recording;
    Reader reader(recording);
    pcap_pkthdr* header = nullptr;
    const u_char* data = nullptr;
    while (pcap_next_ex(handle, &header, &data) == 1) // a last frame that is cut short is left out
        reader.frame({data, header->caplen});
    pcap_close(handle);
    return recording;
}

} // namespace encsync::recording
