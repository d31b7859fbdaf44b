// SPDX-License-Identifier: ISC
// Version 5 as FreeBSD 13, 14 and 15 speak it. A state comes in three sizes, each with action
// numbers of its own.
#include "decode/tables.hpp"
#include "pfsync/freebsd.hpp"

namespace encsync::decode {
namespace {

using namespace pfsync::freebsd;

constexpr Field k1301[] = {
    {"id", full::id, Kind::hex64},
    {"creatorid", full::creatorid, Kind::creatorid},
    {"ifname", full::ifname, Kind::ifname},
    {"af", full1301::af, Kind::family},
    {"proto", full1301::proto, Kind::u8},
    {"direction", full1301::direction, Kind::direction},
    {"wire", full::wire, Kind::key36, full1301::af},
    {"stack", full::stack, Kind::key36, full1301::af},
    {"src", full::src, Kind::peer},
    {"dst", full::dst, Kind::peer},
    {"creation", full::creation, Kind::u32},
    {"expire", full::expire, Kind::u32},
    {"timeout", full1301::timeout, Kind::timeout, kTimeoutMax1301},
    {"state_flags", full1301::state_flags, Kind::u8},
    {"packets", full::packets0, Kind::u64_pair},
    {"bytes", full::bytes0, Kind::u64_pair},
    {"rt_addr", full::rt_addr, Kind::address, full1301::af},
    {"rule", full::rule, Kind::u32},
    {"anchor", full::anchor, Kind::u32},
    {"nat_rule", full::nat_rule, Kind::u32},
    {"log", full1301::log, Kind::u8},
    {"sync_flags", full1301::sync_flags, Kind::u8},
    {"updates", full1301::updates, Kind::u8},
};

constexpr Field k1400[] = {
    {"id", full::id, Kind::hex64},
    {"creatorid", full::creatorid, Kind::creatorid},
    {"ifname", full::ifname, Kind::ifname},
    {"af", full1400::af, Kind::family},
    {"proto", full1400::proto, Kind::u8},
    {"direction", full1400::direction, Kind::direction},
    {"wire", full::wire, Kind::key36, full1400::af},
    {"stack", full::stack, Kind::key36, full1400::af},
    {"src", full::src, Kind::peer},
    {"dst", full::dst, Kind::peer},
    {"creation", full::creation, Kind::u32},
    {"expire", full::expire, Kind::u32},
    {"timeout", full1400::timeout, Kind::timeout, kTimeoutMax},
    {"state_flags", full1400::state_flags, Kind::u16},
    {"packets", full::packets0, Kind::u64_pair},
    {"bytes", full::bytes0, Kind::u64_pair},
    {"rt", full1400::rt, Kind::u8},
    {"rt_addr", full::rt_addr, Kind::address, full1400::af},
    {"rt_ifname", full1400::rt_ifname, Kind::ifname},
    {"rule", full::rule, Kind::u32},
    {"anchor", full::anchor, Kind::u32},
    {"nat_rule", full::nat_rule, Kind::u32},
    {"rtableid", full1400::rtableid, Kind::i32},
    {"max_mss", full1400::max_mss, Kind::u16},
    {"log", full1400::log, Kind::u8},
    {"sync_flags", full1400::sync_flags, Kind::u8},
    {"updates", full1400::updates, Kind::u8},
    {"qid", full1400::qid, Kind::u16},
    {"pqid", full1400::pqid, Kind::u16},
    {"dnpipe", full1400::dnpipe, Kind::u16},
    {"dnrpipe", full1400::dnrpipe, Kind::u16},
    {"min_ttl", full1400::min_ttl, Kind::u8},
    {"set_tos", full1400::set_tos, Kind::u8},
    {"set_prio", full1400::set_prio, Kind::u8_pair},
};

// The wire and the stack side each have a family and a protocol of their own (af-to).
constexpr Field k1500[] = {
    {"id", full::id, Kind::hex64},
    {"creatorid", full::creatorid, Kind::creatorid},
    {"ifname", full::ifname, Kind::ifname},
    {"orig_ifname", full1500::orig_ifname, Kind::ifname},
    {"af", full1500::wire_af, Kind::family},
    {"proto", full1500::wire_proto, Kind::u8},
    {"wire_af", full1500::wire_af, Kind::family},
    {"stack_af", full1500::stack_af, Kind::family},
    {"wire_proto", full1500::wire_proto, Kind::u8},
    {"stack_proto", full1500::stack_proto, Kind::u8},
    {"direction", full1500::direction, Kind::direction},
    {"wire", full::wire, Kind::key36, full1500::wire_af},
    {"stack", full::stack, Kind::key36, full1500::stack_af},
    {"src", full::src, Kind::peer},
    {"dst", full::dst, Kind::peer},
    {"creation", full::creation, Kind::u32},
    {"expire", full::expire, Kind::u32},
    {"timeout", full1500::timeout, Kind::timeout, kTimeoutMax},
    {"state_flags", full1500::state_flags, Kind::u16},
    {"packets", full::packets0, Kind::u64_pair},
    {"bytes", full::bytes0, Kind::u64_pair},
    {"rt", full1500::rt, Kind::u8},
    {"rt_af", full1500::rt_af, Kind::route_family},
    {"rt_addr", full::rt_addr, Kind::address, full1500::rt_af},
    {"rt_ifname", full1500::rt_ifname, Kind::ifname},
    {"rule", full::rule, Kind::u32},
    {"anchor", full::anchor, Kind::u32},
    {"nat_rule", full::nat_rule, Kind::u32},
    {"rtableid", full1500::rtableid, Kind::i32},
    {"max_mss", full1500::max_mss, Kind::u16},
    {"log", full1500::log, Kind::u8},
    {"tagname", full1500::tagname, Kind::tag},
    {"qid", full1500::qid, Kind::u16},
    {"pqid", full1500::pqid, Kind::u16},
    {"dnpipe", full1500::dnpipe, Kind::u16},
    {"dnrpipe", full1500::dnrpipe, Kind::u16},
    {"min_ttl", full1500::min_ttl, Kind::u8},
    {"set_tos", full1500::set_tos, Kind::u8},
    {"set_prio", full1500::set_prio, Kind::u8_pair},
};

constexpr Field kUpdC[] = {
    {"id", upd_c::id, Kind::hex64},       {"creatorid", upd_c::creatorid, Kind::creatorid},
    {"src", upd_c::src, Kind::peer},      {"dst", upd_c::dst, Kind::peer},
    {"expire", upd_c::expire, Kind::u32}, {"timeout", upd_c::timeout, Kind::timeout, kTimeoutMax},
};

// A request with both 0 asks for everything.
constexpr Field kId[] = {
    {"id", id_only::id, Kind::hex64},
    {"creatorid", id_only::creatorid, Kind::hex32},
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
    {"spi", tdb::spi, Kind::hex32},    {"sockaddr", tdb::sockaddr, Kind::sockaddr},
    {"rpl", tdb::rpl, Kind::u32},      {"bytes", tdb::bytes, Kind::u64},
    {"sproto", tdb::sproto, Kind::u8}, {"updates", tdb::updates, Kind::u8},
};

constexpr Message kMessages[] = {
    {0, "CLR", kClrSize, kClr},
    {1, "INS_1301", kState1301Size, k1301},
    {2, "INS_ACK", kIdSize, kId},
    {3, "UPD_1301", kState1301Size, k1301},
    {4, "UPD_C", kUpdCSize, kUpdC},
    {5, "UPD_REQ", kIdSize, kId},
    {6, "DEL", kState1301Size, k1301}, // FreeBSD 13 only; later an error
    {7, "DEL_C", kIdSize, kId},
    {8, "INS_F", 0, {}, true},
    {9, "DEL_F", 0, {}, true},
    {10, "BUS", kBusSize, kBus},
    {11, "TDB", kTdbSize, kTdb},
    {12, "EOF"},
    {13, "INS_1400", kState1400Size, k1400},
    {14, "UPD_1400", kState1400Size, k1400},
    {15, "INS_1500", kState1500Size, k1500},
    {16, "UPD_1500", kState1500Size, k1500},
};
static_assert(fits(kMessages));

} // namespace

std::span<const Message> freebsd_messages() {
    return kMessages;
}

} // namespace encsync::decode
