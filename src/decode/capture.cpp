// SPDX-License-Identifier: ISC
#include "decode/capture.hpp"

#include "decode/frame.hpp"
#include "util/fd.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <pcap/pcap.h>

namespace encsync::decode {
namespace {

constexpr int kSnapLength = 262144; // as tcpdump(8): packets are never truncated
constexpr int kWaitMs = 100;        // required by libpcap, without effect in immediate mode

// For an interface with Ethernet frames, for one without, and for enc0 among all interfaces
// ("any"), whose packets have an EtherType of their own. The first that libpcap accepts is used;
// captured frames are checked again.
constexpr std::array<const char*, 3> kFilters{
    "ip proto 240 or ip6 proto 240 or ether proto 0x88b5 or "
    "(vlan and (ip proto 240 or ip6 proto 240))",
    "ip proto 240 or ip6 proto 240 or ether proto 0x88b5",
    "ip proto 240 or ip6 proto 240",
};

Result<void> filter(pcap* handle) {
    for (const char* text : kFilters) {
        bpf_program program{};
        if (pcap_compile(handle, &program, text, 1, PCAP_NETMASK_UNKNOWN) != 0)
            continue;
        const int status = pcap_setfilter(handle, &program);
        pcap_freecode(&program);
        if (status == 0)
            return {};
    }
    return Error{fmt::format("no filter for protocol 240: {}", pcap_geterr(handle))};
}

Error unknown_link_type(const std::string& name, int type) {
    const char* text = pcap_datalink_val_to_name(type);
    return Error{fmt::format("{}: link type {} ({}) is not one that carries pfsync", name, type,
                             text == nullptr ? "unknown" : text)};
}

} // namespace

Capture::Capture(pcap* handle, std::string name)
    : handle_(handle), name_(std::move(name)), link_type_(pcap_datalink(handle)),
      nanoseconds_(pcap_get_tstamp_precision(handle) == PCAP_TSTAMP_PRECISION_NANO) {}

Capture::~Capture() {
    if (dumper_ != nullptr)
        pcap_dump_close(dumper_);
    pcap_close(handle_);
}

Result<std::unique_ptr<Capture>> Capture::open_file(const std::string& path) {
    std::array<char, PCAP_ERRBUF_SIZE> error{};
    const std::string name = path == "-" ? "standard input" : path;
    pcap* handle = pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO,
                                                           error.data());
    if (handle == nullptr) {
        // libpcap names the file in some of its messages.
        const std::string_view text = error.data();
        return Error{text.starts_with(path) ? std::string(text)
                                            : fmt::format("{}: {}", name, text)};
    }
    std::unique_ptr<Capture> out(new Capture(handle, name));
    if (!knows_link_type(out->link_type_))
        return unknown_link_type(name, out->link_type_);
    return out;
}

Result<std::unique_ptr<Capture>> Capture::open_live(const std::string& interface) {
    std::array<char, PCAP_ERRBUF_SIZE> error{};
    pcap* handle = pcap_create(interface.c_str(), error.data());
    if (handle == nullptr)
        return Error{fmt::format("{}: {}", interface, error.data())};
    pcap_set_snaplen(handle, kSnapLength);
    pcap_set_immediate_mode(handle, 1);
    pcap_set_timeout(handle, kWaitMs);
    // Not promiscuous: packets for other hosts are not for this firewall. Above 0: a warning.
    if (const int status = pcap_activate(handle); status < 0) {
        const std::string_view reason = pcap_statustostr(status), detail = pcap_geterr(handle);
        Error out{fmt::format("{}: {}", interface, detail.empty() ? reason : detail)};
        pcap_close(handle);
        return out;
    }
    std::unique_ptr<Capture> out(new Capture(handle, interface));
    if (!knows_link_type(out->link_type_))
        return unknown_link_type(interface, out->link_type_);
    if (auto filtered = filter(handle); !filtered)
        return Error{fmt::format("{}: {}", interface, filtered.error().text)};
    return out;
}

std::optional<Capture::Packet> Capture::next() {
    for (;;) {
        switch (pcap_next_ex(handle_, &header_, &data_)) {
        case 1: {
            const double parts = nanoseconds_ ? 1e9 : 1e6;
            return Packet{static_cast<double>(header_->ts.tv_sec) +
                              static_cast<double>(header_->ts.tv_usec) / parts,
                          {data_, header_->caplen}};
        }
        case 0: // nothing yet
            continue;
        case PCAP_ERROR_BREAK: // end of the file, or interrupt()
            return std::nullopt;
        default:
            failure_ = fmt::format("{}: {}", name_, pcap_geterr(handle_));
            return std::nullopt;
        }
    }
}

void Capture::interrupt() {
    pcap_breakloop(handle_);
}

Result<void> Capture::write_to(const std::string& path) {
    if (path == "-") {
        dumper_ = pcap_dump_fopen(handle_, stdout);
    } else {
        Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
        std::FILE* file = fd ? fdopen(fd.get(), "wb") : nullptr;
        if (file == nullptr)
            return Error{fmt::format("{}: {}", path, std::strerror(errno))};
        fd.release();
        dumper_ = pcap_dump_fopen(handle_, file);
    }
    if (dumper_ == nullptr)
        return Error{fmt::format("{}: {}", path, pcap_geterr(handle_))};
    return {};
}

Result<void> Capture::keep() {
    pcap_dump(reinterpret_cast<u_char*>(dumper_), header_, data_);
    // At once: readers of the file see it, and SIGKILL loses nothing.
    if (pcap_dump_flush(dumper_) != 0)
        return Error{fmt::format("writing the capture: {}", std::strerror(errno))};
    return {};
}

} // namespace encsync::decode
