// SPDX-License-Identifier: ISC
// Version 6, and what encsync nodes add to it.
#include "decode/tables.hpp"
#include "pfsync/extension.hpp"
#include "pfsync/openbsd.hpp"

namespace encsync::decode {
namespace {

using namespace pfsync::openbsd;
namespace extension = pfsync::extension;

constexpr Field kFull[] = {
    {"id", full::id, Kind::hex64},
    {"creatorid", full::creatorid, Kind::creatorid},
    {"ifname", full::ifname, Kind::ifname},
    {"af", full::af, Kind::family},
    {"proto", full::proto, Kind::u8},
    {"direction", full::direction, Kind::direction},
    {"wire", full::wire, Kind::key40, full::af},
    {"stack", full::stack, Kind::key40, full::af},
    {"src", full::src, Kind::peer},
    {"dst", full::dst, Kind::peer},
    {"creation", full::creation, Kind::u32},
    {"expire", full::expire, Kind::u32},
    {"timeout", full::timeout, Kind::timeout, kTimeoutMax},
    {"state_flags", full::state_flags, Kind::u16},
    {"packets", full::packets0, Kind::u64_pair},
    {"bytes", full::bytes0, Kind::u64_pair},
    {"rt", full::rt, Kind::u8},
    {"rt_addr", full::rt_addr, Kind::address, full::af},
    {"rule", full::rule, Kind::u32},
    {"anchor", full::anchor, Kind::u32},
    {"nat_rule", full::nat_rule, Kind::u32},
    {"rtableid", full::rtableid0, Kind::i32_pair},
    {"max_mss", full::max_mss, Kind::u16},
    {"log", full::log, Kind::u8},
    {"sync_flags", full::sync_flags, Kind::u8},
    {"updates", full::updates, Kind::u8},
    {"min_ttl", full::min_ttl, Kind::u8},
    {"set_tos", full::set_tos, Kind::u8},
    {"set_prio", full::set_prio, Kind::u8_pair},
    {"tail", kStateSize, Kind::extension_tail, extension::tail::size},
    {"more", kStateSize + extension::tail::size, Kind::extension_tail, extension::more::size},
};

constexpr Field kUpdC[] = {
    {"id", upd_c::id, Kind::hex64},
    {"creatorid", upd_c::creatorid, Kind::creatorid},
    {"src", upd_c::src, Kind::peer},
    {"dst", upd_c::dst, Kind::peer},
    {"expire", upd_c::expire, Kind::u32},
    {"timeout", upd_c::timeout, Kind::timeout, kTimeoutMax},
    {"state_flags", upd_c::state_flags, Kind::u8},
};

// A request with both 0 asks for everything.
constexpr Field kId[] = {
    {"id", id_only::id, Kind::hex64},
    {"creatorid", id_only::creatorid, Kind::hex32},
};

constexpr Field kDelC[] = {
    {"id", id_only::id, Kind::hex64},
    {"creatorid", id_only::creatorid, Kind::hex32},
    {"tail", kIdSize, Kind::extension_tail, extension::removal::size},
};

constexpr Field kClr[] = {
    {"ifname", clr::ifname, Kind::ifname},
    {"creatorid", clr::creatorid, Kind::creatorid},
};

constexpr Field kBus[] = {
    {"creatorid", bus::creatorid, Kind::hex32},
    {"endtime", bus::endtime, Kind::u32},
    {"status", bus::status, Kind::bus_status},
};

constexpr Field kTdb[] = {
    {"spi", tdb::spi, Kind::hex32},       {"sockaddr", tdb::sockaddr, Kind::sockaddr},
    {"rpl", tdb::rpl, Kind::u64},         {"bytes", tdb::bytes, Kind::u64},
    {"sproto", tdb::sproto, Kind::u8},    {"updates", tdb::updates, Kind::u8},
    {"rdomain", tdb::rdomain, Kind::u16},
};

// Of 2010, 48 bytes: a replay counter of 32 bits.
constexpr Field kOldTdb[] = {{"spi", 0, Kind::hex32},   {"sockaddr", 4, Kind::sockaddr},
                             {"rpl", 32, Kind::u32},    {"bytes", 36, Kind::u64},
                             {"sproto", 44, Kind::u8},  {"updates", 45, Kind::u8},
                             {"rdomain", 46, Kind::u16}};

constexpr Field kHello[] = {
    {"session", extension::hello::session, Kind::hex64},
    {"heard", extension::hello::heard, Kind::hex64},
    {"creatorid", extension::hello::creatorid, Kind::hex32},
    {"version", extension::hello::version, Kind::u16},
    {"role", extension::hello::role, Kind::role},
    {"flags", extension::hello::flags, Kind::u8},
    {"states", extension::hello::states, Kind::u64},
    {"live", extension::hello::live, Kind::u64},
    {"checked", extension::hello::checked, Kind::u32},
    {"hears", extension::hello::count, Kind::rest},
};

constexpr Field kSeq[] = {
    {"number", extension::seq::number, Kind::u64},
    {"session", extension::seq::session, Kind::hex64},
};

constexpr Field kAck[] = {
    {"highest", extension::ack::highest, Kind::u64},
    {"session", extension::ack::session, Kind::hex64},
    {"bitmap", extension::ack::bitmap, Kind::rest},
};

constexpr Field kRoot[] = {
    {"since", extension::root::since, Kind::u64},
    {"sum", extension::root::sum, Kind::hex64},
    {"states", extension::root::count, Kind::u64},
};

constexpr Field kAsk[] = {{"node", extension::ask::node, Kind::u32}};

constexpr Field kSums[] = {
    {"node", extension::sums::node, Kind::u32},
    {"sums", extension::sums::children, Kind::rest},
};

constexpr Field kList[] = {
    {"leaf", extension::list::leaf, Kind::u32},
    {"part", extension::list::part, Kind::u16},
    {"flags", extension::list::flags, Kind::u8},
    {"flows", extension::list::size, Kind::rest},
};

constexpr Field kAbsent[] = {
    {"id", extension::absent::id, Kind::hex64},
    {"creatorid", extension::absent::creatorid, Kind::hex32},
    {"since", extension::absent::since, Kind::u64},
};

constexpr Field kTail[] = {
    {"mark", extension::tail::mark, Kind::u32},    {"timeout", extension::tail::timeout, Kind::u32},
    {"zone", extension::tail::zone, Kind::u16},    {"flags", extension::tail::flags, Kind::u8},
    {"status", extension::tail::status, Kind::u8},
};

constexpr std::size_t kAdjustOrig = extension::more::seq_adjust,
                      kAdjustReply = kAdjustOrig + extension::more::adjust::size;

constexpr Field kMore[] = {
    {"labels", extension::more::labels, Kind::bytes16},
    {"helper", extension::more::helper, Kind::name},
    {"lifetime", extension::more::lifetime, Kind::u32},
    {"expectations", extension::more::expectations, Kind::u8},
    {"more_flags", extension::more::flags, Kind::u8},
    {"reply_zone", extension::more::reply_zone, Kind::u16},
    {"orig_seq_position", kAdjustOrig + extension::more::adjust::position, Kind::u32},
    {"orig_seq_before", kAdjustOrig + extension::more::adjust::before, Kind::u32},
    {"orig_seq_after", kAdjustOrig + extension::more::adjust::after, Kind::u32},
    {"reply_seq_position", kAdjustReply + extension::more::adjust::position, Kind::u32},
    {"reply_seq_before", kAdjustReply + extension::more::adjust::before, Kind::u32},
    {"reply_seq_after", kAdjustReply + extension::more::adjust::after, Kind::u32},
};

constexpr Field kExpect[] = {
    {"id", extension::expect::id, Kind::hex64},
    {"creatorid", extension::expect::creatorid, Kind::creatorid},
    {"index", extension::expect::index, Kind::u8},
    {"count", extension::expect::count, Kind::u8},
    {"proto", extension::expect::proto, Kind::u8},
    {"flags", extension::expect::flags, Kind::u8},
    {"class", extension::expect::policy_class, Kind::u8},
    {"af", extension::expect::af, Kind::family},
    {"timeout", extension::expect::timeout, Kind::u32},
    {"src_addr", extension::expect::src, Kind::address, extension::expect::af},
    {"dst_addr", extension::expect::dst, Kind::address, extension::expect::af},
    {"mask_addr", extension::expect::mask, Kind::address, extension::expect::af},
    {"nat_addr", extension::expect::nat_address, Kind::address, extension::expect::af},
    {"src_port", extension::expect::sport, Kind::u16},
    {"dst_port", extension::expect::dport, Kind::u16},
    {"mask_port", extension::expect::mask_port, Kind::u16},
    {"nat_port", extension::expect::nat_port, Kind::u16},
    {"function", extension::expect::function, Kind::function},
};

constexpr Field kRemovalTail[] = {{"term", extension::removal::term, Kind::u8}};

constexpr Message kMessages[] = {
    {0, "CLR", kClrSize, kClr},
    {1, "OINS", 0, {}, true},
    {2, "INS_ACK", kIdSize, kId},
    {3, "OUPD", 0, {}, true},
    {4, "UPD_C", kUpdCSize, kUpdC},
    {5, "UPD_REQ", kIdSize, kId},
    {6, "DEL", kStateSize, kFull},
    {7, "DEL_C", kIdSize, kDelC},
    {8, "INS_F", 0, {}, true},
    {9, "DEL_F", 0, {}, true},
    {10, "BUS", kBusSize, kBus},
    {11, "OTDB", 48, kOldTdb, true},
    {12, "EOF", 0, {}, true},
    {13, "INS", kStateSize, kFull},
    {14, "UPD", kStateSize, kFull},
    {15, "TDB", kTdbSize, kTdb},
    {extension::kHello, "HELLO", extension::hello::size, kHello},
    {extension::kSeq, "SEQ", extension::seq::size, kSeq},
    {extension::kAck, "ACK", extension::ack::bitmap + 4, kAck},
    {extension::kExpect, "EXPECT", extension::expect::size, kExpect},
    {extension::kRoot, "ROOT", extension::root::size, kRoot},
    {extension::kAsk, "ASK", extension::ask::size, kAsk},
    {extension::kSums, "SUMS", extension::sums::size, kSums},
    {extension::kList, "LIST", extension::list::size, kList},
    {extension::kAbsent, "ABSENT", extension::absent::size, kAbsent},
};
static_assert(fits(kMessages));

} // namespace

std::span<const Message> openbsd_messages() {
    return kMessages;
}

std::span<const Field> extension_tail_fields(std::size_t size) {
    if (size == extension::removal::size)
        return kRemovalTail;
    return size == extension::more::size ? std::span<const Field>(kMore) : kTail;
}

} // namespace encsync::decode
