// SPDX-License-Identifier: ISC
#include "pfsync/convert.hpp"

#include "net/protocol.hpp"
#include "pfsync/build.hpp"

#include <algorithm>
#include <array>
#include <cassert>

namespace encsync::pfsync {

using namespace common;

namespace {

constexpr std::array<std::string_view, kRefusals> kRefusalNames{"none", "unknown_message", "tdb",
                                                                "af_to", "malformed"};

struct LossText {
    std::string_view name, description;
};
constexpr std::array<LossText, kLossKinds> kLossTexts{{
    {"rule", "numbers of rules"},
    {"route", "route-to and reply-to"},
    {"routing_table", "routing tables"},
    {"queue", "queues"},
    {"scrub", "options of scrub and set"},
    {"tag", "tags"},
    {"interface", "the interface on which a floating state was created"},
    {"flags", "flags that only one of them has"},
    {"icmp_type", "the type of ICMP queries other than echo"},
    {"verification_tag", "SCTP's verification tags"},
    {"appended", "fields of later releases"},
}};

// The same in all dialects (pfvar.h). Those above are FreeBSD's own: dummynet.
constexpr std::uint16_t kSharedFlags = 0x03ff, kDummynetFlags = 0xc000;
constexpr std::uint16_t kSetTos = 0x0040, kScrubTcp = 0x0100, kSetPrio = 0x0200;
constexpr std::uint16_t kOptionFlags = kSetTos | kScrubTcp | kSetPrio;
constexpr std::uint32_t kNoTable = 0xffffffff; // rtableid -1
constexpr std::uint8_t kIcmpEcho = 8, kIcmp6Echo = 128;

bool all_zero(const std::uint8_t* p, std::size_t size) {
    return std::all_of(p, p + size, [](std::uint8_t byte) { return byte == 0; });
}

// Those of the firewall. Our own dialect has phases, which encsync nodes send; OpenBSD tracks
// neither SCTP nor DCCP.
Numbering numbering_of_pf(const Layout& layout, std::uint8_t proto) {
    const bool tracked = proto == IPPROTO_SCTP || proto == IPPROTO_DCCP;
    const Numbering as = numbering(layout, proto);
    return tracked && as == Numbering::phases ? Numbering::seen : as;
}

std::uint8_t convert_timeout(Numbering from, Numbering to, std::uint8_t timeout) {
    using enum Timeout;
    if (from == to)
        return timeout;
    const auto is = [&](Timeout t) { return timeout == static_cast<std::uint8_t>(t); };
    const bool tracks = to == Numbering::association;
    const Timeout other = tracks                                     ? is(other_first)      ? sctp_first
                                                                       : is(other_single)   ? sctp_opening
                                                                       : is(other_multiple) ? sctp_established
                                                                                            : Timeout{timeout}
                                                              : is(sctp_first) ? other_first
                          : is(sctp_opening) || is(sctp_closed)      ? other_single
                          : is(sctp_established) || is(sctp_closing) ? other_multiple
                                                                     : Timeout{timeout};
    return static_cast<std::uint8_t>(other);
}

void convert_peer(Numbering from, Numbering to, const std::uint8_t* in, std::uint8_t* out,
                  Losses& losses) {
    std::memcpy(out, in, peer::wscale + 1);
    if (from == to)
        return;
    out[peer::state] = renumbered_to(to, renumbered_from(from, in[peer::state]));
    // The scrub block has the verification tag. Who tracks associations refuses a state without the
    // block; a tag of 0 is learned from the next packet.
    std::memset(out, 0, peer::seqlo);
    if (to == Numbering::association)
        out[peer::scrub_valid] = kScrubValid;
    else if (in[peer::scrub_valid] == kScrubValid && !all_zero(in + peer::scrub_ts_mod, 4))
        losses.add(Loss::verification_tag);
}

bool is_family(const Layout& layout, std::uint8_t af) {
    return af == kAfInet || af == layout.af_inet6;
}

bool has_two_families(const Layout& layout, const std::uint8_t* m) {
    const bool in_keys = layout.key_af != 0;
    const std::uint8_t wire = m[in_keys ? layout.wire + layout.key_af : layout.wire_af];
    const std::uint8_t stack = m[in_keys ? layout.stack + layout.key_af : layout.stack_af];
    return wire != stack && is_family(layout, wire) && is_family(layout, stack);
}

// One full state that read() has accepted, into zeroed bytes.
class StateConverter {
  public:
    StateConverter(const Layout& from, const std::uint8_t* in, const Layout& to, std::uint8_t* out,
                   Losses& losses)
        : from_(from), to_(to), in_(in), out_(out), losses_(losses), proto_(in[from.wire_proto]),
          inet_(in[from.wire_af] == kAfInet) {}

