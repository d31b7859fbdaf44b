// SPDX-License-Identifier: ISC
#include "pfsync/expectation.hpp"

#include "pfsync/extension.hpp"
#include "pfsync/wire.hpp"

namespace encsync::pfsync {

using state::Expectation;
using state::Family;
namespace expect = extension::expect;

namespace {

constexpr std::uint8_t kFlags = Expectation::kPermanent | Expectation::kInactive;

} // namespace

Fault read(Bytes message, ExpectMessage& out) {
    if (message.size() < expect::size)
        return Fault::short_message;
    const std::uint8_t* m = message.data();
    out.master = {load_be<std::uint64_t>(m + expect::id),
                  load_be<std::uint32_t>(m + expect::creatorid)};
    if (out.master.creatorid == 0)
        return Fault::bad_creatorid;
    const std::uint8_t af = m[expect::af];
    if (af != common::kAfInet && af != openbsd::kAfInet6)
        return Fault::bad_family;
    out.family = af == common::kAfInet ? Family::inet : Family::inet6;
    out.index = m[expect::index];
    out.count = m[expect::count];
    if (out.index >= out.count || out.count > state::kMaxExpectations)
        return Fault::bad_expectation;
    const auto function = state::FunctionName::read(m + expect::function);
    if (!function)
        return Fault::bad_name;

    Expectation& e = out.expectation = {};
    const auto address = [&](std::size_t at, state::Address& to) {
        std::memcpy(to.bytes.data(), m + at, net::address_size(out.family));
    };
    address(expect::src, e.tuple.src);
    address(expect::dst, e.tuple.dst);
    address(expect::mask, e.mask);
    e.tuple.sport = load_be<std::uint16_t>(m + expect::sport);
    e.tuple.dport = load_be<std::uint16_t>(m + expect::dport);
    e.mask_port = load_be<std::uint16_t>(m + expect::mask_port);
    e.proto = m[expect::proto];
    e.flags = m[expect::flags] & kFlags;
    e.policy_class = m[expect::policy_class];
    e.has_nat = (m[expect::flags] & expect::kNat) != 0;
    if (e.has_nat) {
        e.nat_reply = (m[expect::flags] & expect::kNatReply) != 0;
        e.nat_port = load_be<std::uint16_t>(m + expect::nat_port);
        address(expect::nat_address, e.nat_address);
    }
    e.function = *function;
    e.timeout = load_be<std::uint32_t>(m + expect::timeout);
    return Fault::none;
}

void write_expect(std::uint8_t* m, state::StateId master, std::uint8_t index, std::uint8_t count,
                  const Expectation& e) {
    store_be(m + expect::id, master.id);
    store_be(m + expect::creatorid, master.creatorid);
    m[expect::index] = index;
    m[expect::count] = count;
    m[expect::proto] = e.proto;
    m[expect::flags] =
        static_cast<std::uint8_t>((e.flags & kFlags) | (e.has_nat ? expect::kNat : 0) |
                                  (e.has_nat && e.nat_reply ? expect::kNatReply : 0));
    m[expect::policy_class] = e.policy_class;
    const Family family = e.master.family;
    m[expect::af] = family == Family::inet ? common::kAfInet : openbsd::kAfInet6;
    const auto address = [&](std::size_t at, const state::Address& from) {
        std::memcpy(m + at, from.bytes.data(), net::address_size(family));
    };
    address(expect::src, e.tuple.src);
    address(expect::dst, e.tuple.dst);
    address(expect::mask, e.mask);
    store_be(m + expect::sport, e.tuple.sport);
    store_be(m + expect::dport, e.tuple.dport);
    store_be(m + expect::mask_port, e.mask_port);
    if (e.has_nat) {
        address(expect::nat_address, e.nat_address);
        store_be(m + expect::nat_port, e.nat_port);
    }
    std::memcpy(m + expect::function, e.function.padded().data(), state::FunctionName::kSize);
    store_be(m + expect::timeout, e.timeout);
}

} // namespace encsync::pfsync
