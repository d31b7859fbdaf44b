// SPDX-License-Identifier: ISC
#include "pf_process.hpp"

#include "util/fd.hpp"

#include <netinet/in.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>

namespace encsync::sim {

using pfsync::Dialect;

namespace {

constexpr const char* kPython = "/usr/bin/python3";

// tests/lab/pf/simulated.py has the layouts.
constexpr std::size_t kRequestHeader = 14, kAnswerHeader = 14, kFlow = 76;
namespace layout {
constexpr std::size_t id = 0, creatorid = 8, ifname = 12, af = 28, proto = 29, direction = 30,
                      timeout = 31, flags = 32, wire = 34, stack = 70, src = 106, dst = 138,
                      age = 170, left = 174, size = 178;
constexpr std::size_t addr0 = 0, addr1 = 16, port0 = 32, port1 = 34; // in a key
constexpr std::uint16_t sloppy = 0x0002;
constexpr std::uint8_t out = 2;
} // namespace layout

// One child for all firewalls of a test program, which ends at the end of its socket: with this
// process, however that ends.
class Python {
  public:
    static Python& instance() {
        static Python python;
        return python;
    }

    void write(Bytes data) {
        while (!data.empty()) {
            const ssize_t n = ::send(socket_.get(), data.data(), data.size(), MSG_NOSIGNAL);
            if (n <= 0)
                throw std::runtime_error("pf has ended");
            data = data.subspan(static_cast<std::size_t>(n));
        }
    }
    void read(MutableBytes data) {
        while (!data.empty()) {
            const ssize_t n = ::recv(socket_.get(), data.data(), data.size(), 0);
            if (n <= 0)
                throw std::runtime_error("pf has ended");
            data = data.subspan(static_cast<std::size_t>(n));
        }
    }

  private:
    Python() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            throw std::runtime_error("no socket for pf");
        socket_.reset(ends[0]);
        const Fd theirs(ends[1]);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, theirs.get(), 0);
        const char* const arguments[] = {kPython, "-B", "-S", "-m", "pf.simulated", nullptr};
        const char* const environment[] = {"PYTHONPATH=" ENCSYNC_PF_PATH, nullptr};
        const int failed =
            ::posix_spawn(&child_, kPython, &actions, nullptr, const_cast<char* const*>(arguments),
                          const_cast<char* const*>(environment));
        posix_spawn_file_actions_destroy(&actions);
        if (failed != 0)
            throw std::runtime_error("pf does not start");
    }
    ~Python() {
        socket_.reset();
        ::waitpid(child_, nullptr, 0);
    }

    Fd socket_;
    pid_t child_ = -1;
};

PfProcess::Totals totals_of_all;

std::int64_t nanoseconds(Instant when) {
    return Duration(when.time_since_epoch()).count();
}

bool is_icmp(std::uint8_t proto) {
    return proto == IPPROTO_ICMP || proto == IPPROTO_ICMPV6;
}

// Some releases have the id twice in ICMP's ports, others the type beside it.
std::uint16_t icmp_type(std::uint8_t proto, std::uint16_t id, std::uint16_t port) {
    const std::uint16_t echo = proto == IPPROTO_ICMP ? 8 : 128;
    return static_cast<std::uint16_t>((id == port ? echo : port) << 8);
}

state::Tuple read_key(const std::uint8_t* k, bool out, std::uint8_t proto) {
    state::Tuple tuple;
    std::memcpy(tuple.src.bytes.data(), k + (out ? layout::addr1 : layout::addr0), 16);
    std::memcpy(tuple.dst.bytes.data(), k + (out ? layout::addr0 : layout::addr1), 16);
    tuple.sport = load_be<std::uint16_t>(k + (out ? layout::port1 : layout::port0));
    tuple.dport = load_be<std::uint16_t>(k + (out ? layout::port0 : layout::port1));
    if (is_icmp(proto))
        tuple.dport = icmp_type(proto, tuple.sport, tuple.dport);
    return tuple;
}

PfState read_state(const std::uint8_t* m) {
    PfState s;
    const bool out = m[layout::direction] == layout::out;
    state::Flow& flow = s.flow;
    flow.id = {load_be<std::uint64_t>(m + layout::id),
               load_be<std::uint32_t>(m + layout::creatorid)};
    flow.key.proto = m[layout::proto];
    flow.key.family = m[layout::af] == 4 ? state::Family::inet : state::Family::inet6;
    flow.key.orig = read_key(m + (out ? layout::stack : layout::wire), out, flow.key.proto);
    state::Key translated = flow.key;
    translated.orig = read_key(m + (out ? layout::wire : layout::stack), out, flow.key.proto);
    flow.reply = inverse(translated);
    std::memcpy(s.src.data(), m + layout::src, s.src.size());
    std::memcpy(s.dst.data(), m + layout::dst, s.dst.size());
    flow.src_state = s.src[pfsync::common::peer::state];
    flow.dst_state = s.dst[pfsync::common::peer::state];
    flow.age = load_be<std::uint32_t>(m + layout::age);
    flow.timeout = load_be<std::uint32_t>(m + layout::left);
    s.timeout = m[layout::timeout];
    s.sloppy = (load_be<std::uint16_t>(m + layout::flags) & layout::sloppy) != 0;
    s.outgoing = out;
    return s;
}