    void run() {
        std::memcpy(out_ + to_.id, in_ + from_.id, 8);
        std::memcpy(out_ + to_.creatorid, in_ + from_.creatorid, 4);
        std::memcpy(out_ + to_.creation, in_ + from_.creation, 4);
        std::memcpy(out_ + to_.expire, in_ + from_.expire, 4);
        std::memcpy(out_ + to_.counters, in_ + from_.counters, 32);
        out_[to_.wire_proto] = out_[to_.stack_proto] = proto_;
        out_[to_.wire_af] = out_[to_.stack_af] = family();
        out_[to_.direction] = in_[from_.direction];
        out_[to_.log] = in_[from_.log]; // PF_LOG_*: the same everywhere
        copy(&Layout::sync_flags, 1);   // for display only, so never missed
        key(&Layout::wire);
        key(&Layout::stack);
        progress();
        interfaces();
        rules();
        flags();
        if (!copy(&Layout::max_mss, 2) || !copy(&Layout::min_ttl, 1) ||
            !copy(&Layout::set_tos, 1) || !copy(&Layout::set_prio, 2))
            losses_.add(Loss::scrub);
        if (!copy(&Layout::qid, 2) || !copy(&Layout::pqid, 2) || !copy(&Layout::dnpipe, 2) ||
            !copy(&Layout::dnrpipe, 2))
            losses_.add(Loss::queue);
        if (from_.tagname.size != 0 && in_[from_.tagname.at] != 0)
            losses_.add(Loss::tag); // only one dialect has it
        route();
        routing_tables();
    }

  private:
    // False: it has a value, and the target has no place for it.
    bool copy(std::size_t Layout::*field, std::size_t size) {
        const std::size_t at = from_.*field, to = to_.*field;
        if (at == 0)
            return true;
        if (to == 0)
            return all_zero(in_ + at, size);
        std::memcpy(out_ + to, in_ + at, size);
        return true;
    }

    // Without what follows the NUL.
    void copy_name(std::size_t at, std::size_t to) {
        const auto* name = reinterpret_cast<const char*>(in_ + at);
        std::memcpy(out_ + to, name, ::strnlen(name, kIfnameSize - 1));
    }

    std::uint8_t family() const { return inet_ ? kAfInet : to_.af_inet6; }

    void key(std::size_t Layout::*side) {
        const std::uint8_t* in = in_ + from_.*side;
        std::uint8_t* out = out_ + to_.*side;
        const std::size_t size = net::address_size(inet_ ? net::Family::inet : net::Family::inet6);
        std::memcpy(out + to_.addr0, in + from_.addr0, size);
        std::memcpy(out + to_.addr1, in + from_.addr1, size);
        std::memcpy(out + to_.port0, in + from_.port0, 2);
        std::memcpy(out + to_.port1, in + from_.port1, 2);
        if (net::is_icmp(proto_) && from_.icmp != to_.icmp)
            icmp(out);
        if (to_.key_af != 0)
            out[to_.key_af] = family();
        if (from_.key_rdomain != 0 && !all_zero(in + from_.key_rdomain, 2))
            losses_.add(Loss::routing_table);
    }

    // Where the source's port is, the id; where the destination's is, the type, or the id again.
    void icmp(std::uint8_t* out) {
        const bool incoming = in_[from_.direction] == kDirectionIn;
        std::uint8_t* id = out + (incoming ? to_.port0 : to_.port1);
        std::uint8_t* type = out + (incoming ? to_.port1 : to_.port0);
        const std::uint16_t echo = proto_ == IPPROTO_ICMP ? kIcmpEcho : kIcmp6Echo;
        if (to_.icmp == Layout::Icmp::id_and_type) {
            if (std::memcmp(id, type, 2) == 0)
                store_be(type, echo);
            return;
        }
        if (load_be<std::uint16_t>(type) != echo)
            losses_.add(Loss::icmp_type);
        std::memcpy(type, id, 2);
    }

    void progress() {
        const Numbering from = numbering_of_pf(from_, proto_), to = numbering_of_pf(to_, proto_);
        convert_peer(from, to, in_ + from_.src, out_ + to_.src, losses_);
        convert_peer(from, to, in_ + from_.dst, out_ + to_.dst, losses_);
        out_[to_.timeout] = convert_timeout(from, to, in_[from_.timeout]);
    }

    void interfaces() {
        copy_name(from_.ifname, to_.ifname);
        const std::size_t original = from_.orig_ifname != 0 ? from_.orig_ifname : from_.ifname;
        if (to_.orig_ifname != 0)
            return copy_name(original, to_.orig_ifname);
        const auto* name = reinterpret_cast<const char*>(in_ + from_.ifname);
        const auto* created = reinterpret_cast<const char*>(in_ + original);
        if (std::strncmp(name, created, kIfnameSize) != 0)
            losses_.add(Loss::interface);
    }

