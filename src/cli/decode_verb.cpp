// SPDX-License-Identifier: ISC
// encsync decode, encsync monitor: prints packets as text or JSON, or writes a capture file.
#include "cli/verbs.hpp"
#include "config/config.hpp"
#include "decode/capture.hpp"
#include "decode/decode.hpp"
#include "decode/frame.hpp"
#include "decode/hex.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <net/if.h>
#include <unistd.h>

namespace encsync::cli {

namespace json = boost::json;
using decode::Capture;
using decode::Frame;

namespace {

class Printer {
  public:
    explicit Printer(bool as_json) : as_json_(as_json) {}

    // `front` comes before what is in the packet: its time, its IP header.
    void print(const decode::Decoded& decoded, json::object front = {}) {
        packets_++;
        bad_ += decoded.bad ? 1 : 0;
        for (const auto& [name, value] : decoded.packet)
            front[name] = value;
        const std::string out = as_json_ ? json::serialize(front) + "\n" : decode::to_text(front);
        std::fwrite(out.data(), 1, out.size(), stdout);
    }

    // A frame of another protocol prints nothing.
    void print(int link_type, const Capture::Packet& packet) {
        const Frame frame = decode::find_pfsync(link_type, packet.bytes);
        if (frame.verdict == Frame::Verdict::other) {
            others_++;
            return;
        }
        json::object front;
        if (as_json_)
            front["time"] = decode::utc(packet.time);
        else
            front["time"] = packet.time;
        if (frame.ip)
            front["ip"] = {
                {"src_ip", frame.ip->src}, {"dst_ip", frame.ip->dst}, {"ttl", frame.ip->ttl}};
        print(frame.verdict == Frame::Verdict::bad ? decode::refused(frame.error, 0)
                                                   : decode::decode(frame.payload),
              std::move(front));
    }

    // The exit status: 1 if any packet was bad.
    int finish(const std::string& source) const {
        if (bad_ > 0)
            return fail(fmt::format("{}: {} of {} packets bad", source, bad_, packets_));
        if (packets_ == 0 && !as_json_)
            fmt::print(stderr, "encsync: {}: no pfsync packet among {}\n", source, others_);
        return 0;
    }

  private:
    bool as_json_;
    std::size_t packets_ = 0, bad_ = 0, others_ = 0;
};

// While it lives, SIGINT and SIGTERM end this capture and not the program.
class EndOnSignals {
  public:
    explicit EndOnSignals(Capture& capture) {
        current = &capture;
        set([](int) { current->interrupt(); });
    }
    ~EndOnSignals() { set(SIG_DFL); }
    EndOnSignals(const EndOnSignals&) = delete;
    EndOnSignals& operator=(const EndOnSignals&) = delete;

  private:
    static void set(void (*handler)(int)) {
        struct sigaction action {};
        action.sa_handler = handler;
        sigaction(SIGINT, &action, nullptr);
        sigaction(SIGTERM, &action, nullptr);
    }
    static inline Capture* current = nullptr;
};

// Reads a capture to its end, live or not. Stops when the output is closed.
int print_capture(Capture& capture, const std::string& source, bool live, Printer printer) {
    while (const auto packet = capture.next()) {
        printer.print(capture.link_type(), *packet);
        if ((live && std::fflush(stdout) != 0) || std::ferror(stdout) != 0)
            return 1; // main() reports why
    }
    const int status = printer.finish(source);
    return capture.failure().empty() ? status : fail(capture.failure());
}

constexpr std::size_t kMaxLine = decode::kMaxPacket * 4; // of the longest packet, with blanks

// One line, without its end; of one that is too long the first kMaxLine + 1 characters.
bool read_line(std::FILE* file, std::string& line) {
    line.clear();
    int c = std::getc(file);
    if (c == EOF)
        return false;
    for (; c != EOF && c != '\n'; c = std::getc(file))
        if (line.size() <= kMaxLine)
            line += static_cast<char>(c);
    return true;
}

int print_hex(const std::string& path, Printer printer) {
    const std::string name = path == "-" ? "standard input" : path;
    struct Close {
        void operator()(std::FILE* file) const {
            if (file != stdin)
                std::fclose(file);
        }
    };
    const std::unique_ptr<std::FILE, Close> file(path == "-" ? stdin
                                                             : std::fopen(path.c_str(), "re"));
    if (!file)
        return fail(fmt::format("{}: {}", name, std::strerror(errno)));
    for (std::string line; read_line(file.get(), line);) {
        const decode::Hex hex = decode::parse_hex(line);
        if (line.size() > kMaxLine)
            printer.print(decode::refused("too_long", kMaxLine));
        else if (!hex.error.empty())
            printer.print(decode::refused(hex.error, hex.column));
        else if (!hex.bytes.empty()) // an empty line has no packet
            printer.print(decode::decode(hex.bytes));
        if (std::fflush(stdout) != 0)
            return 1;
    }
    if (std::ferror(file.get()) != 0)
        return fail(fmt::format("{}: {}", name, std::strerror(errno)));
    return printer.finish(name);
}

// The interface on which the daemon of this configuration shows its traffic.
Result<std::string> syncdev(const Options& options) {
    if (!options.config_given && ::access(options.config.c_str(), F_OK) != 0)
        return config::default_setup().syncdev;
    const config::Loaded loaded = config::load(options.config);
    if (!loaded.config)
        return Error{fmt::format("{}: has errors; 'encsync check' lists them", options.config)};
    return loaded.config->setup.syncdev;
}

int write_capture(Capture& capture, const std::string& path) {
    if (auto opened = capture.write_to(path); !opened)
        return fail(opened.error().text);
    while (capture.next())
        if (auto kept = capture.keep(); !kept)
            return fail(kept.error().text);
    return capture.failure().empty() ? 0 : fail(capture.failure());
}

// Captures until a signal arrives; into a capture file if `write` names one.
int listen(const std::string& interface, const std::string& write, const Printer& printer) {
    auto capture = Capture::open_live(interface);
    if (!capture)
        return fail(capture.error().text);
    const EndOnSignals end(**capture);
    fmt::print(stderr, "encsync: listening on {}\n", interface);
    return write.empty() ? print_capture(**capture, interface, true, printer)
                         : write_capture(**capture, write);
}

} // namespace

int decode(const Options& options, const DecodeSource& source) {
    const Printer printer(options.json);
    if (source.hex)
        return print_hex(source.file, printer);
    if (source.interface.empty()) {
        auto capture = Capture::open_file(source.file);
        if (!capture)
            return fail(capture.error().text);
        const std::string name = source.file == "-" ? "standard input" : source.file;
        return print_capture(**capture, name, false, printer);
    }
    return listen(source.interface, {}, printer);
}

int monitor(const Options& options, const std::string& write) {
    const auto interface = syncdev(options);
    if (!interface)
        return fail(interface.error().text);
    if (if_nametoindex(interface->c_str()) == 0)
        return fail(fmt::format("{}: no such interface; is encsyncd running?", *interface));
    return listen(*interface, write, Printer(options.json));
}

} // namespace encsync::cli