std::array<std::uint8_t, kFlow> write_flow(const state::Flow& flow) {
    std::array<std::uint8_t, kFlow> out{};
    const state::Key& key = flow.key;
    const state::Tuple translated = inverse(state::Key{flow.reply, 0, key.proto, key.family});
    out[0] = key.proto;
    out[1] = key.family == state::Family::inet ? 4 : 6;
    out[2] = flow.src_state;
    out[3] = flow.dst_state;
    std::uint8_t* port = &out[4];
    std::uint8_t* address = &out[12];
    for (const state::Tuple* tuple : {&key.orig, &translated}) {
        store_be(port, tuple->sport);
        store_be(port + 2, tuple->dport);
        std::memcpy(address, tuple->src.bytes.data(), 16);
        std::memcpy(address + 16, tuple->dst.bytes.data(), 16);
        port += 4;
        address += 32;
    }
    return out;
}

std::string json(const std::string& text) {
    return '"' + text + '"';
}

} // namespace

bool PfProcess::available() {
    return ::access(kPython, X_OK) == 0;
}

PfProcess::Totals PfProcess::totals() {
    return totals_of_all;
}

PfProcess::PfProcess(World& world, unsigned self, Dialect dialect, Options options)
    : world_(world), self_(self), dialect_(dialect), options_(std::move(options)) {
    world.nodes[self]->stop();
    world.nodes[0]->stop();
    world.nodes[0]->wire[self] = dialect;
    world.machines[self] = this;
    world.nodes[0]->start();
    begin();
}

PfProcess::~PfProcess() {
    try {
        status();                     // counts
    } catch (const std::exception&) { // it has ended, and a test has failed for it
    }
    world_.machines.erase(self_);
}

void PfProcess::begin() {
    counted_ = {};
    std::string faults;
    for (const std::string& fault : options_.faults)
        faults += (faults.empty() ? "" : ",") + json(fault);
    const std::string options =
        R"({"dialect":)" + json(std::string(to_string(dialect_))) + R"(,"hostid":)" +
        std::to_string(creatorid(self_)) + R"(,"seed":)" + std::to_string(options_.seed) +
        R"(,"bound":)" + (options_.bound ? "true" : "false") + R"(,"both":)" +
        (options_.both ? "true" : "false") + R"(,"faults":[)" + faults + "]}";
    ask(What::begin, {reinterpret_cast<const std::uint8_t*>(options.data()), options.size()});
}

void PfProcess::reboot() {
    status(); // counts
    begin();
}

std::vector<std::uint8_t> PfProcess::ask(What what, Bytes body) {
    Python& python = Python::instance();
    std::vector<std::uint8_t> request(kRequestHeader);
    request[0] = static_cast<std::uint8_t>(what);
    request[1] = static_cast<std::uint8_t>(self_);
    store_be(&request[2], static_cast<std::uint64_t>(nanoseconds(world_.now)));
    store_be(&request[10], static_cast<std::uint32_t>(body.size()));
    request.insert(request.end(), body.begin(), body.end());
    python.write(request);

    std::array<std::uint8_t, kAnswerHeader> header{};
    python.read(header);
    std::vector<std::uint8_t> answer(load_be<std::uint32_t>(header.data()));
    python.read(answer);
    const auto deadline = static_cast<std::int64_t>(load_be<std::uint64_t>(&header[4]));
    deadline_ = Instant(Duration(deadline));
    std::size_t at = 0;
    for (auto n = load_be<std::uint16_t>(&header[12]); n > 0; n--) {
        const auto size = load_be<std::uint16_t>(&answer[at]);
        const auto begin = answer.begin() + static_cast<long>(at) + 2;
        const std::vector<std::uint8_t> packet(begin, begin + size);
        world_.send(self_, 0, packet);
        for (const unsigned other : options_.hears)
            world_.send(self_, other, packet);
        at += 2u + size;
    }
    states_.reset();
    return {answer.begin() + static_cast<long>(at), answer.end()};
}

void PfProcess::packet(const state::Flow& flow) {
    ask(What::passes, write_flow(flow));
}

void PfProcess::close(const state::Flow& flow) {
    ask(What::close, write_flow(flow));
}

bool PfProcess::has(const state::Flow& flow) {
    return ask(What::has, write_flow(flow)).front() != 0;
}

void PfProcess::flush() {
    ask(What::flush, {});
}

void PfProcess::on_packet(unsigned, Bytes packet) {
    ask(What::receive, packet);
}

void PfProcess::advance(Instant now) {
    if (now >= deadline_)
        ask(What::advance, {});
}

const std::multimap<state::Key, PfState>& PfProcess::states() {
    if (!states_) {
        const std::vector<std::uint8_t> all = ask(What::states, {});
        auto& states = states_.emplace();
        for (std::size_t at = 0; at < all.size(); at += layout::size) {
            const PfState state = read_state(&all[at]);
            states.emplace(state.flow.key, state);
        }
    }
    return *states_;
}

const PfState* PfProcess::find(const state::Key& key) {
    const auto it = states().find(key);
    return it == states().end() ? nullptr : &it->second;
}

std::vector<PfState> PfProcess::list() {
    std::vector<PfState> out;
    for (const auto& [key, state] : states())
        out.push_back(state);
    return out;
}

Pf::Status PfProcess::status() {
    const std::vector<std::uint8_t> stats = ask(What::stats, {});
    const Totals now{load_be<std::uint64_t>(&stats[0]), load_be<std::uint64_t>(&stats[8]),
                     load_be<std::uint64_t>(&stats[16])};
    totals_of_all.packets += now.packets - counted_.packets;
    totals_of_all.sent += now.sent - counted_.sent;
    totals_of_all.received += now.received - counted_.received;
    counted_ = now;
    Status status;
    status.rolled_back = load_be<std::uint32_t>(&stats[24]);
    status.stale = load_be<std::uint32_t>(&stats[28]);
    status.tries = load_be<std::uint32_t>(&stats[32]);
    status.in_step = stats[36] != 0;
    status.gave_up = stats[37] != 0;
    return status;
}

} // namespace encsync::sim