    void rules() {
        for (const auto field : {&Layout::rule, &Layout::anchor, &Layout::nat_rule}) {
            if (load_be<std::uint32_t>(in_ + from_.*field) != kNoRule)
                losses_.add(Loss::rule);
            store_be(out_ + to_.*field, kNoRule);
        }
    }

    void flags() {
        const std::uint16_t all = from_.wide_flags ? load_be<std::uint16_t>(in_ + from_.state_flags)
                                                   : in_[from_.state_flags];
        std::uint16_t kept = from_.dnpipe != 0 && to_.dnpipe != 0
                                 ? all
                                 : static_cast<std::uint16_t>(all & kSharedFlags);
        // A flag without its value would set the value to 0.
        if (from_.max_mss == 0 || to_.max_mss == 0)
            kept = static_cast<std::uint16_t>(kept & ~kOptionFlags);
        if (to_.wide_flags) {
            store_be(out_ + to_.state_flags, kept);
        } else {
            kept &= 0xff;
            out_[to_.state_flags] = static_cast<std::uint8_t>(kept);
        }
        const int lost = all & ~kept;
        if ((lost & kOptionFlags) != 0)
            losses_.add(Loss::scrub);
        const int of_queues = from_.dnpipe != 0 ? kDummynetFlags : 0;
        if ((lost & of_queues) != 0)
            losses_.add(Loss::queue);
        if ((lost & ~kOptionFlags & ~of_queues) != 0)
            losses_.add(Loss::flags);
    }

    // pf needs the interface, which OpenBSD and FreeBSD before 14 take from the rule.
    void route() {
        const bool any =
            from_.rt != 0 ? in_[from_.rt] != 0 : !all_zero(in_ + from_.rt_addr, inet_ ? 4 : 16);
        if (!any)
            return;
        const std::uint8_t af = in_[from_.rt_af != 0 ? from_.rt_af : from_.wire_af];
        const bool same = af == in_[from_.wire_af];
        if (from_.rt_ifname.size == 0 || to_.rt_ifname.size == 0 || !is_family(from_, af) ||
            (to_.rt_af == 0 && !same))
            return losses_.add(Loss::route);
        out_[to_.rt] = in_[from_.rt];
        if (to_.rt_af != 0)
            out_[to_.rt_af] = af == kAfInet ? kAfInet : to_.af_inet6;
        std::memcpy(out_ + to_.rt_addr, in_ + from_.rt_addr, af == kAfInet ? 4 : 16);
        copy_name(from_.rt_ifname.at, to_.rt_ifname.at);
    }

    void routing_tables() {
        const bool same = from_.rtableid_count == to_.rtableid_count;
        for (std::size_t n = 0; n < to_.rtableid_count; n++)
            store_be(out_ + to_.rtableids[n], kNoTable);
        for (std::size_t n = 0; n < from_.rtableid_count; n++) {
            const auto id = load_be<std::uint32_t>(in_ + from_.rtableids[n]);
            if (same)
                store_be(out_ + to_.rtableids[n], id);
            else if (id != kNoTable)
                losses_.add(Loss::routing_table);
        }
    }

