#include "describe.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace encsync::pfsync {

using namespace openbsd;

namespace {

std::string name_of(std::uint8_t action) {
    switch (static_cast<Action>(action)) {
    case Action::clr:
        return "clr";
    case Action::ins_ack:
        return "ins_ack";
    case Action::upd_c:
        return "upd_c";
    case Action::upd_req:
        return "upd_req";
    case Action::del:
        return "del";
    case Action::del_c:
        return "del_c";
    case Action::bus:
        return "bus";
    case Action::ins:
        return "ins";
    case Action::upd:
        return "upd";
    case Action::tdb:
        return "tdb";
    default:
        return fmt::format("{}", action);
    }
}

std::string show(state::StateId id) {
    return fmt::format("id {:016x}/{:08x}", id.id, id.creatorid);
}

std::string show(const state::Tuple& t, state::Family family) {
    return fmt::format("{} {} {} {}", to_string(t.src, family), t.sport, to_string(t.dst, family),
                       t.dport);
}

std::string show_flags(std::uint8_t flags) {
    std::string out;
    const auto add = [&](std::uint8_t bit, const char* word) {
        if ((flags & bit) != 0)
            out += (out.empty() ? "" : " ") + std::string(word);
    };
    add(state::kSeenReply, "seen_reply");
    add(state::kAssured, "assured");
    add(state::kNoSync, "no_sync");
    add(state::kSloppy, "sloppy");
    return out;
}

std::string show(const FullState& s) {
    const state::Flow& f = s.flow;
    std::string out = fmt::format(
        "{} proto {} orig {} reply {} states {}:{} flags [{}] timeout {} age {} mark {} zone {}",
        show(f.id), f.key.proto, show(f.key.orig, f.key.family), show(f.reply, f.key.family),
        f.src_state, f.dst_state, show_flags(f.flags), f.timeout, f.age, f.mark, f.key.zone);
    if (s.has_tail)
        out += s.live ? " tail live" : " tail copy";
    if (s.wants_ack)
        out += " wants_ack";
    return out;
}

template<class Message, class Show>
std::string read_and_show(Bytes message, Show&& shown) {
    Message m;
    const Fault fault = read(message, m);
    return fault == Fault::none ? shown(m) : fmt::format("refused {}", to_string(fault));
}

std::string slurp(const std::filesystem::path& path) {
    std::ifstream in(path);
    if (!in)
        throw std::runtime_error("cannot read " + path.string());
    return {std::istreambuf_iterator<char>(in), {}};
}

Vector load(const std::filesystem::path& hex) {
    Vector v{hex.stem().string(), {}, {}};
    std::string digits = slurp(hex);
    std::erase_if(digits, [](char c) { return c == '\n'; });
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        v.packet.push_back(static_cast<std::uint8_t>(std::stoul(digits.substr(i, 2), nullptr, 16)));
    v.expect = slurp(std::filesystem::path(hex).replace_extension(".expect"));
    return v;
}

} // namespace

std::string describe_message(std::uint8_t action, Bytes message) {
    switch (static_cast<Action>(action)) {
    case Action::ins:
    case Action::upd:
    case Action::del:
        return read_and_show<FullState>(message, [](const auto& m) { return show(m); });
    case Action::upd_c:
        return read_and_show<CompressedUpdate>(message, [](const auto& m) {
            return fmt::format("{} states {}:{} timeout {}", show(m.id), m.src.state(),
                               m.dst.state(), m.timeout);
        });
    case Action::ins_ack:
    case Action::upd_req:
    case Action::del_c:
        return message.size() < kIdSize ? "refused short_message" : show(read_id(message));
    case Action::clr:
        return read_and_show<Clear>(message, [](const auto& m) {
            return fmt::format("clr [{}] {:08x}", m.ifname, m.creatorid);
        });
    case Action::bus:
        return read_and_show<BulkStatus>(message, [](const auto& m) {
            return fmt::format("{} {:08x} {}", m.end ? "end" : "start", m.creatorid, m.endtime);
        });
    case Action::tdb:
        return read_and_show<Tdb>(message, [](const auto& m) {
            return fmt::format("tdb {} spi {:08x} rpl {} bytes {} proto {} rdomain {}",
                               to_string(m.dst, m.family), m.spi, m.rpl, m.bytes, m.sproto,
                               m.rdomain);
        });
    default:
        return "skipped";
    }
}

std::string describe(Bytes packet) {
    std::string out;
    Parser parser(packet);
    while (const Section* s = parser.next()) {
        out +=
            fmt::format("section {} stride {} count {}\n", name_of(s->action), s->stride, s->count);
        for (std::uint16_t n = 0; n < s->count; n++)
            out += "  " + describe_message(s->action, s->message(n)) + "\n";
    }
    if (parser.fault() != Fault::none)
        out += fmt::format("fault {} at {}\n", to_string(parser.fault()), parser.offset());
    return out;
}

std::vector<Vector> load_vectors() {
    std::vector<Vector> out;
    for (const auto& entry : std::filesystem::directory_iterator(ENCSYNC_VECTORS "/openbsd"))
        if (entry.path().extension() == ".hex")
            out.push_back(load(entry.path()));
    std::sort(out.begin(), out.end(),
              [](const Vector& a, const Vector& b) { return a.name < b.name; });
    return out;
}

Vector load_vector(const std::string& name) {
    return load(std::filesystem::path(ENCSYNC_VECTORS "/openbsd") / (name + ".hex"));
}

} // namespace encsync::pfsync
