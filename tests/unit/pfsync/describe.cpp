// SPDX-License-Identifier: ISC
#include "describe.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace encsync::pfsync {

namespace {

std::string name_of(const Section& s) {
    return s.kind == Kind::unknown ? fmt::format("{}", s.action) : std::string(to_string(s.kind));
}

std::string show(state::StateId id) {
    return fmt::format("id {:016x}/{:08x}", id.id, id.creatorid);
}

std::string show(const state::Tuple& t, state::Family family) {
    return fmt::format("{} {} {} {}", to_string(with_family(t.src, family)), t.sport,
                       to_string(with_family(t.dst, family)), t.dport);
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
    state::Extras e = f.extras;
    e.verification_tags = {};
    if (!e.empty() || s.expectations != 0)
        out += fmt::format(" labels [{}] helper [{}] lifetime {} expectations {}",
                           fmt::join(state::numbers(e.labels), " "), e.helper.text(), e.lifetime,
                           s.expectations);
    if (f.extras.reply_zone)
        out += fmt::format(" reply zone {}", *f.extras.reply_zone);
    if (f.extras.verification_tags != decltype(f.extras.verification_tags){})
        out += fmt::format(" tags {:x} {:x}", f.extras.verification_tags[0],
                           f.extras.verification_tags[1]);
    for (const state::SeqAdjust& adjust : f.extras.seq_adjust)
        if (adjust != state::SeqAdjust{})
            out += fmt::format(" from {} on {} instead of {}", adjust.position, adjust.after,
                               adjust.before);
    if (s.wants_ack)
        out += " wants_ack";
    return out;
}

template<class Message, class Show>
std::string read_and_show(Dialect layout, Bytes message, Show&& shown) {
    Message m;
    Fault fault{};
    if constexpr (requires { read(layout, message, m); })
        fault = read(layout, message, m);
    else
        fault = read(message, m);
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

std::string describe_message(Meaning meaning, Bytes message) {
    switch (meaning.kind) {
    case Kind::insert:
    case Kind::update:
    case Kind::remove:
        return read_and_show<FullState>(meaning.layout, message,
                                        [](const auto& m) { return show(m); });
    case Kind::update_c:
        return read_and_show<CompressedUpdate>(meaning.layout, message, [](const auto& m) {
            return fmt::format("{} states {}:{} timeout {}", show(m.id), m.src.state(),
                               m.dst.state(), m.timeout);
        });
    case Kind::insert_ack:
    case Kind::request:
    case Kind::remove_c:
        return message.size() < common::kIdSize ? "refused short_message" : show(read_id(message));
    case Kind::clear:
        return read_and_show<Clear>(meaning.layout, message, [](const auto& m) {
            return fmt::format("clr [{}] {:08x}", m.ifname, m.creatorid);
        });
    case Kind::bulk:
        return read_and_show<BulkStatus>(meaning.layout, message, [](const auto& m) {
            return fmt::format("{} {:08x} {}", m.end ? "end" : "start", m.creatorid, m.endtime);
        });
    case Kind::tdb:
        return read_and_show<Tdb>(meaning.layout, message, [](const auto& m) {
            return fmt::format("tdb {} spi {:08x} rpl {} bytes {} proto {} rdomain {}",
                               to_string(m.dst), m.spi, m.rpl, m.bytes, m.sproto, m.rdomain);
        });
    case Kind::eof:
        return "end";
    case Kind::unknown:
    case Kind::error:
        break;
    }
    return "skipped";
}

std::string describe(Bytes packet, Expected expected) {
    std::string out;
    Parser parser(packet, expected);
    while (const Section* s = parser.next()) {
        out += fmt::format("section {} stride {} count {}\n", name_of(*s), s->stride, s->count);
        for (std::uint16_t n = 0; n < s->count; n++)
            out += "  " + describe_message(*s, s->message(n)) + "\n";
    }
    if (parser.fault() != Fault::none)
        out += fmt::format("fault {} at {}\n", to_string(parser.fault()), parser.offset());
    return out;
}

namespace {

std::filesystem::path folder(Dialect dialect) {
    return std::filesystem::path(ENCSYNC_VECTORS) / to_string(dialect);
}

} // namespace

std::vector<Vector> load_vectors(Dialect dialect) {
    std::vector<Vector> out;
    for (const auto& entry : std::filesystem::directory_iterator(folder(dialect)))
        if (entry.path().extension() == ".hex")
            out.push_back(load(entry.path()));
    std::sort(out.begin(), out.end(),
              [](const Vector& a, const Vector& b) { return a.name < b.name; });
    return out;
}

Vector load_vector(const std::string& name, Dialect dialect) {
    return load(folder(dialect) / (name + ".hex"));
}

} // namespace encsync::pfsync
