// SPDX-License-Identifier: ISC
// Frames from a capture file (pcap or pcapng) or from a live interface, through libpcap.
//
//     auto capture = Capture::open_live("enc0");
//     while (auto frame = (*capture)->next()) ...     // null: the end; then look at failure()
//
// A live one delivers protocol 240 only, at once, until interrupt() is called, which is safe in a
// signal handler.
#pragma once

#include "util/bytes.hpp"
#include "util/result.hpp"

#include <memory>
#include <optional>
#include <string>

struct pcap;
struct pcap_dumper;
struct pcap_pkthdr;

namespace encsync::decode {

class Capture {
  public:
    struct Packet {
        double time = 0; // seconds since 1970
        Bytes bytes;     // valid until the next call
    };

    // "-": standard input. The error names the file.
    static Result<std::unique_ptr<Capture>> open_file(const std::string& path);
    static Result<std::unique_ptr<Capture>> open_live(const std::string& interface);
    ~Capture();
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    int link_type() const { return link_type_; } // a LINKTYPE or DLT number
    std::optional<Packet> next();
    // Why next() ended, if it was not at the end of the file.
    const std::string& failure() const { return failure_; }
    void interrupt();

    // From now on each packet that next() returns can be written to a capture file with keep().
    // Only its owner can read the file. "-": standard output.
    Result<void> write_to(const std::string& path);
    Result<void> keep();

  private:
    explicit Capture(pcap* handle, std::string name);

    pcap* handle_;
    pcap_dumper* dumper_ = nullptr;
    std::string name_, failure_;
    int link_type_;
    bool nanoseconds_;
    pcap_pkthdr* header_ = nullptr; // of the packet that next() returned
    const std::uint8_t* data_ = nullptr;
};

} // namespace encsync::decode