    const Layout &from_, &to_;
    const std::uint8_t* in_;
    std::uint8_t* out_;
    Losses& losses_;
    const std::uint8_t proto_;
    const bool inet_;
};

Refusal convert_state(Dialect dialect, Bytes message, Dialect target, std::uint8_t* out,
                      Losses& losses) {
    const Layout &from = traits(dialect).state, &to = traits(target).state;
    // Without the tail of an encsync node.
    message = message.first(std::min(message.size(), from.size));
    FullState state;
    const Fault fault = read(dialect, message, state);
    if (fault == Fault::bad_family && has_two_families(from, message.data()))
        return Refusal::af_to;
    if (fault != Fault::none)
        return Refusal::malformed;
    StateConverter(from, message.data(), to, out, losses).run();
    return out[to.timeout] < to.timeout_max ? Refusal::none : Refusal::malformed;
}

Refusal convert_update(Dialect dialect, Bytes message, Dialect target, std::uint8_t* out,
                       std::uint8_t proto, Losses& losses) {
    CompressedUpdate update;
    if (read(dialect, message, update) != Fault::none)
        return Refusal::malformed;
    if (proto == 0 && update.timeout >= static_cast<std::uint8_t>(Timeout::sctp_first))
        proto = IPPROTO_SCTP;
    const Numbering from = numbering_of_pf(traits(dialect).state, proto);
    const Numbering to = numbering_of_pf(traits(target).state, proto);
    const std::uint8_t* in = message.data();
    std::memcpy(out + upd_c::id, in + upd_c::id, 8);
    std::memcpy(out + upd_c::creatorid, in + upd_c::creatorid, 4);
    std::memcpy(out + upd_c::expire, in + upd_c::expire, 4);
    convert_peer(from, to, in + upd_c::src, out + upd_c::src, losses);
    convert_peer(from, to, in + upd_c::dst, out + upd_c::dst, losses);
    out[upd_c::timeout] = convert_timeout(from, to, update.timeout);
    return out[upd_c::timeout] < traits(target).state.timeout_max ? Refusal::none
                                                                  : Refusal::malformed;
}

Refusal convert_body(Meaning from, Bytes message, Dialect to, std::uint8_t* out, std::uint8_t proto,
                     Losses& losses) {
    switch (from.kind) {
    case Kind::insert:
    case Kind::update:
        return convert_state(from.layout, message, to, out, losses);
    case Kind::update_c:
        return convert_update(from.layout, message, to, out, proto, losses);
    case Kind::remove: {
        const Layout& layout = traits(from.layout).state;
        if (message.size() < layout.size)
            return Refusal::malformed;
        std::memcpy(out + id_only::id, &message[layout.id], 8);
        std::memcpy(out + id_only::creatorid, &message[layout.creatorid], 4);
        return Refusal::none;
    }
    case Kind::insert_ack:
    case Kind::request:
    case Kind::remove_c:
        if (message.size() < kIdSize)
            return Refusal::malformed;
        std::memcpy(out, message.data(), kIdSize);
        return Refusal::none;
    case Kind::clear: {
        Clear clear;
        if (read(message, clear) != Fault::none)
            return Refusal::malformed;
        std::memcpy(out + clr::ifname, clear.ifname.data(), clear.ifname.size());
        store_be(out + clr::creatorid, clear.creatorid);
        return Refusal::none;
    }
    case Kind::bulk: {
        BulkStatus status;
        if (read(message, status) != Fault::none)
            return Refusal::malformed;
        write_bus(out, status.creatorid, status.endtime, status.end);
        return Refusal::none;
    }
    case Kind::tdb:
        return Refusal::tdb;
    case Kind::unknown:
    case Kind::error:
    case Kind::eof:
        break;
    }
    return Refusal::unknown_message;
}

// What a state of one layout may have, and the other has no place for.
Losses lost_from(const Layout& from, const Layout& to) {
    Losses losses;
    losses.add(Loss::rule);
    const auto lost = [&](bool lacks, Loss loss) {
        if (lacks)
            losses.add(loss);
    };
    lost(from.rt_ifname.size == 0 || to.rt_ifname.size == 0 || (from.rt_af != 0 && to.rt_af == 0),
         Loss::route);
    lost(from.rtableid_count != 0 && from.rtableid_count != to.rtableid_count, Loss::routing_table);
    lost(from.qid != 0 && to.qid == 0, Loss::queue);
    lost(from.max_mss != 0 && to.max_mss == 0, Loss::scrub);
    lost(from.tagname.size != 0 && to.tagname.size == 0, Loss::tag);
    lost(from.orig_ifname != 0 && to.orig_ifname == 0, Loss::interface);
    lost(from.wide_flags && (from.dnpipe == 0 || to.dnpipe == 0), Loss::flags);
    lost(from.icmp == Layout::Icmp::id_and_type && to.icmp == Layout::Icmp::id_twice,
         Loss::icmp_type);
    lost(from.sctp == Numbering::association && to.sctp != Numbering::association,
         Loss::verification_tag);
    return losses;
}

} // namespace

std::string_view to_string(Refusal refusal) {
    return kRefusalNames[static_cast<std::size_t>(refusal)];
}

std::string_view to_string(Loss loss) {
    return kLossTexts[static_cast<std::size_t>(loss)].name;
}

std::string_view describe(Loss loss) {
    return kLossTexts[static_cast<std::size_t>(loss)].description;
}

Converted convert(Meaning from, Bytes message, Dialect to, MutableBytes buffer,
                  std::uint8_t proto) {
    Converted out;
    const Kind kind = from.kind == Kind::remove ? Kind::remove_c : from.kind;
    const auto action = action_of(to, kind);
    const std::size_t size = action ? message_size({kind, to}) : 0;
    assert(buffer.size() >= kMaxConverted && size <= kMaxConverted);
    std::fill_n(buffer.begin(), size, 0);
    out.refusal = convert_body(from, message, to, buffer.data(), proto, out.losses);
    if (out.refusal != Refusal::none)
        return out;
    out.action = *action; // every dialect has all kinds that are carried over
    out.meaning = {kind, to};
    out.message = buffer.first(size);
    if (message.size() > message_size(from))
        out.losses.add(Loss::appended);
    return out;
}

Losses possible_losses(Dialect a, Dialect b) {
    const Layout &one = traits(a).state, &other = traits(b).state;
    return a == b ? Losses{} : lost_from(one, other) | lost_from(other, one);
}

} // namespace encsync::pfsync
